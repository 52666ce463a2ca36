#!/usr/bin/env bash
# captum 0.9.0: a network in double precision gets attributions in single precision; from some methods they look double.
#
# Expected by most: float64 inputs and a float64 network give attributions exact to about 1e-16, as FeatureAblation does.
# Behaviour (a linear function of three float64 values; sum of the attributions minus f(x), where the sum is exact):
#   FeatureAblation          torch.float64   0.0e+00
#   IntegratedGradients      torch.float64   1.7e-09
#   ShapleyValues            torch.float32   2.2e-08
#   ShapleyValueSampling     torch.float32   1.5e-07
#   Occlusion                torch.float32   2.2e-08
#   The totals of ShapleyValues are made with dtype=torch.float whatever comes in, and the weights of the quadrature pass
#   through torch.tensor(step_sizes).float(). Of the Shapley values of a + b at a = 100000001 and b = 1 the first comes
#   back as 100000000.
#
# For a user: .double() does not help against a convergence delta that will not fall below 1e-8, and the sum of Shapley
# values differs from f(x) - f(baseline) by more than double precision explains. Compare with a tolerance of single
# precision, and keep log odds rather than large sums.
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
from captum.attr import FeatureAblation, IntegratedGradients, Occlusion, ShapleyValues, ShapleyValueSampling

weights = torch.tensor([0.1, 0.7, 1 / 3], dtype=torch.float64)
inputs = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)


def linear(x):
    return (x * weights).sum(dim=1)


torch.manual_seed(0)
errors, kinds = {}, {}
for method in (FeatureAblation, IntegratedGradients, ShapleyValues, ShapleyValueSampling, Occlusion):
    options = {"sliding_window_shapes": (1,)} if method is Occlusion else {}
    values = method(linear).attribute(inputs, **options)
    name = method.__name__
    errors[name], kinds[name] = abs(float(values.double().sum() - linear(inputs))), values.dtype
    print(f"{name:24s} {values.dtype}   {errors[name]:.1e}")
large = ShapleyValues(lambda x: x.sum(dim=1)).attribute(torch.tensor([[1e8 + 1, 1.0]], dtype=torch.float64))
print("Shapley values of 1e8 + 1 and 1:", *(f"{float(value):.0f}" for value in large[0]))
as_before = errors["FeatureAblation"] < 1e-15 and kinds["IntegratedGradients"] == torch.float64
as_before &= 1e-10 < errors["IntegratedGradients"] < 1e-7 and float(large[0, 0]) == 1e8
as_before &= all(kinds[name] == torch.float32 for name in ("ShapleyValues", "ShapleyValueSampling", "Occlusion"))
sys.exit(not as_before)
PYTHON
