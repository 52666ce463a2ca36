"""Trains the network that outlines a nodule in a box, and measures it on held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dgfnet.adam import Adam
from dgfnet.imaging.boxes import Box, bounding_box, ellipse
from dgfnet.metrics.segmentation import dice
from dgfnet.outline.network import OutlineNet, radius_of
from dgfnet.outline.polar import RADII, REACH, STEPS, polar, within
from dgfnet.sections.networks import OutlineSettings

# (N, 2 or more, S, S): pictures, masks of their nodules; may be mapped from a file
Planes = NDArray[np.uint8]
Rows = NDArray[np.int64]
BATCH = 64  # pictures that are measured at once
RADIUS_WEIGHT, RADIUS_BETA = 2.0, 0.05  # of the loss of the radii; errors below beta count as squares


def train(planes: Planes, rows: Rows, settings: OutlineSettings, seed: int) -> OutlineNet:
    """Trains a network on pictures with drawn nodules; equal seeds give equal weights on one kind of CPU.

    Args:
        planes: pictures and masks; memory holds a batch of them.
        rows: of those to learn from, whose masks are not empty.
        settings: steps, batch and rate.
        seed: of weights, batches and boxes.
    """
    torch.set_num_threads(1)  # a sum of floats depends on how many threads share it
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = OutlineNet(settings.width)
    optimiser = Adam(model.parameters(), settings.learning_rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    weight = torch.tensor(RADII, dtype=torch.float32)  # of a point: its share of the area
    model.train()
    for _ in range(settings.steps):
        own = [planes[row] for row in rows[rng.integers(len(rows), size=settings.batch)]]
        boxes = [bounding_box(pair[1]).moved(settings.box_jitter, rng) for pair in own]
        pairs = list(zip(own, boxes, strict=True))
        grey = torch.from_numpy(np.stack([polar(pair[0], box) for pair, box in pairs]))
        target = (
            torch.from_numpy(np.stack([polar(pair[1] * np.uint8(255), box) for pair, box in pairs])) / 255
        )
        log_odds = model(grey)
        points = F.binary_cross_entropy_with_logits(log_odds, target, reduction="none") * weight
        radii = F.smooth_l1_loss(radius_of(log_odds), target.sum(-1) * (REACH / STEPS), beta=RADIUS_BETA)
        optimiser.zero_grad(set_to_none=True)
        (points.mean() + RADIUS_WEIGHT * radii).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rate.step()
    return model.eval()


@torch.inference_mode()
def outlined(model: OutlineNet, pictures: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """Returns the nodules in boxes of pictures (N, S, S), (N, S, S) of 0 and 1."""
    rays = np.stack([polar(picture, box) for picture, box in zip(pictures, boxes, strict=True)])
    radii = radius_of(model(torch.from_numpy(rays))).numpy()
    shape = pictures.shape[1:]
    return np.stack([within(radius, box, shape) for radius, box in zip(radii, boxes, strict=True)])


def quality(model: OutlineNet, planes: Planes, rows: Rows, jitter: float, seed: int) -> dict[str, float]:
    """Measures outlines of held-out pictures against their masks, by mean Dice.

    Returns:
        `dice` and `ellipse_dice` of the ellipse in the box, for boxes that just hold the nodule;
        `moved_dice` and `moved_ellipse_dice` for boxes whose edges were moved.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for part in np.array_split(rows, -(-len(rows) // BATCH)):
        pictures, truth = planes[part, 0], planes[part, 1] > 0
        tight = [bounding_box(mask.astype(np.uint8)) for mask in truth]
        moved = [box.moved(jitter, rng) for box in tight]
        for prefix, boxes in (("", tight), ("moved_", moved)):
            ellipses = np.stack([ellipse(truth.shape[1:], box) for box in boxes])
            for name, made in (("dice", outlined(model, pictures, boxes)), ("ellipse_dice", ellipses)):
                found.setdefault(prefix + name, []).append(dice(made > 0, truth))
    return {name: float(np.concatenate(parts).mean()) for name, parts in found.items()}
