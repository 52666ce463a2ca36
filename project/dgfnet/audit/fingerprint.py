"""The same picture twice: detected by correlating fine structure, whatever brightness, size or compression.

A perceptual hash whose bits are not rounded: speckle and noise of a picture, reduced to 96 x 96, without its
smooth anatomy and with its strong edges clipped, because anatomy and edges look alike in every patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
CLIP = 2.5  # robust standard deviations
ROWS = 2048  # compared at a time, so that 20,000 pictures need no table of 400 million numbers

Fingerprint = NDArray[np.float16]


def picture_fingerprint(pixels: NDArray[Any]) -> Fingerprint:
    """Returns the unit vector (SIDE * SIDE,) of a picture (height, width); zero for one without structure."""
    small = cv2.resize(pixels.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), 1)
    scale = 1.4826 * float(np.median(np.abs(fine))) or float(fine.std())  # a drawing is mostly flat
    fine = np.clip(fine, -CLIP * scale, CLIP * scale)
    fine -= fine.mean()
    length = float(np.linalg.norm(fine))
    unit = fine / length if length > 1e-6 else np.zeros_like(fine)
    return np.asarray(unit.ravel(), dtype=np.float16)


def near_identical(
    prints: NDArray[np.float16], persons: Sequence[str], threshold: float
) -> list[tuple[int, int, float]]:
    """Returns the pairs of pictures of different persons that correlate above the threshold.

    Args:
        prints: (n, SIDE * SIDE) of `picture_fingerprint`.
        persons: (n,) owners of the pictures; pairs of one person are not returned.
        threshold: 0..1.

    Returns:
        (first row, second row, correlation), the most alike first.
    """
    owner = np.unique(np.asarray(persons, dtype=str), return_inverse=True)[1]
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(prints), ROWS):
        left = prints[start : start + ROWS].astype(np.float32)
        for other in range(start, len(prints), ROWS):
            alike = left @ prints[other : other + ROWS].astype(np.float32).T
            alike[owner[start : start + ROWS, None] == owner[None, other : other + ROWS]] = -1
            for i, j in np.argwhere(alike > threshold):
                if start + i < other + j:
                    pairs.append((start + int(i), other + int(j), min(1.0, float(alike[i, j]))))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))
