#!/usr/bin/env bash
# netcal 1.4.0: ENIR, its calibration by near-isotonic regression, loses cases wherever three or more neighbouring groups
# are to become one: the probabilities of the lost ones are calibrated to 0, also in the middle of high ones.
#
# Expected by most: calibrated probabilities near those of isotonic regression, and in the same order but for small steps.
# Behaviour, by hand: labels 0 1 0 1 0 1 0 1 in the order of the probability; the six in the middle meet at 0.5 (lambda is
#   0.5 then), where isotonic regression puts them too.
#   by hand   0   0.5   0.5   0.5   0.5   0.5   0.5   1
#   ENIR      0   0.5   0.5   0     0     0     0     1
# Behaviour of 20 samples (labels drawn with the true probability; error is the root of the mean squared distance to it on
# new cases, of the worst sample in brackets; share of the calibrated probabilities that are 0):
#                                 200 cases                500 cases
#   ENIR()                        0.157 (0.251)   11 %     0.114 (0.212)   7 %
#   ENIR(quick_init=False)        0.316 (0.469)   38 %     0.203 (0.426)   22 %
#   both, joined from the right   0.079 (0.112)    9 %     0.058 (0.075)   5 %
#   isotonic regression           0.078 (0.112)    9 %     0.058 (0.075)   5 %
#   Of groups 1, 2 and 3 that become one, 2 goes to 1 and then 3 to 2, and 2 and 3 are removed. What 3 held is in none, and
#   its interval belongs to no group. Joined from the right (2 and 3, then 1) nothing is lost, and the last model is the
#   isotonic regression.
#
# For a user: a nodule with a probability of 0.88 is reported with 0 %, where isotonic regression says 87 % (first sample of
# 200), and a threshold misses cancers that the network had found. Look at the calibrated values over a fine grid of
# probabilities, and take another method of netcal or isotonic regression of scikit-learn. No report of it found.
#
# DGFNET_FINDINGS_PYTHON may name a python that has netcal 1.4.0, scikit-learn 1.9.1 and numpy 2.4.6; otherwise they are
# installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check netcal==1.4.0 scikit-learn==1.9.1 numpy==2.4.6 torch==2.14.1
fi
"$python" -W ignore - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

import numpy as np
from netcal.binning import ENIR, NearIsotonicRegression
from sklearn.isotonic import IsotonicRegression

assert version("netcal") == "1.4.0"
MERGE = "_NearIsotonicRegression__merge_groups"
as_it_is = getattr(NearIsotonicRegression, MERGE)


def from_the_right(self, times, at):
    """Joins the groups that meet, as netcal does, but the last ones first."""
    joined = np.where(times == at)[0]
    for one in joined[::-1]:
        self._group_items[one] = np.concatenate((self._group_items[one], self._group_items[one + 1]))
        self._group_bounds[one, 1] = self._group_bounds[one + 1, 1]
    self._num_groups -= joined.size
    self._group_items = [items for one, items in enumerate(self._group_items) if one not in joined + 1]
    self._group_values = np.delete(self._group_values, joined + 1)
    self._group_bounds = np.delete(self._group_bounds, joined + 1, axis=0)


def calibrated(merge, probability, label, new, **options):
    setattr(NearIsotonicRegression, MERGE, merge)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return ENIR(**options).fit(probability, label).transform(new)


def isotonic(probability, label, new):
    return IsotonicRegression(out_of_bounds="clip").fit(probability, label).predict(new)


eight, labels = np.linspace(0.1, 0.8, 8), np.tile([0, 1], 4)
hand = [0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1]
small = [calibrated(merge, eight, labels, eight) for merge in (as_it_is, from_the_right)]
small.append(isotonic(eight, labels, eight))
for name, row in zip(("ENIR", "joined from the right", "isotonic", "by hand"), [*small, hand]):
    print(name, *map(float, row))
wrong = [not np.allclose(small[0], [0, 0.5, 0.5, 0, 0, 0, 0, 1]), not np.allclose(small[1:], hand)]

for count in (200, 500):
    rows = {}
    for seed in range(20):
        generator = np.random.default_rng(seed)
        true = generator.uniform(0, 1, count)
        drawn = (generator.random(count) < true).astype(int)
        new = generator.uniform(0, 1, 5000)
        results = {
            "ENIR()": calibrated(as_it_is, true, drawn, new),
            "quick_init=False": calibrated(as_it_is, true, drawn, new, quick_init=False),
            "from the right": calibrated(from_the_right, true, drawn, new),
            "from the right, quick_init=False": calibrated(from_the_right, true, drawn, new, quick_init=False),
            "isotonic": isotonic(true, drawn, new),
        }
        for name, result in results.items():
            rows.setdefault(name, []).append([np.sqrt(np.mean((result - new) ** 2)), np.mean(result == 0)])
    error = {name: np.array(row)[:, 0].mean() for name, row in rows.items()}
    for name, row in rows.items():
        worst, share = np.max(row, axis=0)[0], np.mean(row, axis=0)[1]
        print(f"{count} {name}: error {error[name]:.3f}, worst {worst:.3f}, share of 0 {share:.3f}")
    best = error["isotonic"]
    wrong.append(not (error["ENIR()"] > 1.5 * best and error["quick_init=False"] > 2.5 * best))
    wrong.append(not all(abs(error[name] - best) < 0.005 for name in error if name.startswith("from")))
sys.exit(any(wrong))
PYTHON
