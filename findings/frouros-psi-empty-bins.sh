#!/usr/bin/env bash
# frouros 0.9.0: the population stability index counts an empty bin as a share of 2e-308, so that one case in the outermost bin
# weighs more than any drift: two samples of one long-tailed distribution have a PSI of 2.8; 0.25 is called a large change.
#
# Expected by most: about 2 * (bins - 1) / n, so 0.04 for two samples of 500 cases and 10 bins; packages put 0.0001 or half a
#   case into an empty bin, or take the reference's deciles for edges.
# Behaviour (100 pairs of samples of 500 cases, 10 bins; median PSI, and share of pairs above 0.25):
#                                            PSI            half a case in empty bins
#   both from N(0, 1)                         0.05    35 %   0.03    0 %
#   both exponential                          2.82    81 %   0.03    0 %
#   N(0, 1) against N(1, 1)                  16.33   100 %   0.96  100 %
#   The edges divide the range of both samples together into equal widths, so the outermost case makes a bin of its own, and
#   one case of 500 against none gives 0.002 * ln(0.002 / 2.2e-308) = 1.4. The documentation's example has a PSI of 135.
#
# For a user: a monitor with limits of 0.1 and 0.25 alarms at a third of its looks where nothing has changed, and at four of five
# for what has a long tail: sizes of nodules, laboratory values. The number tells how many bins are empty, hardly how far the
# cohort moved. Compute it on deciles of the reference, or take one of frouros' tests (KSTest). No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check frouros==0.9.0 numpy==2.1.3 scipy==1.14.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from frouros.detectors.data_drift import PSI

CASES, BINS, PAIRS = 500, 10, 100


def psi(reference, current):
    detector = PSI(num_bins=BINS)
    detector.fit(X=reference)
    return float(detector.compare(X=current)[0].distance)


def half_a_case(reference, current):
    """The same bins, with half a case in each that is empty."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins=BINS)
    counts = [np.histogram(sample, bins=edges)[0] for sample in (reference, current)]
    before, now = (np.where(count == 0, 0.5, count) / CASES for count in counts)
    return float(((now - before) * np.log(now / before)).sum())


generator = np.random.default_rng(0)
draws = {
    "both normal": (generator.standard_normal, 0),
    "both exponential": (generator.standard_exponential, 0),
    "one SD higher": (generator.standard_normal, 1),
}
found = {}
for name, (draw, shift) in draws.items():
    pairs = [(draw(CASES), draw(CASES) + shift) for _ in range(PAIRS)]
    for rule in (psi, half_a_case):
        values = np.array([rule(*pair) for pair in pairs])
        found[name, rule] = np.median(values), np.mean(values > 0.25)
        print(f"{name}, {rule.__name__}: median {found[name, rule][0]:.2f}, above 0.25: {found[name, rule][1]:.0%}")
(_, normal), (long_tailed, exponential) = found["both normal", psi], found["both exponential", psi]
small = [found[name, half_a_case] for name in ("both normal", "both exponential")]
alarms = normal > 0.2 and long_tailed > 1 and exponential > 0.5
sys.exit(not (alarms and all(median < 0.05 and share == 0 for median, share in small)))
PYTHON
