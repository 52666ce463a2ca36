"""Decoders of the segmentation tasks: five upsample blocks with skip connections (paper section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgfnet.network.encoders import channels

PLANES = (256, 128, 64, 32, 16)


class UpBlock(nn.Module):
    """Bilinear upsampling by 2, the skip connection beside it, 3x3 convolution, batch norm, ReLU, dropout.

    Dropout drops whole channels (Dropout2d), as neighbouring pixels of a feature map carry the same
    information.
    """

    def __init__(self, inside: int, skip: int, outside: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside + skip, outside, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outside)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(B, inside, H, W) and a skip of (B, skip, 2H, 2W) become (B, outside, 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        x = self.dropout(F.relu(self.bn(self.conv(x))))
        return x


class Decoder(nn.Module):
    """Maps the encoder's five feature maps to one logit per pixel, (B, 1, S, S)."""

    def __init__(self, width: float, dropout: float) -> None:
        super().__init__()
        encoder = channels(width)
        skips = [*reversed(encoder[:-1]), 0]  # 1/16, 1/8, 1/4, 1/2 and none at full resolution
        inside = [encoder[-1], *(max(8, round(planes * width)) for planes in PLANES)]
        self.blocks = nn.ModuleList(
            UpBlock(inside[i], skips[i], inside[i + 1], dropout) for i in range(len(PLANES))
        )
        self.head = nn.Conv2d(inside[-1], 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits, (B, 1, S, S)."""
        x = maps[-1]
        for block, skip in zip(self.blocks, [*reversed(maps[:-1]), None], strict=True):
            x = block(x, skip)
        return self.head(x)  # type: ignore[no-any-return]
