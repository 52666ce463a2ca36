#!/usr/bin/env bash
# torch 2.14.1 with safetensors 0.8.0: fused Adam goes on wrongly, without a word, from moments that went through safetensors while
# the parameters are channels_last.
#
# Expected by most: values decide. The state of an optimiser, saved as safetensors as it advises ("call `.contiguous()` to pack your
#   tensor before saving") and loaded with load_state_dict, goes on as the optimiser would have: as foreach and for-loop Adam do.
# Behaviour (largest difference of a weight after three more steps, learning rate 0.1):
#   for-loop  0
#   foreach   0
#   fused     0.359
#   moments copied into the memory order of their parameters, fused  0
#   (a fused step walks through the memory of weight, gradient and moments side by side and asks nobody for their strides;
#   load_state_dict moves device and type of the state, and leaves its memory order as it came.)
#
# For a user: training that is resumed from a file, or carries the optimiser on to another fit, takes wrong steps for all
# convolutions, and learns all the same. torch.save keeps strides and is not affected. After loading, copy every moment into
# torch.empty_like(parameter).
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1 and safetensors 0.8.0; otherwise they are installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check "torch==2.14.1" "safetensors==0.8.0" "numpy==2.4.6"
fi
"$python" - "$folder/moments.safetensors" <<'PYTHON'
import sys

import torch
from safetensors.torch import load_file, save_file

assert torch.__version__.startswith("2.14.1")
FORMAT = torch.channels_last


def start(**how):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 3, bias=False).to(memory_format=FORMAT)
    return layer.weight, torch.optim.Adam([layer.weight], lr=0.1, **how)


def steps(weight, optimiser, numbers):
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        weight.grad = torch.randn(weight.shape, generator=generator).contiguous(memory_format=FORMAT)
        optimiser.step()


def difference(ordered, **how):
    weight, optimiser = start(**how)
    steps(weight, optimiser, range(3))
    state = optimiser.state_dict()
    save_file({name: value.contiguous() for name, value in state["state"][0].items()}, sys.argv[1])
    other, resumed = start(**how)
    other.data.copy_(weight.data)
    loaded = load_file(sys.argv[1])
    if ordered:
        moments = {n: torch.empty_like(other.data).copy_(v) for n, v in loaded.items() if n != "step"}
        loaded = {"step": loaded["step"], **moments}
    resumed.load_state_dict({**state, "state": {0: loaded}})
    steps(weight, optimiser, range(3, 6))
    steps(other, resumed, range(3, 6))
    return float((weight - other).abs().max().detach())


plain, many = difference(False, foreach=False), difference(False, foreach=True)
fused, mended = difference(False, fused=True), difference(True, fused=True)
print(f"for-loop {plain:g}, foreach {many:g}, fused {fused:.3f}, in the order of their parameters {mended:g}")
sys.exit(not (plain == many == mended == 0 and fused > 0.1))
PYTHON
