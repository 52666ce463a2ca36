#!/usr/bin/env bash
# captum 0.9.0: a missing value (NaN) in the inputs or in the baselines cannot be taken out or put in by the methods that
# perturb: ablation, occlusion, Shapley values and KernelShap give numbers, but wrong ones.
#
# Expected by most: a network that takes NaN for "not measured" (here it counts as -1) is asked with the value and without
#   it. f(x) = x1 + 2 x2 + 4 x3 is additive, so every method should give weight times difference.
# Behaviour (attributions of x1, x2, x3):
#                          3, missing, 5 from 0, 0, 0      3, 7, 5 from all missing
#   expected               3 -2 20                         4 16 24
#   FeatureAblation        3  0 20                         44 44 44
#   Occlusion              3  0 20                         44 44 44
#   ShapleyValues          2.333 -0.667 19.333             0 0 0
#   KernelShap             3  0 20                         0 0 0
#   Inputs and baselines are mixed by x * (1 - mask) + baseline * mask, and NaN times 0 is NaN: what is missing stays
#   missing, and one missing baseline takes away every other feature of its tensor (an infinite one does the same).
#
# For a user: that a laboratory value was not measured gets no weight at all, and "missing" as a baseline, which is the
# honest one for tabular data, gives one number for all features, or zeros. The sums are the only warning: ablation's
# are 132 where f changes by 44. Give the network a number and a second input that says "missing", and explain both.
# A change that selects instead of multiplying waits upstream: github.com/meta-pytorch/captum/pull/1921.
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
"$python" -W ignore - <<'PYTHON'
import sys

import torch
from captum.attr import FeatureAblation, KernelShap, Occlusion, ShapleyValues

WEIGHTS = torch.tensor([1.0, 2.0, 4.0])
MISSING = float("nan")


def network(values):
    return (torch.where(values.isnan(), -1.0, values) * WEIGHTS).sum(1)


cases = [
    (torch.tensor([[3.0, MISSING, 5.0]]), torch.zeros(1, 3)),
    (torch.tensor([[3.0, 7.0, 5.0]]), torch.full((1, 3), MISSING)),
]
methods = {
    FeatureAblation: {},
    Occlusion: {"sliding_window_shapes": (1,)},
    ShapleyValues: {},
    KernelShap: {"n_samples": 500},
}
found = {}
for method, options in methods.items():
    torch.manual_seed(0)
    found[method.__name__] = [
        [round(value, 3) + 0.0 for value in method(network).attribute(x, baselines=b, **options)[0].tolist()]
        for x, b in cases
    ]
    print(method.__name__, *found[method.__name__])
for x, b in cases:
    taken = [b.clone() for _ in range(3)]
    for i in range(3):
        taken[i][0, i] = x[0, i]
    print("by hand", [float(network(one) - network(b)) for one in taken])
ablated = [[3.0, 0.0, 20.0], [44.0] * 3]
expected = {
    "FeatureAblation": ablated,
    "Occlusion": ablated,
    "ShapleyValues": [[2.333, -0.667, 19.333], [0.0] * 3],
    "KernelShap": [[3.0, 0.0, 20.0], [0.0] * 3],
}
sys.exit(found != expected)
PYTHON
