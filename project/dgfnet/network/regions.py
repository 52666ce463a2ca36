"""Pooling of feature maps over the nodule, its rim, and what lies outside, by the nodule's mask.

A mean over the whole picture mixes a nodule with the tissue around it. Where signs are said of one or the
other (echogenicity inside, a margin, growth beyond it), the mean of each is kept apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgfnet.network.encoders import channels

REGIONS = 3  # nodule, rim, outside
LEVELS = 3  # the last maps of an encoder: an eighth, a sixteenth and a thirty-second of the side
RIM = 20  # the rim reaches this part of the picture's side to either side of the outline
ENOUGH = 1e-3  # cells; added to a region's area, so that an empty one gives 0


class RegionPooling(nn.Module):
    """Means of the last three maps over the regions, brought to as many values as the last has channels."""

    def __init__(self, width: float) -> None:
        super().__init__()
        widths = channels(width)
        self.reduce = nn.Linear(REGIONS * sum(widths[-LEVELS:]), widths[-1])

    def forward(self, maps: list[Tensor], mask: Tensor) -> Tensor:
        """Five maps and masks (B, S, S), 0 or 1, become values (B, F), at least 0 as pooled maps are."""
        parts = regions(mask)
        means = [region_means(feature_map, parts) for feature_map in maps[-LEVELS:]]
        return torch.relu(self.reduce(torch.cat(means, dim=1)))


def regions(mask: Tensor) -> Tensor:
    """Returns nodule, rim and outside, (B, 3, S, S), 0 or 1; the rim lies on both sides of the outline.

    A pixel belongs to the rim where the square around it, as far as it lies in the picture, holds pixels of
    the nodule and others. The share of the nodule in that square is a mean of means along rows and columns,
    which takes time that grows with the side of the square and not with its area, as its largest value would.
    """
    nodule = mask[:, None].float()
    reach = max(1, int(mask.shape[-1]) // RIM)  # a number: ONNX takes no window that is computed
    side = 2 * reach + 1
    rows = F.avg_pool2d(nodule, (side, 1), stride=1, padding=(reach, 0), count_include_pad=False)
    share = F.avg_pool2d(rows, (1, side), stride=1, padding=(0, reach), count_include_pad=False)
    one = 0.5 / side**2  # half a pixel: sums of floats are not exact
    rim = ((share > one) & (share < 1 - one)).float()
    return torch.cat([nodule, rim, 1 - nodule], dim=1)


def region_means(feature_map: Tensor, parts: Tensor) -> Tensor:
    """Returns the mean of each channel over each region, (B, 3 C): regions one after the other.

    A cell of the map counts for a region by the share of its pixels that lie in it.

    Args:
        feature_map: (B, C, h, h).
        parts: (B, 3, S, S), S a multiple of h.
    """
    share = F.avg_pool2d(parts, parts.shape[-1] // feature_map.shape[-1])  # (B, 3, h, h)
    sums = torch.einsum("bchw,brhw->brc", feature_map, share)
    return (sums / (share.sum(dim=(2, 3))[:, :, None] + ENOUGH)).flatten(1)
