#!/usr/bin/env bash
# MONAI 1.6.1: the FROC curve leaves out the lowest score. A detector that finds every lesion, and nothing else, with one score
# has a FROC of 0; a false alarm added to it makes 1 of that.
#
# Expected by most: every score is a threshold; all lesions found without a false alarm is 1; a false alarm helps nobody.
# Behaviour (compute_froc_curve_data, compute_froc_score at 0.25 to 8 false alarms an image; by hand the same, all scores taken):
#   lesions found with      false alarms with   images   MONAI    by hand
#   1, 1                    none                1        0        1
#   1, 1                    0                   1        1        1
#   0.9                     none                1        0        1
#   0.9, 0.5                0.7                 1        0.5      0.833
#   0.9, 0.5                0.7, 0.6            2        0.5      0.833
#   0.5, all 20             0.5, five of them   20       0        1
#   The thresholds are the scores from the second lowest on, and the curve begins above it.
#
# For a user: what comes as a mask or from thresholding has one score, 1, and a FROC of 0 whatever it finds; with few candidates
# the weakest lesion is lost, and of two detectors the one with a wrong candidate at the bottom wins. With thousands of
# candidates of different scores it is one point of the curve. Add a false alarm of score -1: it is the one that is left out,
# and nothing else changes. MONAI says that the rule comes from the evaluation code of CAMELYON16. No report of it found.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1; otherwise it is installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check monai==1.6.1 torch==2.14.1 numpy==2.4.6
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" monai==1.6.1
    export PYTHONPATH=$folder/packages
fi
"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from monai.metrics import compute_froc_curve_data, compute_froc_score

ALLOWED = (0.25, 0.5, 1, 2, 4, 8)  # false alarms an image


def by_hand(found, alarms, lesions, images):
    """Mean sensitivity at the allowed numbers of false alarms, between the points of the curve by straight lines."""
    thresholds = [np.inf, *sorted({*found, *alarms}, reverse=True)]
    alarms_an_image = [(alarms >= one).sum() / images for one in thresholds]
    sensitivity = [(found >= one).sum() / lesions for one in thresholds]
    return float(np.mean(np.interp(ALLOWED, alarms_an_image, sensitivity)))


CASES = (  # scores of found lesions, of false alarms, lesions, images, FROC by MONAI
    ([1, 1], [], 2, 1, 0),
    ([1, 1], [0], 2, 1, 1),
    ([0.9], [], 1, 1, 0),
    ([0.9, 0.5], [0.7], 2, 1, 0.5),
    ([0.9, 0.5], [0.7, 0.6], 2, 2, 0.5),
    ([0.5] * 20, [0.5] * 5, 20, 20, 0),
)
as_before = True
for found, alarms, lesions, images, expected in CASES:
    found, alarms = np.array(found, dtype=float), np.array(alarms, dtype=float)
    score = float(compute_froc_score(*compute_froc_curve_data(alarms, found, lesions, images), ALLOWED))
    print(f"found {found[:3]}, alarms {alarms[:3]}: MONAI {score:.3f}, by hand {by_hand(found, alarms, lesions, images):.3f}")
    as_before &= abs(score - expected) < 1e-9
sys.exit(not as_before)
PYTHON
