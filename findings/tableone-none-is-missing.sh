#!/usr/bin/env bash
# tableone 0.9.6: patients with a missing value are counted in the category "None", where the data have one: a table says
# that nothing was found in those who were not examined, and the P value and SMD follow.
#
# Expected by most: missing values are a category of their own (include_null, the default, is documented as "treating them
#   as a category level"), or are left out and counted under Missing; in no case are they another category.
# Behaviour (echogenic foci of 60 nodules, of which 10 metastatic ones were not described):
#                                    benign   metastatic   P-Value   SMD
#   as written: None, Punctate
#     None                           20       15           0.295     0.343
#     Punctate                       10       15
#   the same with "absent" for None
#     None (missing)                 0        10           <0.001    1.414
#     absent                         20       5
#     Punctate                       10       15
#   by hand, without the missing     20 / 10  5 / 15       0.009     0.921
#   Missing values are replaced by the text "None" before anything is counted. The column Missing is empty in all of them.
#
# For a user: "None" is the word of TI-RADS for echogenic foci, and common for comorbidity, therapy and complications. Where
# a frame comes from a database, a Parquet file or code (pandas reads the word None in a CSV file as missing itself), a
# difference disappears or arises, and the counts add up. Call the category "absent", or set include_null=False, which
# gives the last row and 10 under Missing. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tableone==0.9.6 pandas==2.3.3 numpy==2.4.6 \
    scipy==1.17.1 statsmodels==0.15.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from tableone import TableOne

OUTCOME = ["benign"] * 30 + ["metastatic"] * 30


def foci(none):
    """Returns the echogenic foci of the nodules, with the word for none of them; ten were not described."""
    return [none] * 20 + ["Punctate"] * 10 + [none] * 5 + ["Punctate"] * 15 + [None] * 10


def table(none, **options):
    """Returns the counts per category, the P value and SMD as printed, and the number under Missing."""
    frame = pd.DataFrame({"outcome": OUTCOME, "foci": foci(none)})
    made = TableOne(frame, columns=["foci"], categorical=["foci"], groupby="outcome", pval=True, smd=True, **options)
    print(made.tabulate(tablefmt="plain"))
    rows = made.tableone.droplevel(0, axis=1).iloc[1:]
    counts = {name[1]: [int(cell.split()[0]) for cell in row[["benign", "metastatic"]]] for name, row in rows.iterrows()}
    first = rows.iloc[0]
    return counts, first["P-Value"], first["SMD (benign,metastatic)"], first["Missing"]


def by_hand(counts):
    """Returns the P value of the chi-squared test and the SMD of a table of two categories and two groups."""
    p = counts[:, 0] / counts.sum(axis=1)
    smd = abs(p[0] - p[1]) / np.sqrt((p * (1 - p)).sum() / 2)
    return round(float(chi2_contingency(counts)[1]), 3), round(float(smd), 3)


found = [table("None"), table("absent"), table("None", include_null=False)]
hand = by_hand(np.array([[20, 10], [5, 15]])), by_hand(np.array([[20, 10], [15, 15]]))
print("by hand, without the missing:", *hand[0], "with the missing as none:", *hand[1])
expected = [
    ({"None": [20, 15], "Punctate": [10, 15]}, "0.295", "0.343", ""),
    ({"None": [0, 10], "Punctate": [10, 15], "absent": [20, 5]}, "<0.001", "1.414", ""),
    ({"None": [20, 5], "Punctate": [10, 15]}, "0.009", "0.921", "10"),
]
found = [(counts, str(p), str(smd), str(missing)) for counts, p, smd, missing in found]
print(*found, sep="\n")
sys.exit(found != expected or hand != ((0.009, 0.921), (0.295, 0.343)))
PYTHON
