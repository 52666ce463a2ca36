"""Overlap of predicted and true masks, image by image.

Per image, not pooled over pixels: a pooled score is the score of the largest nodules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dice(predicted: Mask, truth: Mask) -> NDArray[np.float64]:
    """Computes twice the common area over the sum of areas (Dice 1945, Ecology 26:297-302).

    Args:
        predicted: (..., H, W) boolean.
        truth: (..., H, W) boolean, the same shape.

    Returns:
        (...) 0..1, one per image; 1 where both masks are empty: nothing to segment and nothing segmented.

    Raises:
        ValueError: for masks that are not boolean, differ in shape, or have fewer than two dimensions.
    """
    common, predicted_area, true_area = _areas(predicted, truth)
    return _ratio(2.0 * common, predicted_area + true_area)


def iou(predicted: Mask, truth: Mask) -> NDArray[np.float64]:
    """Computes the common area over the area of the union (Jaccard 1912); dice = 2 iou / (1 + iou).

    Args:
        predicted: (..., H, W) boolean.
        truth: (..., H, W) boolean, the same shape.

    Returns:
        (...) 0..1, one per image; 1 where both masks are empty.

    Raises:
        ValueError: as for `dice`.
    """
    common, predicted_area, true_area = _areas(predicted, truth)
    return _ratio(common, predicted_area + true_area - common)


def _areas(predicted: Mask, truth: Mask) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Counts pixels in both, in the prediction and in the truth, each (...)."""
    if predicted.dtype != np.bool_ or truth.dtype != np.bool_:
        # uint8 masks with 255 would pass silently through & and sum
        raise ValueError(f"masks must be boolean, found {predicted.dtype} and {truth.dtype}")
    if predicted.shape != truth.shape or predicted.ndim < 2:
        raise ValueError(f"masks must share a shape (..., H, W): {predicted.shape}, {truth.shape}")
    plane = (-2, -1)
    return (predicted & truth).sum(axis=plane), predicted.sum(axis=plane), truth.sum(axis=plane)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Computes the share of the whole, 1 where the whole is empty."""
    whole = np.asarray(whole, dtype=np.float64)
    result: NDArray[np.float64] = np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
    return result
