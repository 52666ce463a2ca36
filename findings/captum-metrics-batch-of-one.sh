#!/usr/bin/env bash
# captum 0.9.0: infidelity() and sensitivity_max() repeat the baselines only in batches of two or more. In a batch of one
# the perturbation function gets n_perturb_samples pictures and a single baseline.
#
# Expected by most: inputs and baselines come with the same shape, as they were given, whatever the size of the batch.
# Behaviour (20 samples; inputs of 4 values; a mask drawn in the shape of the baselines replaces inputs by baselines):
#   batch of 2: inputs (40, 4), baselines (40, 4)
#   batch of 1: inputs (20, 4), baselines (1, 4)
#   infidelity of one example, 1000 samples: alone 49.0 49.0 25.0 100.0 36.0, beside another 33.2 33.8 33.3 31.3 30.8
#     (f is the sum of 1, 3, 4 and 2, and the attributions are 0: the mean square of the sum of a random part of the
#     four is (10^2 + 30) / 4 = 32.5; five seeds)
#   sensitivity_max hands its explanation function inputs (10, 4) with baselines (1, 4).
#   The condition is baseline.shape[0] == input.shape[0] and baseline.shape[0] > 1 (metrics/_core/infidelity.py and
#   _expand_and_update_baselines in _utils/common.py). additional_forward_args are repeated in batches of one, too.
#
# For a user: all perturbations of an example are the same one, so n_perturb_samples is without effect, and the value of
# an example depends on whether it is scored alone; no warning. Code that works in a test with two examples fails or
# misleads with one. Draw in the shape of the inputs, and expand baselines to it (baseline.expand_as(input)).
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
from captum.metrics import infidelity, sensitivity_max

inputs = torch.tensor([[1.0, 3.0, 4.0, 2.0]] * 2)
baselines, attributions = torch.zeros(2, 4), torch.zeros(2, 4)
shapes = []


def replace(inputs, baselines):
    shapes.append((tuple(inputs.shape), tuple(baselines.shape)))
    mask = (torch.rand_like(baselines) < 0.5).float()
    return mask, torch.where(mask > 0, baselines, inputs)


def measure(count, samples, seed):
    torch.manual_seed(seed)
    return infidelity(
        lambda x: x.sum(dim=1),
        replace,
        inputs[:count],
        attributions[:count],
        baselines=baselines[:count],
        n_perturb_samples=samples,
    )


for count in (2, 1):
    measure(count, 20, 0)
    print(f"batch of {count}: inputs {shapes[-1][0]}, baselines {shapes[-1][1]}")
as_before = shapes == [((40, 4), (40, 4)), ((20, 4), (1, 4))]
single, pair = ([float(measure(count, 1000, seed)[0]) for seed in range(5)] for count in (1, 2))
print("infidelity of one example, 1000 samples: alone", *single, "beside another", *(f"{v:.1f}" for v in pair))
# one mask: the square of a sum of some of 1, 3, 4 and 2
as_before &= all(abs(value**0.5 - round(value**0.5)) < 1e-6 for value in single) and len(set(single)) > 1
as_before &= all(28 < value < 37 for value in pair)


def explain(inputs, baselines):
    shapes.append((tuple(inputs[0].shape), tuple(baselines[0].shape)))
    return tuple(image - start for image, start in zip(inputs, baselines, strict=True))


sensitivity_max(explain, (inputs[:1], inputs[:1]), baselines=(baselines[:1], baselines[:1]))
print("sensitivity_max, batch of 1: inputs, baselines", *shapes[-1])
sys.exit(not (as_before and shapes[-1] == ((10, 4), (1, 4))))
PYTHON
