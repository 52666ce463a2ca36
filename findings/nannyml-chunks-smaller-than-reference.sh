#!/usr/bin/env bash
# nannyml 0.13.1: without a chunk argument, reference and analysis data are both cut into ten chunks, so that a short
# period of analysis is measured in small chunks against limits made from large ones: nearly all give an alert, without
# any drift.
#
# Expected by most: limits of three standard deviations raise an alert in about 1 of 100 chunks where nothing has changed,
#   whatever the number of rows.
# Behaviour (UnivariateDriftCalculator with its defaults; both periods drawn from one distribution; 50 columns of each
# kind; share of chunks with an alert):
#   rows of reference, analysis      numbers: Jensen-Shannon   Kolmogorov-Smirnov   four categories: Jensen-Shannon
#   5000, 500                        1.00                      0.95                 0.79
#   5000, 1000                       0.95                      0.74                 0.52
#   5000, 2500                       0.47                      0.24                 0.15
#   5000, 5000                       0.07                      0.06                 0.03
#   5000, 20000                      0.00                      0.00                 0.00
#   500, 1000; chunk_size=100        0.22                      0.17                 0.13       (reference of 5 chunks)
#   The distances of a chunk are larger the fewer rows it has. In the last row sizes are equal: limits from five numbers
#   are too low, and the reference's chunks are compared with a reference that holds them.
#
# For a user: the first month after a year of reference looks like drift in every column, and with the years alerts
# cease whatever happens. Give chunk_size, the same for both by that, and a reference of at least ten such chunks.
# Reported upstream: github.com/NannyML/nannyml/issues/300 (closed) and, for chunks within the reference, 426.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nannyml==0.13.1 numpy==2.4.6 pandas==2.3.3 \
    scipy==1.17.1 scikit-learn==1.9.1 statsmodels==0.15.0
NML_DISABLE_USAGE_LOGGING=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import nannyml
import numpy as np
import pandas as pd

COLUMNS = 50
generator = np.random.default_rng(0)


def frame(rows):
    numbers = {f"number{index}": generator.normal(size=rows) for index in range(COLUMNS)}
    return pd.DataFrame({**numbers, **{f"kind{index}": generator.choice(list("abcd"), rows) for index in range(COLUMNS)}})


def alerts(reference, analysis, columns, **options):
    """Returns the share of chunks of the analysis data with an alert, over these columns."""
    names = [name for name in reference if name.startswith(columns)]
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, **options).fit(reference)
    result = calculator.calculate(analysis).filter(period="analysis").to_df()
    return float(result[[column for column in result if column[2] == "alert"]].to_numpy().mean())


cases = [(5000, 500, {}), (5000, 1000, {}), (5000, 2500, {}), (5000, 5000, {}), (5000, 20000, {})]
cases.append((500, 1000, {"chunk_size": 100}))
found = []
for rows, later, options in cases:
    reference, analysis = frame(rows), frame(later)
    shares = [
        alerts(reference, analysis, "number", **options),
        alerts(reference, analysis, "number", continuous_methods=["kolmogorov_smirnov"], **options),
        alerts(reference, analysis, "kind", **options),
    ]
    found.append(shares)
    print(rows, later, options, *(f"{share:.2f}" for share in shares))
small = all(share > limit for share, limit in zip(found[0], (0.95, 0.85, 0.6)))
small = small and all(share > limit for share, limit in zip(found[1], (0.85, 0.6, 0.35)))
middle = all(0.1 < share < 0.6 for share in found[2]) and all(share < 0.12 for share in found[3])
large = all(share < 0.01 for share in found[4]) and found[5][0] > 0.1
sys.exit(not (small and middle and large))
PYTHON
