#!/usr/bin/env bash
# dcurves 1.1.7: models_to_prob with times to an event puts the probability of survival where the risk belongs; patients
# without a prediction are counted as not treated.
#
# Expected by most: dca(models_to_prob=["marker"], time=1.5) fits a Cox model and draws the curve of its risk, which is
#   1 - S(1.5), the same that is drawn when this risk is given; rows without a prediction are left out, or give nan.
# Behaviour (400 patients, a marker with hazard ratio 3.3, none lost before 1.5 years; net benefit):
#   threshold                               0.2       0.4       0.6
#   risk, counted by hand                   0.4062    0.2917    0.1775
#   the same risk given to dca()            0.4063    0.2917    0.1775
#   dca(models_to_prob=["marker"])          0.1794   -0.0692   -0.3875
#   S(1.5) in place of risk, by hand        0.1794   -0.0692   -0.3875
#   everyone                                0.3844    0.1792   -0.2313
#   Four sick and four healthy, two predictions of sick patients missing, threshold 0.5: 0.125 (they are misses, and
#   stay in n); without these two rows 0.1667. A missing outcome gives nan.
#
# For a user: the curve of a good model lies below treating all and, past the prevalence, below treating none; those who
# would be treated are those at least risk. There is no warning, and a plot does not tell why. Fit outside, and give
# 1 - survival as a column. Drop the rows without a prediction first, the same rows for all models of a plot.
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dcurves==1.1.7 lifelines==0.30.3 numpy==2.4.6 \
    pandas==2.3.3 scipy==1.17.1 statsmodels==0.15.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
from dcurves import dca
from lifelines import CoxPHFitter

HORIZON, THRESHOLDS = 1.5, [0.2, 0.4, 0.6]
generator = np.random.default_rng(0)
marker = generator.normal(size=400)
time = generator.exponential(1 / (0.4 * np.exp(1.2 * marker)))
event = time <= 3.0  # all are followed for three years: nobody is lost before the horizon
table = pd.DataFrame({"marker": marker, "years": np.minimum(time, 3.0), "event": event.astype(int)})
model = CoxPHFitter().fit(table, "years", "event")
table["risk"] = 1 - model.predict_survival_function(table, times=[HORIZON]).to_numpy()[0]


def by_hand(positive, called, threshold):
    """Net benefit: true positives less false positives at the odds of the threshold, per person."""
    return (called & positive).mean() - threshold / (1 - threshold) * (called & ~positive).mean()


def curve(result, model):
    return [round(float(value), 4) for value in result[result["model"] == model]["net_benefit"]]


options = {"outcome": "event", "thresholds": THRESHOLDS, "time": HORIZON, "time_to_outcome_col": "years"}
converted = dca(data=table, modelnames=["marker"], models_to_prob=["marker"], **options)
given = dca(data=table, modelnames=["risk"], **options)
sick = time <= HORIZON
hand = [round(float(by_hand(sick, table["risk"].to_numpy() >= t, t)), 4) for t in THRESHOLDS]
swapped = [round(float(by_hand(sick, 1 - table["risk"].to_numpy() >= t, t)), 4) for t in THRESHOLDS]
print("thresholds                          ", THRESHOLDS)
print("risk of the Cox model, by hand      ", hand)
print("the same risk given to dca()        ", curve(given, "risk"))
print("dca(models_to_prob=['marker'])      ", curve(converted, "marker"))
print("survival called risk, by hand       ", swapped)
print("everyone / no one                   ", curve(given, "all"), curve(given, "none"))
positive = np.array([1, 1, 1, 1, 0, 0, 0, 0])
probability = np.array([0.9, 0.8, np.nan, np.nan, 0.1, 0.2, 0.6, 0.3])
binary = pd.DataFrame({"label": positive, "p": probability})
missing = curve(dca(data=binary, outcome="label", modelnames=["p"], thresholds=[0.5]), "p")[0]
complete = curve(dca(data=binary.dropna(), outcome="label", modelnames=["p"], thresholds=[0.5]), "p")[0]
print("two of eight predictions missing:", missing, "without these two:", complete)


def near(one, other):
    return bool(np.allclose(one, other, atol=2e-4))


known = near(curve(given, "risk"), hand) and complete == 0.1667
wrong = near(curve(converted, "marker"), swapped) and not near(swapped, hand) and missing == 0.125
sys.exit(not (known and wrong))
PYTHON
