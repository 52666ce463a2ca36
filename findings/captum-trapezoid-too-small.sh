#!/usr/bin/env bash
# captum 0.9.0: integrated gradients with method="riemann_trapezoid" are too small by the factor 1 - 1 / n_steps.
#
# Expected by most: the trapezoidal rule is exact for a constant integrand, so integrated gradients of a linear function
#   are weight times difference with any number of steps, as with the other rules of captum.
# Behaviour (f(x) = 3 x at x = 1 from 0, so the attribution is 3; it is the sum of the weights times 3):
#   n_steps    gausslegendre  riemann_left  riemann_middle  riemann_right  riemann_trapezoid
#         2         3.0000        3.0000        3.0000         3.0000          1.5000
#        10         3.0000        3.0000        3.0000         3.0000          2.7000
#        50         3.0000        3.0000        3.0000         3.0000          2.9400
#   n points from 0 to 1 bound n - 1 intervals, but every weight is made of 1 / n (captum/attr/_utils/
#   approximation_methods.py: [1 / n] * n with both ends halved).
#
# For a user: whoever takes the rule that the literature recommends over Riemann sums gets all attributions 2 % too small
# at the default of 50 steps, and an error that falls only like 1 / n, as that of riemann_left does. Conductance and
# internal influence take the same weights. return_convergence_delta shows it, nothing else does. Use
# gausslegendre (the default) or riemann_middle, or multiply by n_steps / (n_steps - 1).
#
# DGFNET_FINDINGS_PYTHON may name a python that has captum 0.9.0 and torch 2.14.1; otherwise they are installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check captum==0.9.0 torch==2.14.1 torchvision==0.29.1
fi
"$python" - <<'PYTHON'
import sys

import torch
from captum.attr import IntegratedGradients

RULES = ("gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid")
gradients = IntegratedGradients(lambda x: 3 * x[:, 0])
as_before = True
print("n_steps", *RULES)
for steps in (2, 10, 50):
    values = [float(gradients.attribute(torch.ones(1, 1), method=rule, n_steps=steps)) for rule in RULES]
    print(steps, *(f"{value:.4f}" for value in values))
    expected = [3.0] * 4 + [3 * (1 - 1 / steps)]
    as_before &= all(abs(value - wanted) < 1e-5 for value, wanted in zip(values, expected, strict=True))
sys.exit(not as_before)
PYTHON
