"""Changed copies of valid files of every kind: a picture or an InputError, in time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("read_mutated.py")
MEMORY = 2000  # MB; the largest picture that is read has 50 million pixels


def read_mutated(seed, count, folder):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(seed), str(count), str(folder)]
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, env=environment)
    now = folder / "now.txt"
    assert done.returncode == 0, (now.exists() and now.read_text(), done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found | {"neither": len(found["neither"])}))
    assert found["neither"] == []
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > count / 20
    assert found["memory"] < MEMORY


def test_two_hundred_changed_files(tmp_path):
    read_mutated(0, 200, tmp_path)


@pytest.mark.slow
def test_thousands_of_changed_files(tmp_path):
    read_mutated(1000, int(os.environ.get("DGFNET_MUTATIONS", "4000")), tmp_path)
