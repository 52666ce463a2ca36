#!/usr/bin/env bash
# miseval 1.3.0: "HD" compares the rows of the two pictures, not their outlines, so that a mask moved up or down has
# distance 0; "AHD", the average distance, is the maximum.
#
# Expected by most: HD is the largest distance in pixels from a pixel of one mask to the other mask; AHD its mean,
#   smaller.
# Behaviour (square of 20 x 20 pixels in 64 x 64; HD and AHD; by hand: largest distance, mean distance):
#                                HD       AHD       by hand
#   the same square              0.0      0.0       0.0    0.0
#   10 pixels down               0.0      10.0      10.0   2.75
#   10 pixels to the right       4.472    10.0      10.0   2.75
#   40 pixels down, apart        0.0      40.0      40.0   30.5
#   no pixel                     4.472    36.401    not defined
#   HD hands the whole arrays to a function for lists of points: each row becomes a point with 64 coordinates, and the
#   distance is that between rows: here the root of the number of pixels in which the two differ, 20.
#   AHD takes the maximum of the distances it has collected, and is therefore the Hausdorff distance.
#
# For a user: HD of a missed lesion can be as small as that of one nearly right, and a shift along one axis costs
# nothing but along the other something; AHD of published tables made with it is HD. Use AHD for the Hausdorff distance
# of single masks (not where one is empty), and another package for averages, percentiles and millimetres. No report of
# it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check miseval==1.3.0 hausdorff==0.2.6 dictances==1.5.3 \
    numba==0.68.1 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 scikit-learn==1.9.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from miseval import evaluate
from scipy.spatial import cKDTree


def square(down=0, right=0):
    mask = np.zeros((64, 64), dtype=np.int64)
    mask[2 + down : 22 + down, 10 + right : 30 + right] = 1
    return mask


def by_hand(one, other):
    """Largest and mean distance from the pixels of each mask to the other, the larger of both directions."""
    points = [np.argwhere(mask > 0) for mask in (one, other)]
    ways = [cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]]
    return [round(float(max(way.max() for way in ways)), 3), round(float(max(way.mean() for way in ways)), 3)]


truth = square()
cases = {
    "the same square": truth,
    "10 pixels down": square(down=10),
    "10 pixels to the right": square(right=10),
    "40 pixels down, apart": square(down=40),
    "no pixel": np.zeros_like(truth),
}
found, hand = {}, {}
for name, predicted in cases.items():
    found[name] = [round(float(evaluate(truth, predicted, metric=metric)), 3) for metric in ("HD", "AHD")]
    hand[name] = by_hand(truth, predicted) if predicted.any() else None
    print(name, *found[name], "by hand", hand[name])
hd = [pair[0] for pair in found.values()]
ahd = [pair[1] for pair in found.values()]
apart = [pair for pair in hand.values() if pair is not None]
right = [pair[0] for pair in apart] == [0.0, 10.0, 10.0, 40.0] and apart[1][1] == 2.75
sys.exit(not (right and hd == [0.0, 0.0, 4.472, 0.0, 4.472] and ahd[:4] == [pair[0] for pair in apart]))
PYTHON
