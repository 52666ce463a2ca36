#!/usr/bin/env bash
# fairlearn 0.15.0: a group without a positive case has a true positive rate of 0, and equal opportunity and equalized
# odds are reported as broken as they can be; the same group has no AUC and is left out where that is compared.
#
# Expected by most: what is 0 / 0 is nan and left out, or is warned of, as scikit-learn does; a model that treats the
#   groups alike gets a difference of 0 and a ratio of 1.
# Behaviour (groups a and b: three of four positive and one of four negative cases called; of c, negative cases only, one
# of four called):
#                                            a and b   with c
#   true_positive_rate of each group         0.75      0.75  0.75  0
#   false_positive_rate of each group        0.25      0.25  0.25  0.25
#   equal_opportunity_difference             0         0.75
#   equal_opportunity_ratio                  1         0
#   equalized_odds_difference                0         0.75
#   equalized_odds_ratio                     1         0
#   MetricFrame of roc_auc_score, difference 0         0, c is nan
#   The other way round, a third group of positive cases only: false positive rate 0, equalized odds 0.25 and ratio 0.
#   No warning, except for the AUC. false_negative_rate of c is 0 too, so that its two rates do not add up to 1.
#
# For a user: rare metastases and small subgroups (children, a hospital, a scanner) make such groups common, and bootstrap
# intervals (n_boot) can draw them where the data have none. A fair model fails the audit, and the group with the fewest
# cancers looks like the one that is treated worst. Count positive and negative cases of each group first (MetricFrame with
# count and selection_rate of the truth) and hand in those groups only that have both. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fairlearn==0.15.0 scikit-learn==1.9.1 numpy==2.4.6 \
    pandas==2.3.3 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
from fairlearn.metrics import (
    MetricFrame,
    equal_opportunity_difference,
    equal_opportunity_ratio,
    equalized_odds_difference,
    equalized_odds_ratio,
    false_negative_rate,
    false_positive_rate,
    true_positive_rate,
)
from sklearn.metrics import roc_auc_score

RULES = equal_opportunity_difference, equal_opportunity_ratio, equalized_odds_difference, equalized_odds_ratio
POSITIVE, NEGATIVE = [1, 1, 1, 0], [0, 0, 0, 1]  # calls for four positive and for four negative cases


def cases(third):
    """Returns truth, calls and groups; the third group has cases of the class only, or is not there (None)."""
    truth, calls, groups = [1] * 4 + [0] * 4, POSITIVE + NEGATIVE, ["a"] * 8
    truth, calls, groups = truth * 2, calls * 2, groups + ["b"] * 8
    if third is not None:
        truth, calls, groups = truth + [third] * 4, calls + (POSITIVE if third else NEGATIVE), groups + ["c"] * 4
    return np.array(truth), np.array(calls), np.array(groups)


def by_hand(truth, calls, groups, outcome):
    """Returns the share that is called of the cases of a class in each group, nan where there are none."""
    shares = {}
    for group in sorted(set(groups)):
        of = calls[(groups == group) & (truth == outcome)]
        shares[group] = of.mean() if len(of) else np.nan
    return shares


found = {}
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for third in (None, 0, 1):
        truth, calls, groups = cases(third)
        rates = MetricFrame(
            metrics={"tpr": true_positive_rate, "fpr": false_positive_rate, "fnr": false_negative_rate},
            y_true=truth,
            y_pred=calls,
            sensitive_features=groups,
        ).by_group
        odds = [float(rule(truth, calls, sensitive_features=groups)) for rule in RULES]
        hand = by_hand(truth, calls, groups, 1), by_hand(truth, calls, groups, 0)
        found[third] = odds, *(rates[name].tolist() for name in ("tpr", "fpr", "fnr"))
        print("third group:", third, "rates", *found[third][1:], "odds", *odds)
        print("   by hand", *(list(map(float, rate.values())) for rate in hand))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    truth, calls, groups = cases(0)
    auc = MetricFrame(metrics=roc_auc_score, y_true=truth, y_pred=calls, sensitive_features=groups)
print("AUC", auc.by_group.tolist(), "difference", auc.difference())
expected = {
    None: ([0, 1, 0, 1], [0.75, 0.75], [0.25, 0.25], [0.25, 0.25]),
    0: ([0.75, 0, 0.75, 0], [0.75, 0.75, 0], [0.25, 0.25, 0.25], [0.25, 0.25, 0]),
    1: ([0, 1, 0.25, 0], [0.75, 0.75, 0.75], [0.25, 0.25, 0], [0.25, 0.25, 0.25]),
}
right = np.isnan(auc.by_group["c"]) and auc.difference() == 0 and auc.by_group["a"] == 0.75
sys.exit(not (right and found == expected))
PYTHON
