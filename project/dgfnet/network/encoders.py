"""ResNet encoders on grey images, with torchvision's names of parameters, a width and a one-channel stem.

A grey image shown to a three-channel stem is the same picture three times, which equals one channel seen
through the sum of the stem's weights over its input channels. So the stem has one channel, and a
three-channel checkpoint is summed when it is loaded: the same function at a third of the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dgfnet.network.pretrained import Match, match
from dgfnet.vocabulary import EncoderName

DEPTHS: dict[EncoderName, tuple[int, int, int, int]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
PLANES = (64, 128, 256, 512)
GREY_MEAN, GREY_STD = 0.449, 0.226  # mean over RGB of torchvision's ImageNet statistics


def channels(width: float) -> tuple[int, int, int, int, int]:
    """Returns the channels of the five feature maps, from half resolution to 1/32."""
    first, *rest = (max(8, round(planes * width)) for planes in PLANES)
    return (first, first, *rest)  # type: ignore[return-value]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them (He et al. 2016, arXiv 1512.03385, figure 2).

    Names and order of the parts, and so of the random draws, are those of torchvision's block, whose weights
    load unchanged. Importing torchvision for it would cost every process two seconds.
    """

    def __init__(
        self, inside: int, outside: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inside, S, S) to (B, outside, S / stride, S / stride)."""
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """ResNet18 or ResNet34 without its classifier (paper section 3).

    Maps (B, C, S, S), a grey image and perhaps a mask, to five feature maps at S/2, S/4, S/8, S/16, S/32; at
    width 1 the last has 512 channels.
    """

    def __init__(self, name: EncoderName, width: float, inputs: int = 1) -> None:
        super().__init__()
        stem, *planes = channels(width)
        self.conv1 = nn.Conv2d(inputs, stem, 7, stride=2, padding=3, bias=False)
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
        """Computes the feature maps from half resolution to 1/32."""
        maps = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
            maps.append(x)
        return maps

    def load_pretrained(self, content: Mapping[str, Any]) -> Match:
        """Loads a torchvision-style checkpoint and reports the match; see `network/pretrained.py`.

        A mask, which no checkpoint has seen, starts with weights of 0: the function is the checkpoint's.

        Raises:
            InputError: when it does not fit; nothing is changed then.
        """
        expected = "a torchvision ResNet of the same depth and network.width 1.0"
        own = self.state_dict()
        own["conv1.weight"] = own["conv1.weight"][:, :1]
        tensors, report = match(content, own, "conv1.weight", expected)
        mask = torch.zeros_like(self.conv1.weight[:, 1:])
        tensors["conv1.weight"] = torch.cat([tensors["conv1.weight"].to(mask), mask], dim=1)
        self.load_state_dict(tensors)
        return report


def _layer(inside: int, outside: int, depth: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inside != outside:
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
    blocks = [BasicBlock(inside, outside, stride, shortcut)]
    blocks += [BasicBlock(outside, outside) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def pooled(maps: list[Tensor]) -> Tensor:
    """Averages the last feature map over its pixels, (B, F)."""
    return torch.mean(maps[-1], dim=(2, 3))
