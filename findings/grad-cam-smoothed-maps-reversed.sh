#!/usr/bin/env bash
# pytorch-grad-cam (grad-cam) 1.5.7: eigen_smooth=True turns the maps of four pictures in ten inside out, and gives both
# classes the same map. EigenGradCAM, which is to tell classes apart, does so too.
#
# Expected by most: smoothing takes noise away and leaves the map where it was, as aug_smooth=True does; and what speaks for one
#   class does not speak for the other.
# Behaviour (a bright square on noise; a network whose second class is how bright the picture is, and whose first class is the
# opposite; of 100 pictures, maps that are higher outside the square than in it, and pictures with one map for both classes):
#                                    reversed   same map for both classes
#   GradCAM                          0          0
#   GradCAM, aug_smooth              0          0
#   GradCAM, eigen_smooth            40         100
#   EigenGradCAM                     40         100
#   The map is the first principal component of the weighted activations, whose sign is whatever the decomposition gives. What
#   is below zero is cut off afterwards.
#
# For a user: a heat map that spares the nodule and lights up its surroundings looks like a network that has learnt the scanner,
# and another linear algebra library may turn others. A contrast between classes is none. Leave eigen_smooth off, or turn maps
# by the sign of their correlation with the unsmoothed one. Of EigenCAM it is known, of the others no report was found:
# github.com/jacobgil/pytorch-grad-cam/issues/315.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1, torchvision 0.29.1, scikit-learn 1.9.1 and OpenCV 5.0;
# otherwise they are installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check grad-cam==1.5.7 ttach==0.0.3 torch==2.14.1 torchvision==0.29.1 \
        scikit-learn==1.9.1 opencv-python-headless==5.0.0.93
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" grad-cam==1.5.7 ttach==0.0.3
    export PYTHONPATH=$folder/packages
fi
"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import torch
from pytorch_grad_cam import EigenGradCAM, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

PICTURES, HEIGHT, WIDTH = 100, 32, 48


class Brightness(torch.nn.Module):
    """Two classes: dark and bright."""

    def __init__(self):
        super().__init__()
        first, self.last = torch.nn.Conv2d(1, 4, 1, bias=False), torch.nn.Linear(4, 2, bias=False)
        first.weight.data = torch.tensor([1.0, 0.7, 0.5, 0.3]).reshape(4, 1, 1, 1)
        self.last.weight.data = torch.tensor([[-1.0] * 4, [1.0] * 4])
        self.maps = torch.nn.Sequential(first, torch.nn.ReLU())

    def forward(self, pictures):
        return self.last(self.maps(pictures).mean((2, 3)))


generator = np.random.default_rng(0)
network = Brightness().eval()
methods = {
    "GradCAM": (GradCAM, {}),
    "GradCAM, aug_smooth": (GradCAM, {"aug_smooth": True}),
    "GradCAM, eigen_smooth": (GradCAM, {"eigen_smooth": True}),
    "EigenGradCAM": (EigenGradCAM, {}),
}
found = {name: np.zeros(2, dtype=int) for name in methods}
for _ in range(PICTURES):
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    side, top, left = generator.integers(4, 12), *generator.integers(0, 20, size=2)
    inside[top : top + side, left : left + side] = True
    picture = torch.tensor(inside + 0.2 * generator.random(inside.shape), dtype=torch.float32)[None, None]
    for name, (method, settings) in methods.items():
        cam = method(model=network, target_layers=[network.maps])
        dark, bright = (cam(picture, [ClassifierOutputTarget(one)], **settings)[0] for one in (0, 1))
        found[name] += bright[inside].mean() < bright[~inside].mean(), np.allclose(dark, bright, atol=1e-3)
for name, (turned, same) in found.items():
    print(f"{name}: reversed {turned}, same map for both classes {same}")
sound = all(not found[name].any() for name in ("GradCAM", "GradCAM, aug_smooth"))
smoothed = [found[name] for name in list(methods)[2:]]
sys.exit(not (sound and all(0 < turned < PICTURES and same > PICTURES / 2 for turned, same in smoothed)))
PYTHON
