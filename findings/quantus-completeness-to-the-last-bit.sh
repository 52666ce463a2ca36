#!/usr/bin/env bash
# quantus 0.6.0: Completeness calls attributions complete only if their sum equals the change of the prediction to the last bit;
# and with its default normalise=True it divides them by their maximum first, so that exact ones never are.
#
# Expected by most: the metric tells attributions that add up to f(x) - f(baseline) from those that do not, within a rounding.
# Behaviour (200 pictures of 8 x 8 pixels, f linear, attributions weight times difference; share called complete):
#                                              default   normalise=False
#   whole numbers, exact in float32            0.00      1.00
#   the same, half of the picture left out     0.00      0.00
#   random numbers, exact to 1e-5              0.00      0.28
#   The sum and the difference of two predictions are compared by ==.
#
# For a user: integrated gradients, DeepLIFT and Shapley values, which are complete by construction, come out as 0 in a benchmark,
# beside Grad-CAM, which is not; and with normalise=False the share is that of lucky roundings. Compare the sums yourself
# with a tolerance; captum's convergence delta is that difference. No report of it found.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1 and scikit-learn 1.9.1; otherwise they are installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check quantus==0.6.0 torch==2.14.1 torchvision==0.29.1
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" quantus==0.6.0 \
        scikit-image==0.26.0 lazy-loader==0.5 imageio==2.38.1 tifffile==2026.3.3
    export PYTHONPATH=$folder/packages
fi
"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import quantus
import torch


class Linear(torch.nn.Module):
    """Two classes, of which the second has the weighted sum of the pixels."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, pictures):
        total = (pictures * self.weights).sum((1, 2, 3))
        return torch.stack([-total, total], 1)


def complete(weights, pictures, attributions, **settings):
    metric = quantus.Completeness(perturb_baseline=0.0, disable_warnings=True, **settings)
    answers = metric(
        model=Linear(weights).eval(),
        x_batch=pictures,
        y_batch=np.ones(len(pictures), dtype=int),
        a_batch=attributions,
        device="cpu",
        softmax=False,
    )
    return float(np.mean(answers))


generator = np.random.default_rng(0)
whole = [generator.integers(1, 5, size).astype(np.float32) for size in ((1, 8, 8), (200, 1, 8, 8))]
random = [generator.normal(size=size).astype(np.float32) for size in ((1, 8, 8), (200, 1, 8, 8))]
left_out = whole[0] * whole[1]
left_out[:, :, 4:] = 0
cases = {
    "whole numbers": (*whole, whole[0] * whole[1]),
    "half left out": (*whole, left_out),
    "random numbers": (*random, random[0] * random[1]),
}
found = {}
for name, (weights, pictures, attributions) in cases.items():
    with torch.no_grad():
        change = Linear(weights)(torch.tensor(pictures))[:, 1].numpy()
    missed = np.abs(attributions.sum((1, 2, 3)) - change).max()
    found[name] = complete(weights, pictures, attributions), complete(weights, pictures, attributions, normalise=False)
    print(f"{name}: sums miss by {missed:.1e} at most; complete by default {found[name][0]}, unnormalised {found[name][1]}")
_, lucky = found["random numbers"]
as_before = found["whole numbers"] == (0, 1) and found["half left out"] == (0, 0) and found["random numbers"][0] == 0
sys.exit(not (as_before and lucky < 0.5))
PYTHON
