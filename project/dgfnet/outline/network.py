"""The network that outlines a nodule in a box."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.outline.polar import RADII, REACH, STEPS

DILATIONS = (1, 2, 4, 8, 1)
STEEP = 8.0  # log odds per radius by which the ellipse in the box is the first guess
SHARP = 2.0  # factor on log odds before they are summed to a radius


class OutlineNet(nn.Module):
    """Convolutions over the rays and radii of `outline.polar`; rays go round, radii end.

    It says of each point whether it lies in the nodule, as a correction of the ellipse in the box. The
    outline crosses a ray at the sum of what lies inside.
    """

    radii: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = (3, *[width] * (len(DILATIONS) - 1))
        self.convs = nn.ModuleList(
            nn.Conv2d(planes, width, 3, dilation=reach, bias=False)
            for planes, reach in zip(inside, DILATIONS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in DILATIONS)
        self.head = nn.Conv2d(width, 1, 1)
        self.register_buffer("radii", torch.tensor(RADII, dtype=torch.float32), persistent=False)

    def forward(self, polar: Tensor) -> Tensor:
        """Returns the log odds of each point of being nodule, (B, RAYS, STEPS), from grey 0..255 of these."""
        grey = polar.float() / 255
        grey = (grey - grey.mean((1, 2), keepdim=True)) / (grey.std((1, 2), keepdim=True) + 0.05)
        radii = self.radii.expand_as(grey)
        x = torch.stack([grey, radii - 1, (radii < 1).float()], dim=1)
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            reach = DILATIONS[place]
            padded = F.pad(x, (0, 0, reach, reach), mode="circular")
            padded = F.pad(padded, (reach, reach, 0, 0), mode="replicate")
            made = F.relu(norm(conv(padded)))
            x = made if place == 0 else x + made
        return self.head(x)[:, 0] + STEEP * (1 - radii)  # type: ignore[no-any-return]


def save_outline(model: OutlineNet, path: Path) -> None:
    """Writes the weights as safetensors, atomically."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)


def restore_outline(path: Path) -> OutlineNet:
    """Loads a trained network, in evaluation mode.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        weights = load_file(path)
        model = OutlineNet(weights["head.weight"].shape[1])
        model.load_state_dict(weights)
    except Exception as error:  # safetensors has its own kinds
        raise InputError(f"{path}: cannot be read ({error}); run the stage outline again") from None
    return model.eval()


def radius_of(log_odds: Tensor) -> Tensor:
    """Returns where the outline crosses each ray, (B, RAYS): the length of the points inside."""
    return (SHARP * log_odds).sigmoid().sum(-1) * (REACH / STEPS)
