"""ResNet encoders on grey images: torchvision's blocks and names, with a width and a one-channel stem.

A grey image shown to a three-channel stem is the same picture three times, which equals one channel seen
through the sum of the stem's weights over its input channels. So the stem has one channel, and a
three-channel checkpoint is summed when it is loaded: the same function at a third of the work.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from dgfnet.errors import InputError
from dgfnet.settings import EncoderName

DEPTHS: dict[EncoderName, tuple[int, int, int, int]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
PLANES = (64, 128, 256, 512)
GREY_MEAN, GREY_STD = 0.449, 0.226  # mean over RGB of torchvision's ImageNet statistics


def channels(width: float) -> tuple[int, int, int, int, int]:
    """Channels of the five feature maps, from half resolution to 1/32."""
    first, *rest = (max(8, round(planes * width)) for planes in PLANES)
    return (first, first, *rest)  # type: ignore[return-value]


class Encoder(nn.Module):
    """ResNet18 or ResNet34 without its classifier (paper section 3).

    Maps (B, 1, S, S) to five feature maps at S/2, S/4, S/8, S/16, S/32; at width 1 the last has 512 channels.
    """

    def __init__(self, name: EncoderName, width: float) -> None:
        super().__init__()
        stem, *planes = channels(width)
        self.conv1 = nn.Conv2d(1, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inside = [stem, *planes]
        for index, depth in enumerate(DEPTHS[name]):
            stride = 1 if index == 0 else 2
            self.add_module(f"layer{index + 1}", _layer(inside[index], planes[index], depth, stride))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps from half resolution to 1/32."""
        maps = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
            maps.append(x)
        return maps

    def load_pretrained(self, weights: Mapping[str, Tensor]) -> None:
        """Loads a torchvision-style state dict; a classifier (`fc.*`) is dropped, an RGB stem is summed.

        Raises:
            InputError: when anything else is missing, unknown or of another shape.
        """
        wanted = self.state_dict()
        found = {key: value for key, value in weights.items() if not key.startswith("fc.")}
        if "conv1.weight" in found and found["conv1.weight"].shape[1] == 3:
            found["conv1.weight"] = found["conv1.weight"].sum(dim=1, keepdim=True)
        wrong = [key for key in wanted if key not in found or found[key].shape != wanted[key].shape]
        unknown = [key for key in found if key not in wanted]
        if wrong or unknown:
            raise InputError(
                f"pretrained encoder does not fit: {len(wrong)} tensors missing or of another shape "
                f"{wrong[:3]}, "
                f"{len(unknown)} unknown {unknown[:3]}; "
                f"expected a torchvision ResNet of the same depth and network.width 1.0"
            )
        self.load_state_dict(found)


def _layer(inside: int, outside: int, depth: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inside != outside:
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
    blocks = [BasicBlock(inside, outside, stride, shortcut)]
    blocks += [BasicBlock(outside, outside) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def pooled(maps: list[Tensor]) -> Tensor:
    """Global average pooling of the last feature map, (B, F)."""
    return torch.mean(maps[-1], dim=(2, 3))
