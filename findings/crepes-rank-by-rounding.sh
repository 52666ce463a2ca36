#!/usr/bin/env bash
# crepes 0.9.1: at a confidence of 90 or 80 % the conformal rank is one too high, at 95 or 99 % it is right; 9 calibration
# cases give no finite interval at 90 %, and 19 give the same interval at 90 % and at 95 %.
#
# Expected by most: the ceil((n + 1) * confidence)-th smallest score, so n = 9 is enough for 90 % as n = 19 is for 95 %;
#   and a label whose p-value is exactly 1 - confidence is treated alike at every confidence.
# Behaviour (scores 1 to n; half width of predict_int(); label whose plain p-value is exactly 1 - confidence):
#   n     confidence   rank by rule   predict_int()   label in predict_set()
#   9     0.9          9              inf             yes
#   19    0.9          18             19              yes
#   19    0.95         19             19              no
#   39    0.95         38             38              no
#   99    0.8          80             81              yes
#   99    0.9          90             91              yes
#   99    0.95         95             95              no
#   99    0.99         99             99              no
#   Both compute 1 - confidence in floating point and compare or cut there: 1 - 0.9 is 0.09999999999999998, below the
#   p-value 0.1, but 1 - 0.95 is 0.050000000000000044, above 0.05. A warning says that n = 9 is too small.
#
# For a user: of the cases of a rare class a site has 9 or 19, and class by class it is the small n that counts: with 9
# cancers no patient loses the label "cancer" at 90 % where smoothing=False is given, so that sets can be repeated (the
# default draws p-values at random within ties, and hides this), and intervals of 90 and of 95 % are one and the same at
# 19 cases. Coverage errs to the safe side; widths do not compare with those of MAPIE 1.6 and puncc 0.9, which take the
# rank by rule. Give the confidence as 0.8999999. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check crepes==0.9.1 numpy==2.4.6 scipy==1.17.1 \
    pandas==2.3.3 scikit-learn==1.9.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math
import sys
from fractions import Fraction

import numpy as np
from crepes import ConformalClassifier, ConformalRegressor

EXPECTED = {  # half width, and whether the label is in the set
    (9, "0.9"): (math.inf, True),
    (19, "0.9"): (19, True),
    (19, "0.95"): (19, False),
    (39, "0.95"): (38, False),
    (99, "0.8"): (81, True),
    (99, "0.9"): (91, True),
    (99, "0.95"): (95, False),
    (99, "0.99"): (99, False),
}


def found(n, confidence, given):
    """Returns the half width of the interval, and whether a label of p-value 1 - confidence is in the set."""
    scores = np.arange(1.0, n + 1)
    half = ConformalRegressor().fit(scores).predict_int(np.zeros(1), confidence=given)[0, 1]
    below = int((n + 1) * Fraction(confidence))  # so many calibration scores are smaller than that of the label
    strange = np.array([[below + 0.5]])
    model = ConformalClassifier().fit(scores)
    p_value = model.predict_p(strange, smoothing=False)[0, 0]
    assert abs(p_value - float(1 - Fraction(confidence))) < 1e-12
    return float(half), bool(model.predict_set(strange, confidence=given, smoothing=False)[0, 0])


wrong = []
for (n, confidence), expected in EXPECTED.items():
    rule = math.ceil((n + 1) * Fraction(confidence))
    half, inside = found(n, confidence, float(confidence))
    print(f"n {n}, confidence {confidence}: rank by rule {rule}, half width {half}, label in the set {inside}")
    wrong.append((half, inside) != expected)
print("n 9, confidence 0.8999999:", *found(9, "0.9", 0.8999999))
wrong.append(found(9, "0.9", 0.8999999) != (9, False))
sys.exit(any(wrong))
PYTHON
