#!/usr/bin/env bash
# evidently 0.7.23: DataDriftPreset() takes the shares of categories in the reference for the truth; where nothing has
# changed a third of the columns drift, and 19 of 20 if the reference is small. Above 1000 rows a small current batch drifts.
#
# Expected by most: where both frames come from one distribution, 5 % of the columns are called drifted at the default
#   threshold of 0.05, as with the chi-square test of the table of both (scipy's chi2_contingency).
# Behaviour (share of 100 columns of each kind called drifted, both frames from one distribution; test that was taken):
#   rows of reference, current   six categories              numbers               the same by chi2_contingency
#   100, 1000                    0.98  chi-square p_value    0.05  K-S p_value     0.06
#   200, 200                     0.38  chi-square p_value    0.04  K-S p_value     0.09
#   1000, 1000                   0.28  chi-square p_value    0.07  K-S p_value     0.04
#   1000, 100                    0.08  chi-square p_value    0.02  K-S p_value     0.06
#   1001, 50                     0.62  Jensen-Shannon        0.96  Wasserstein     0.07
#   1001, 500                    0.00  Jensen-Shannon        0.13  Wasserstein     0.02
#   The counts of the reference, scaled to the current number of rows, are the expected counts of a goodness-of-fit test,
#   as if they were known without error; the statistic is too large by 1 + current / reference. Two categories are tested
#   rightly (Z-test). Above 1000 rows distances are compared with 0.1, which chance alone reaches in small batches.
#
# For a user: sites, scanners, findings and ages in groups (whole numbers of up to ten values are categories) drift from
# the first day, and where half of the columns do, so does the dataset. Name another method for categories, and compare
# batches of the reference with the reference first. Mended in alibi-detect in 2021, which did the same:
# github.com/SeldonIO/alibi-detect/pull/203. No report of it for evidently found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check evidently==0.7.23 numpy==2.4.6 pandas==2.3.3 \
    scipy==1.17.1 scikit-learn==1.9.1
DO_NOT_TRACK=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
from scipy.stats import chi2_contingency

COLUMNS = 100
generator = np.random.default_rng(0)


def frame(rows):
    kinds = {f"kind {index}": generator.choice(list("abcdef"), rows) for index in range(COLUMNS)}
    return pd.DataFrame({**kinds, **{f"number {index}": generator.normal(size=rows) for index in range(COLUMNS)}})


def drifted(reference, current):
    """Returns the share of drifted columns and the test, by kind of column."""
    calls = {}
    for metric in Report([DataDriftPreset()]).run(current, reference).dict()["metrics"]:
        name = metric["metric_name"]
        if name.startswith("ValueDrift"):
            test, limit = name.split("method=")[1].split(",threshold=")
            value, limit = float(metric["value"]), float(limit.rstrip(")"))
            column = name.split("column=")[1].split()[0]
            calls.setdefault(column, []).append(((value < limit) if "p_value" in test else (value >= limit), test))
    return {column: (float(np.mean([call for call, _ in seen])), seen[0][1]) for column, seen in calls.items()}


def by_table(reference, current):
    """Returns the share of categorical columns with p below 0.05 by the test of the table of both."""
    small = []
    for name in (name for name in reference if name.startswith("kind")):
        table = pd.concat([reference[name].value_counts(), current[name].value_counts()], axis=1).fillna(0)
        small.append(chi2_contingency(table.to_numpy().T)[1] < 0.05)
    return float(np.mean(small))


shares, tables = {}, {}
for rows in ((100, 1000), (200, 200), (1000, 1000), (1000, 100), (1001, 50), (1001, 500)):
    reference, current = frame(rows[0]), frame(rows[1])
    found, tables[rows] = drifted(reference, current), by_table(reference, current)
    shares[rows] = found["kind"][0], found["number"][0]
    print(*rows, found, "table of both:", tables[rows])
small = shares[100, 1000][0] > 0.85 and 0.2 < shares[200, 200][0] < 0.5 and 0.2 < shares[1000, 1000][0] < 0.5
right = all(shares[rows][1] < 0.15 for rows in list(shares)[:4]) and all(share < 0.15 for share in tables.values())
large = shares[1001, 50][0] > 0.4 and shares[1001, 50][1] > 0.9 and shares[1001, 500][0] < 0.05
sys.exit(not (small and right and large))
PYTHON
