"""The same picture twice: found by the fine structure that two pictures share.

Brightness, size and compression do not matter, nor whether one is mirrored, turned by quarters or inverted.

A perceptual hash whose bits are not rounded: speckle and noise of a picture, reduced to 96 x 96, without its
smooth anatomy and with its strong edges clipped, because anatomy and edges look alike in every patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
CLIP = 2.5  # robust standard deviations
CANDIDATE = 0.7  # of the threshold: prints of half the side that correlate less are no copies
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


@dataclass(frozen=True)
class Alike:
    """Two pictures that are one.

    Attributes:
        first: row of the one.
        second: row of the other.
        correlation: of their fine structure, 0..1.
        change: how the second was changed: `mirrored`, `rotated 90`, `inverted` ...; empty for none of these.
    """

    first: int
    second: int
    correlation: float
    change: str


def near_identical(prints: NDArray[np.float16], persons: Sequence[str], threshold: float) -> list[Alike]:
    """Returns the pairs of pictures of different persons that correlate above the threshold.

    Mirrored and turned copies count, and inverted ones. Pairs are sought on prints of half the side, in all
    eight orientations, and then decided on the whole ones.

    Args:
        prints: (n, SIDE * SIDE) of `picture_fingerprint`.
        persons: (n,) owners of the pictures; pairs of one person are not returned.
        threshold: 0..1.

    Returns:
        A pair each, the most alike first.
    """
    owner = np.unique(np.asarray(persons, dtype=str), return_inverse=True)[1]
    whole, halves = _orders(SIDE), _orders(SIDE // 2)
    best: dict[tuple[int, int], Alike] = {}
    for start in range(0, len(prints), ROWS):
        left = _half(prints[start : start + ROWS])
        for other in range(start, len(prints), ROWS):
            right = _half(prints[other : other + ROWS])
            same = owner[start : start + ROWS, None] == owner[None, other : other + ROWS]
            for change, order in halves.items():
                alike = np.abs(left @ right[:, order].T)
                alike[same] = 0
                for i, j in np.argwhere(alike > CANDIDATE * threshold):
                    a, b = start + int(i), other + int(j)
                    if a < b:
                        found = _compare(prints, a, b, change, whole[change])
                        if found.correlation > max(
                            threshold, best[a, b].correlation if (a, b) in best else 0
                        ):
                            best[a, b] = found
    return sorted(best.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _compare(prints: NDArray[np.float16], a: int, b: int, change: str, order: NDArray[np.intp]) -> Alike:
    """Correlates two whole prints, the second in another order of pixels."""
    value = float(prints[a].astype(np.float32) @ prints[b].astype(np.float32)[order])
    changes = [text for text in (change, "inverted" if value < 0 else "") if text]
    return Alike(a, b, min(1.0, abs(value)), ", ".join(changes))


def _half(prints: NDArray[np.float16]) -> NDArray[np.float32]:
    """Returns unit vectors of prints reduced to half their side, (n, SIDE / 2 * SIDE / 2)."""
    side = SIDE // 2
    small = prints.astype(np.float32).reshape(len(prints), side, 2, side, 2).mean(axis=(2, 4))
    small = small.reshape(len(prints), -1)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return np.asarray(np.divide(small, length, out=np.zeros_like(small), where=length > 0), dtype=np.float32)


def _orders(side: int) -> dict[str, NDArray[np.intp]]:
    """Returns the order of pixels of a square in each orientation: the changes that undo it."""
    index = np.arange(side * side).reshape(side, side)
    return {
        change: np.ascontiguousarray(turned).ravel()
        for change, turned in {
            "": index,
            "mirrored": index[:, ::-1],
            "upside down": index[::-1],
            "rotated 180": index[::-1, ::-1],
            "rotated 90": np.rot90(index),
            "rotated 270": np.rot90(index, 3),
            "mirrored, rotated 90": np.rot90(index[:, ::-1]),
            "mirrored, rotated 270": np.rot90(index[:, ::-1], 3),
        }.items()
    }
