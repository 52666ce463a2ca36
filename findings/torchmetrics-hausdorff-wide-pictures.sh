#!/usr/bin/env bash
# torchmetrics 1.9.0: HausdorffDistance is right on square pictures only. On a picture that is wider than high it gives a
# number that means nothing, without a word, and another at the next run; on a higher one it raises IndexError.
#
# Expected by most: the distance of two masks does not depend on the empty picture around them.
# Behaviour (square of 15 x 15 pixels, moved; by hand, then HausdorffDistance in pictures of rows x columns):
#   moved                by hand   64 x 64   64 x 66   48 x 64   64 x 128
#   not                  0         0         40        40        52 to 99
#   10 pixels down       10        10        45        42        45 to 99
#   10 to the right      10        10        45        36        56 to 109
#   5 and 5              7.07      7.07      45        45        45 to 104
#   The place of a pixel in the flattened picture is taken as row * rows + column instead of row * columns + column, so
#   that distances are read where others stand, or none. Two pixels can share a place, and which of them stays differs
#   from run to run. distance_metric and spacing do not matter.
#
# For a user: ultrasound and cropped CT are rarely square, mostly wide: distances are too large by several times, also where
# both masks are equal, and a comparison of two networks is decided by where the nodules lie. Pad both masks with background
# to a square, which gives the values by hand, or take another package. The error on high pictures is reported
# (github.com/Lightning-AI/torchmetrics/issues/3300, open); there wide ones are said to work.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torchmetrics 1.9.0, torch 2.14.1 and scipy 1.17.1; otherwise they are
# installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6 scipy==1.17.1
fi
"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import torch
import torchmetrics
from scipy.spatial.distance import directed_hausdorff
from torchmetrics.segmentation import HausdorffDistance

assert torchmetrics.__version__ == "1.9.0"
SHAPES = [(64, 64), (64, 66), (48, 64), (64, 128), (64, 48)]


def square(shape, down=0, right=0):
    mask = np.zeros(shape, dtype=np.int64)
    mask[5 + down : 20 + down, 5 + right : 20 + right] = 1
    return mask


def by_hand(one, other):
    """Returns the largest distance from a pixel of one mask to the other mask."""
    points = [np.argwhere(mask) for mask in (one, other)]
    return max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])


def measured(one, other):
    metric = HausdorffDistance(num_classes=2, include_background=False, input_format="index")
    try:
        return round(float(metric(torch.tensor(one)[None], torch.tensor(other)[None])), 2)
    except IndexError as error:
        return type(error).__name__


def padded(mask):
    side = max(mask.shape)
    return np.pad(mask, [(0, side - one) for one in mask.shape])


found, right = {}, []
for move in ((0, 0), (10, 0), (0, 10), (5, 5)):
    pairs = [(square(shape, *move), square(shape)) for shape in SHAPES]
    hand = {round(by_hand(*pair), 2) for pair in pairs}
    found[move] = [measured(*pair) for pair in pairs]
    mended = {measured(*map(padded, pair)) for pair in pairs}
    print("moved", *move, "by hand", *hand, "measured", *found[move], "padded to a square", *mended)
    right.append(len(hand) == 1 and hand == mended and found[move][0] in hand)
for move, (alone, *wide, high) in found.items():
    wrong = [one > max(10, 1.5 * alone) for one in wide]
    right.append(all(wrong) and high == "IndexError")
sys.exit(not all(right))
PYTHON
