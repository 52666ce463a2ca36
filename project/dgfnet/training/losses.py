"""Losses (paper section 4): cross-entropy for the label; cross-entropy and IoU for every mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dgfnet.dataset.batch import Batch
from dgfnet.network.variants import Output

SMOOTH = 1.0  # pixels; an empty target predicted empty costs nothing


def iou_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Computes one minus the soft intersection over union, averaged over images.

    Args:
        logits: (..., H, W) log odds of each pixel.
        target: (..., H, W), 0 or 1.

    Returns:
        A scalar in 0..1: 0 for a certain and right mask, towards 1 for a disjoint one.
    """
    p = logits.sigmoid()
    both = (p * target).sum(dim=(-2, -1))
    either = p.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) - both
    return (1 - (both + SMOOTH) / (either + SMOOTH)).mean()


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Computes binary cross-entropy plus IoU loss, averaged over the masks; both (B, 2, S, S)."""
    logits = logits.float()  # sums over pixels need more than half precision
    target = target.float()
    return F.binary_cross_entropy_with_logits(logits, target) + iou_loss(logits, target)


def feature_loss(read: Tensor, target: Tensor) -> Tensor:
    """Computes the mean squared error over what is known, both (B, features); 0 where nothing is."""
    known = ~target.isnan()
    squares = torch.where(known, read.float() - target.nan_to_num(), 0.0).square()
    return squares.sum() / known.sum().clamp_min(1)


def losses(
    output: Output, batch: Batch, segmentation_weight: float, measured_weight: float, classify: bool
) -> dict[str, Tensor]:
    """Computes the terms of a step.

    Returns:
        `label` if the phase classifies, `masks_*` per modality segmented, and `features_*` per modality whose
        measured features are read.
    """
    terms = {
        f"masks_{modality}": segmentation_weight * segmentation_loss(logits, batch.targets[modality])
        for modality, logits in output.masks.items()
    }
    for modality, read in output.features.items():
        terms[f"features_{modality}"] = measured_weight * feature_loss(read, batch.features[modality])
    if classify:
        terms["label"] = F.binary_cross_entropy_with_logits(output.logit.float(), batch.label)
    return terms
