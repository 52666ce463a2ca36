#!/usr/bin/env bash
# betacal 1.1.0: BetaCalibration("ab") gives a map that rises and falls again as soon as the cohort has another prevalence
# than the model was trained for: the nodules with the highest scores get probabilities near 0. And each fit, of any
# variant, turns off all warnings of the process.
#
# Expected by most: a and b are not negative, as in the paper (Kull et al., AISTATS 2017) and as with "abm", the default,
#   which drops a negative one and fits again; so no probability falls while the score rises, and the AUC stays.
# Behaviour (2000 cases; the logit of the risk is that of the score plus a shift, which "abm" and "am" can follow exactly):
#   shift  prevalence   scores 0.5, 0.9, 0.999: the risk, by "abm", by "ab"                  AUC of score, "abm", "ab"
#    0     0.520        0.500 0.900 0.999   0.526 0.902 0.999   0.500 0.914 1.000            0.732   0.732   0.732
#   -1     0.314        0.269 0.768 0.997   0.282 0.758 0.998   0.500 0.584 0.074            0.714   0.714   0.700
#   -2     0.168        0.119 0.549 0.993   0.133 0.561 0.995   0.500 0.202 0.000            0.726   0.726   0.573
#   "ab" has to keep 0.5 at 0.5; what is left to it is a negative b (-0.68 and -2.39), which nothing forbids. "abm" may
#   still turn the order round: where the scores are worse than chance, the coefficient that is left is negative too.
#   warnings.filterwarnings("ignore") stands in the fit without an end: a warning of the user's own code, of numpy or
#   of scikit-learn (no convergence) is shown before the first fit and not after it.
#
# For a user: the worst nodules sink to the bottom of the list by a step that "cannot change the ranking". Take "abm", refuse
# a fit whose calibrator_.map_ has a negative a or b, and fit inside warnings.catch_warnings(). No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check betacal==1.1.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
from betacal import BetaCalibration
from sklearn.metrics import roc_auc_score


def warned():
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn("a warning of the user's own code", stacklevel=1)
    return len(seen)


before = warned()
at = np.array([0.5, 0.9, 0.999])
maps = {}
for shift in (0, -1, -2):
    generator = np.random.default_rng(1)
    logits = generator.normal(size=2000)
    scores = 1 / (1 + np.exp(-logits))
    truth = (generator.uniform(size=2000) < 1 / (1 + np.exp(-logits - shift))).astype(int)
    print(f"shift {shift}, prevalence {truth.mean():.3f}, AUC of the score {roc_auc_score(truth, scores):.3f}")
    print("  risk", np.round(1 / (1 + np.exp(-np.log(at / (1 - at)) - shift)), 3))
    for variant in ("abm", "ab"):
        fitted = BetaCalibration(variant).fit(scores.reshape(-1, 1), truth)
        curve = fitted.predict(np.linspace(0.001, 0.999, 999))
        maps[shift, variant] = bool((np.diff(curve) >= 0).all())
        area = roc_auc_score(truth, fitted.predict(scores))
        a, b, _ = fitted.calibrator_.map_
        print(f"  {variant} {fitted.predict(at).round(3)}, AUC {area:.3f}, a {a:.2f}, b {b:.2f}; ", end="")
        print("rises" if maps[shift, variant] else "rises and falls")
print("warnings shown: before the fits", before, "after them", warned())
expected = {(0, "abm"): True, (0, "ab"): True, (-1, "abm"): True, (-1, "ab"): False, (-2, "abm"): True, (-2, "ab"): False}
sys.exit(maps != expected or (before, warned()) != (1, 0))
PYTHON
