#!/usr/bin/env bash
# pycocotools 2.0.11: decode() of run-length codes that are too short for their picture returns memory as it finds it.
#
# Expected: an error, which it raises for codes that are too long ("Invalid RLE mask representation").
# Behaviour: the mask's array is taken without being cleared, and what the runs do not reach keeps what was there before,
# values of 0 to 255 that change from call to call. Codes of 3 of 10,000 pixels, after other arrays of that size:
#   9989 of 9997 pixels that no run reaches are not 0      (the number varies)
#
# For a user: a COCO file that was cut, or of pictures that were resized, gives masks with noise in them instead of a
# message, and a process's memory gets into data. Check sum(counts) against height x width first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from pycocotools import mask

short = mask.frPyObjects({"size": [100, 100], "counts": [1, 2]}, 100, 100)
most = 0
for _ in range(50):
    used = [np.full(10_000, 171, dtype=np.uint8) for _ in range(20)]
    del used  # their memory is free now
    most = max(most, int(np.count_nonzero(mask.decode(short).ravel(order="F")[3:])))
print(f"{most} of 9997 pixels that no run reaches are not 0")
sys.exit(most == 0)
PYTHON
