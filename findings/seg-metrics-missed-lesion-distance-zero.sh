#!/usr/bin/env bash
# seg-metrics 1.2.8: when the prediction is empty and the truth is not, or the other way round, all surface distances
# are 0.
#
# Expected by most: no distance (nan), infinity, or an error, as other packages give; 0 is a surface met exactly.
# Behaviour (square of 20 x 20 pixels of 0.5 x 0.5 mm; Dice, then hd, hd95, msd in mm):
#   found exactly                   1.0      0.0    0.0    0.0
#   found, 10 pixels beside         0.5      5.0    5.0    2.5
#   missed: empty prediction        0.0      0.0    0.0    0.0
#   invented: empty truth           0.0      0.0    0.0    0.0
#   The distance to an empty mask is read from a picture of zeros. A line in the log says that precision and recall are
#   taken as 0 in these cases; it does not name the distances.
#
# For a user: the mean hd95 of ten lesions, each found 10 pixels beside, is 5 mm; of the same ten with five missed, 2.5
# mm. The network that finds less wins, and a threshold chosen by hd95 moves up until nothing is found. Set the
# distances of rows with Dice 0 and one empty mask to nan, and report how many there are. No report of it for this
# package found; the same rule in scripts of papers has been questioned: github.com/Beckschen/TransUNet/issues/39.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seg-metrics==1.2.8 numpy==2.4.6 pandas==3.1.1 \
    simpleitk==2.5.7 medutils==0.1.21 matplotlib==3.11.2 medpy==0.5.2 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import medpy.metric.binary as medpy
import numpy as np
from seg_metrics.seg_metrics import write_metrics

NAMES = ("dice", "hd", "hd95", "msd")
SPACING = [0.5, 0.5]


def square(right=0):
    mask = np.zeros((64, 64), dtype=np.int64)
    mask[10:30, 10 + right : 30 + right] = 1
    return mask


def measured(truth, predicted):
    """Of one picture, or of a list of pictures: one list of numbers each."""
    rows = write_metrics(labels=[1], gdth_img=truth, pred_img=predicted, spacing=SPACING)
    return [[round(float(row[name][0]), 4) for name in NAMES] for row in rows]


empty = np.zeros_like(square())
cases = {
    "found exactly": (square(), square()),
    "found, 10 pixels beside": (square(), square(10)),
    "missed": (square(), empty),
    "invented": (empty, square()),
}
found = {name: measured(*pair)[0] for name, pair in cases.items()}
for name, numbers in found.items():
    print(name, *numbers)
means = []
for missed in (0, 5):
    predicted = [empty] * missed + [square(10)] * (10 - missed)
    means.append(float(np.mean([row[2] for row in measured([square()] * 10, predicted)])))
print("mean hd95 of ten, none missed and five missed:", *means)
beside = medpy.hd(square(10), square(), voxelspacing=0.5), medpy.hd95(square(10), square(), voxelspacing=0.5)
try:
    said = str(medpy.hd(empty, square()))
except RuntimeError as error:
    said = f"error: {error}"
print("medpy: beside", *(float(one) for one in beside), "missed:", said)
right = found["found exactly"] == [1.0, 0.0, 0.0, 0.0] and found["found, 10 pixels beside"] == [0.5, 5.0, 5.0, 2.5]
wrong = found["missed"] == found["invented"] == [0.0] * 4 and means == [5.0, 2.5]
sys.exit(not (right and wrong and beside == (5.0, 5.0)))
PYTHON
