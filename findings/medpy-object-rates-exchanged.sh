#!/usr/bin/env bash
# medpy 0.5.2: obj_tpr() and obj_fpr() take truth and prediction for each other: a network that finds one lesion of three
# has a true positive rate of 1 and a false positive rate of 0.667; obj_asd() is turned round as well.
#
# Expected by most: obj_tpr(result, reference) is the share of the lesions of the truth that were found, obj_fpr the
#   share of the found objects that are none. So say their names, the notes in their documentation, and its examples.
# Behaviour (lesions of 5 x 5 pixels, each found exactly or not at all; by hand, then medpy):
#                                    by hand: found, false     obj_tpr   obj_fpr
#   three lesions, all found         1        0                1         0
#   three, one found                 0.333    0                1         0.667
#   three, none missed, two more     1        0.4              0.6       0
#   Of the documentation's examples for lesions, obj_tpr([1,0,1,0,0], [1,0,1,0,1]) is said to be 0.667 and is 1; with the
#   arguments exchanged it is said to be 1 and is 0.667. For obj_fpr 0 is said and 0.333 found.
#   For one object each, obj_asd(a, b) is asd(b, a): 0.333 and 0.75 for a square of 3 x 3 and its middle line.
#   obj_tpr of a healthy picture, with one object invented, is 0; of a lesion missed it divides by zero.
#
# For a user: sensitivity per lesion is precision per lesion: the cautious network that finds little and invents nothing is
# called perfect. Exchange the arguments of these three functions (obj_tpr(truth, prediction)), and test it on a picture with
# one lesion missed whenever medpy changes. obj_assd is symmetric and not affected. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check medpy==0.5.2 numpy==2.4.6 scipy==1.17.1 simpleitk==2.5.7
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from medpy.metric.binary import asd, obj_asd, obj_fpr, obj_tpr


def lesions(*places):
    mask = np.zeros((64, 96), dtype=np.uint8)
    for row, column in places:
        mask[row : row + 5, column : column + 5] = 1
    return mask


ALL = [(5, 5), (25, 40), (50, 80)]
MORE = [(5, 80), (50, 5)]
found = {}
for name, true, predicted in (
    ("three lesions, all found", ALL, ALL),
    ("three, one found", ALL, ALL[:1]),
    ("three, none missed, two more", ALL, ALL + MORE),
):
    both = len(set(true) & set(predicted))
    hand = both / len(true), 1 - both / len(predicted)
    result, reference = lesions(*predicted), lesions(*true)
    ours = obj_tpr(result, reference), obj_fpr(result, reference)
    turned = obj_tpr(reference, result), obj_fpr(reference, result)
    found[name] = [[round(float(one), 3) for one in pair] for pair in (hand, ours, turned)]
    print(name, "by hand", found[name][0], "medpy", found[name][1], "arguments exchanged", found[name][2])

one, other = np.array([1, 0, 1, 0, 0]), np.array([1, 0, 1, 0, 1])
example = [obj_tpr(one, other), obj_tpr(other, one), obj_fpr(one, other), obj_fpr(other, one)]
said = [2 / 3, 1, 0, 1 / 3]
print("documented", np.round(said, 3), "found", np.round(example, 3))
square, line = np.ones((3, 3), int), np.array([[0, 1, 0]] * 3)  # asd by hand: 6 of the 8 pixels of the border are 1 off
ways = [asd(square, line), obj_asd(square, line), asd(line, square), obj_asd(line, square)]
print("asd and obj_asd of the square to the line, then of the line to the square:", np.round(ways, 3))
nothing = lesions()
invented = obj_tpr(lesions(ALL[0]), nothing)
try:
    missed = str(obj_tpr(nothing, lesions(ALL[0])))
except ZeroDivisionError as error:
    missed = f"{type(error).__name__}: {error}"
print("obj_tpr of an invented lesion", invented, "of a missed one:", missed)
expected = {
    "three lesions, all found": [[1, 0], [1, 0]],
    "three, one found": [[0.333, 0], [1, 0.667]],
    "three, none missed, two more": [[1, 0.4], [0.6, 0]],
}
right = all(hand == turned for hand, _, turned in found.values())
right = right and np.allclose(ways, [0.75, 1 / 3, 1 / 3, 0.75])
wrong = {name: rows[:2] for name, rows in found.items()} == expected and np.allclose(example, [1, 2 / 3, 1 / 3, 0])
sys.exit(not (right and wrong and invented == 0 and missed.startswith("ZeroDivisionError")))
PYTHON
