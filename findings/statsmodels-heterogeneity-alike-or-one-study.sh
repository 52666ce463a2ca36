#!/usr/bin/env bash
# statsmodels 0.15.0: combine_effects() does not cut off I2 at zero, nor tau2 with method_re="chi2". Three studies that
# agree give an I2 of -2499, and with "chi2" an interval that is 50 times too narrow; one study gives an I2 of 1 or nan,
# as rounding has it.
#
# Expected by most: I2 is from 0 to 1 and tau2 at least 0, negative values being set to 0; the interval of the random
#   effects is never narrower than that of the fixed effect; one study has no heterogeneity.
# Behaviour (each study with the variance 0.0025; random effect, its standard error, and that of the fixed effect):
#   effects               method_re   I2        tau2        effect   standard error   fixed
#   0.800 0.801 0.799     iterated    -2499     0           0.800    0.0289           0.0289
#   0.800 0.801 0.799     chi2        -2499     -0.002499   0.800    0.0006           0.0289
#   0.80 0.81 0.79        chi2        -24       -0.0024     0.800    0.0058           0.0289
#   0.80 0.80 0.80        iterated    -8.8e12   0           0.800    0.0289           0.0289
#   0.75 0.75 0.75        iterated    -inf      0           0.750    0.0289           0.0289
#   0.75 0.75 0.75        chi2        -inf      -0.0025     nan      0                0.0289
#   0.80                  iterated    1         0           0.800    0.05             0.05
#   0.80                  chi2        1         inf         nan      inf              0.05
#   0.75                  iterated    nan       0           0.750    0.05             0.05
#   0.75                  chi2        nan       nan         nan      nan              0.05
#   0.70 0.80 0.90        both        0.75      0.0075      0.800    0.0577           0.0289
#   There is no error, at most a RuntimeWarning of a division.
#
# For a user: three hospitals with an AUC of 0.80, 0.81 and 0.79 are the best case, and there the report says an I2 of
# -2400 %, or an interval of 0.789 to 0.811 in place of 0.743 to 0.857; a subgroup with one hospital may get an I2 of
# 100 %. Leave method_re at "iterated" ("dl" is the same as "chi2"), report max(0, I2), and do not pool one study. No
# report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 \
    pandas==2.3.3
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from math import inf, nan

import numpy as np
from statsmodels.stats.meta_analysis import combine_effects

VARIANCE = 0.0025
EXPECTED = [  # effects, method, I2, tau2, random effect and its standard error
    ((0.8, 0.801, 0.799), "iterated", -2499, 0, 0.8, 0.028868),
    ((0.8, 0.801, 0.799), "chi2", -2499, -0.002499, 0.8, 0.00057735),
    ((0.8, 0.801, 0.799), "dl", -2499, -0.002499, 0.8, 0.00057735),
    ((0.8, 0.81, 0.79), "iterated", -24, 0, 0.8, 0.028868),
    ((0.8, 0.81, 0.79), "chi2", -24, -0.0024, 0.8, 0.0057735),
    ((0.8, 0.8, 0.8), "iterated", None, 0, 0.8, 0.028868),  # None: a large negative number that rounding makes
    ((0.75, 0.75, 0.75), "iterated", -inf, 0, 0.75, 0.028868),
    ((0.75, 0.75, 0.75), "chi2", -inf, -0.0025, nan, 0),
    ((0.8,), "iterated", 1, 0, 0.8, 0.05),
    ((0.8,), "chi2", 1, inf, nan, inf),
    ((0.75,), "iterated", nan, 0, 0.75, 0.05),
    ((0.75,), "chi2", nan, nan, nan, nan),
    ((0.7, 0.8, 0.9), "iterated", 0.75, 0.0075, 0.8, 0.057735),
    ((0.7, 0.8, 0.9), "chi2", 0.75, 0.0075, 0.8, 0.057735),
]
wrong = []
for effects, method, *expected in EXPECTED:
    result = combine_effects(np.array(effects), np.full(len(effects), VARIANCE), method_re=method)
    table = result.summary_frame()
    row = table.loc["random effect"]
    found = [result.i2, result.tau2, row["eff"], row["sd_eff"]]
    interval = f"{row['ci_low']:.3f} to {row['ci_upp']:.3f}"
    print(*effects, method, *(f"{value:.6g}" for value in found), "interval", interval)
    if expected[0] is None:
        wrong.append(not found[0] < -1e6)
        found, expected = found[1:], expected[1:]
    wrong.append(not np.allclose(found, expected, rtol=1e-3, atol=1e-8, equal_nan=True))
    fixed = table.loc["fixed effect", "sd_eff"]
    wrong.append(not np.isclose(fixed, np.sqrt(VARIANCE / len(effects))))
sys.exit(any(wrong))
PYTHON
