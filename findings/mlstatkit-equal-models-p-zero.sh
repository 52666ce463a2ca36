#!/usr/bin/env bash
# MLstatkit 0.1.91: Delong_test() of two models that rank all patients alike gives p = 0, as if they surely differed.
#
# Expected by most: no difference, so p = 1 (or none given), as for two models with the same area that rank differently.
# Behaviour (15 positives, 20 negatives; z, p, way taken):
#   a model against itself                              0.0  0.0     bootstrap
#   probabilities against their logits                  0.0  0.0     bootstrap
#   two models that both separate the classes           0.0  0.0     bootstrap
#   two models of equal area, 292 of 300, ranks differ  0.0  1.0     delong
#   The variance of the difference is zero, so a bootstrap takes over. All its differences are 0; the share at most 0 is
#   1, the share above 0 is 0, and p is twice the smaller one. With ties split between the sides it would be 1.
#   Permutation_test() of the same pairs gives p = 1.
#
# For a user: a table of comparisons marks the pairs that cannot differ as the most significant of all: a model before
# and after calibration by temperature, an ensemble of one, two models that are perfect on a small test set. A
# correction for many tests (Holm) then lets them through first. Look at info["method"]; where it is "bootstrap" and
# z is 0, p is 1. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlstatkit==0.1.91 numpy==2.4.6 scipy==1.17.1 \
    scikit-learn==1.9.1 tqdm==4.70.1
TQDM_DISABLE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from MLstatkit import Delong_test, Permutation_test

generator = np.random.default_rng(1)
label = np.repeat([0, 1], [20, 15])
logit = generator.normal(size=35) + label
perfect = [np.concatenate([generator.uniform(0, 0.4, 20), generator.uniform(0.6, 1, 15)]) for _ in range(2)]
above = np.concatenate([np.arange(20.0), np.arange(20, 35)])  # separates the classes
first, other = above.copy(), above.copy()
first[20] = 11.5  # this positive is below eight negatives
other[21] = 11.5  # and here it is another one


def pairs(score):
    """Counts the pairs of a positive and a negative in which the positive is above."""
    return int((score[label == 1][:, None] > score[label == 0]).sum())


cases = {
    "a model against itself": (logit, logit),
    "probabilities against their logits": (1 / (1 + np.exp(-logit)), logit),
    "two models that both separate the classes": perfect,
    "two models of equal area, ranks differ": (first, other),
}
found = {}
for name, (one, two) in cases.items():
    z, p, _, _, area, second_area, info = Delong_test(label, one, two, random_state=0)
    swapped = Permutation_test(label, one, two, "roc_auc", n_bootstraps=200)[2]
    found[name] = z, p, info["method"]
    print(f"{name}: z {z}, p {p}, {info['method']}; areas {area:.4f} {second_area:.4f}; permutations p {swapped}")
    assert pairs(one) == pairs(two) and abs(area - pairs(one) / 300) < 1e-12
print("pairs in order:", pairs(first), "of 300")
same = [found[name] for name in list(cases)[:3]]
last = found[list(cases)[3]]
sys.exit(not (same == [(0.0, 0.0, "bootstrap")] * 3 and last == (0.0, 1.0, "delong")))
PYTHON
