#!/usr/bin/env bash
# DVC 3.67.1 with ruamel.yaml 0.19.1: every dvc.yaml, dvc.lock and .dvc file is read by the parser written in Python, about four
# times as slowly as by the one in C that DVC counts on.
#
# Expected by most: `pip install dvc` brings all that DVC needs to be fast. Its readers ask ruamel.yaml for `typ="safe"`, and
#   DVC's maintainers say of it "we use yaml parser written in C" (treeverse/dvc issue 8884).
# Behaviour: until 0.18 ruamel.yaml required ruamel.yaml.clib; since 0.19 that is an extra, `ruamel.yaml[oldlibyaml]`, for
#   which DVC does not ask. Without it `typ="safe"` takes the parser in Python, without a word.
#   Of a dvc.lock of 14 stages with 50 dependencies each (44 KB), read by DVC's own function:
#     as installed                       pure Python   0.14 s
#     with ruamel.yaml.clib 0.2.15       C             0.04 s, and the same content
#
# For a user: `dvc status` and `dvc repro` read dvc.lock and params.yaml many times over; of a pipeline of some hundred
# dependencies half of `dvc repro` with nothing to do is this parser. Install ruamel.yaml.clib beside DVC.
# `python -c "import _ruamel_yaml"` tells whether it is there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python=$folder/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 ruamel.yaml==0.19.1
cat > "$folder/read.py" <<'PYTHON'
import hashlib
import sys
import time
from importlib.metadata import version

from dvc.utils.serialize import parse_yaml
from ruamel.yaml import YAML
from ruamel.yaml.parser import Parser

lines = ["schema: '2.0'", "stages:"]
for stage in range(14):
    lines += [f"  stage{stage}:", f"    cmd: run {stage}", "    deps:"]
    for number in range(50):
        lines += [f"    - path: code/part{number}.py", "      hash: md5", f"      md5: {hashlib.md5(str(number).encode()).hexdigest()}"]
        lines += [f"      size: {number}"]
text = "\n".join(lines) + "\n"
times = []
for _ in range(5):
    begin = time.process_time()
    content = parse_yaml(text, "dvc.lock")
    times.append(time.process_time() - begin)
kind = "python" if YAML(typ="safe").Parser is Parser else "c"
digest = hashlib.sha256(repr(content).encode()).hexdigest()
print(kind, min(times), digest)
print(f"dvc {version('dvc')}, ruamel.yaml {version('ruamel.yaml')}: parser {kind}, {min(times):.3f} s", file=sys.stderr)
PYTHON
before=$("$python" "$folder/read.py")
"$python" -m pip install --quiet --disable-pip-version-check ruamel.yaml.clib==0.2.15
after=$("$python" "$folder/read.py")
"$python" - "$before" "$after" <<'PYTHON'
import sys

(first, slow, one), (second, fast, other) = (line.split() for line in sys.argv[1:])
ratio = float(slow) / float(fast)
print(f"as installed {first}, with the extra {second}, {ratio:.1f} times as fast; same content: {one == other}")
sys.exit(0 if (first, second) == ("python", "c") and one == other and ratio > 2 else 1)
PYTHON
