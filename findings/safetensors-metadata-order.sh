#!/usr/bin/env bash
# safetensors 0.8.0: the same arrays with the same metadata give another file at every save, once metadata has two keys.
#
# Expected by most: the format sorts its header, so one content is one file (true without metadata, and with one key).
# Behaviour: the keys of `metadata` are written in random order, also within one process. Fifty saves each:
#   0 metadata keys: 1 different file(s)
#   1 metadata keys: 1 different file(s)
#   4 metadata keys: 20 different file(s)      (the number varies; at most 24 orders)
# Reported upstream: github.com/safetensors/safetensors/issues/584
#
# For a user: training that repeats to the last digit still writes weights with another digest. DVC sees a changed output
# and runs every later stage, content-addressed stores keep copies, and "the same sha256" cannot be a test of
# reproducibility. Put what is to be said into one key, as JSON with sorted keys, or into a file beside the weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import save

weights = {"weight": np.ones(2, dtype=np.float32), "bias": np.zeros(2, dtype=np.float32)}
metadata = {"commit": "abc", "data": "def", "epoch": "7", "fold": "0"}
counts = {}
for size in (0, 1, 4):
    some = dict(list(metadata.items())[:size]) or None
    counts[size] = len({save(weights, metadata=some) for _ in range(50)})
    print(f"{size} metadata keys: {counts[size]} different file(s)")
sys.exit(not (counts[0] == counts[1] == 1 and counts[4] > 1))
PYTHON
