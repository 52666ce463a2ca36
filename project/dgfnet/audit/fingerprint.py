"""The fingerprint of a picture: its structure without brightness, and points that turn with it.

The field, without the frame that an export puts around it, is reduced to 96 x 96 and divided by the local
contrast, so that grey values, size, compression and unequal scaling hardly matter. SIFT points (Lowe 2004) in
it find copies that were turned, mirrored, inverted or cropped (`search.py`), and the structure decides
(`registration.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
ENLARGED = 2.5  # at most; a crop of 40 pixels has nothing to show beyond
POINTS, CELL = 64, 16  # points kept, spread over squares of so many pixels of the reduced field
SURROUNDINGS = 3.5  # sigma of the local contrast, pixels
FLAT = 0.004  # of the range of grey values: less contrast is none
THIN = 8  # writing around the field is thinner than this part of the picture,
NARROW = 0.5  # and narrower than this share of the field
GREY = 24  # side of the picture that tells whether grey values were changed


@dataclass(frozen=True)
class Field:
    """Place of the field in its picture and size of that, pixels; right and bottom are beyond the last."""

    left: int
    top: int
    right: int
    bottom: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The fingerprint of a picture: enough of it to find it again.

    Attributes:
        field: what was reduced to (h, w), at most SIDE x SIDE.
        structure: (h, w) uint8; deviation from the surroundings in units of the local contrast, 128 for none;
            0 where the picture is flat.
        grain: (h, w) int8; the same of the finest structure alone, speckle and noise.
        points: (n, 4) float32; x, y and size in pixels of the structure, direction in radians.
        descriptors: (n, 128) uint8; SIFT's, of the points.
        grey: (GREY, GREY) float32; the field as it is.
    """

    field: Field
    structure: NDArray[np.uint8]
    grain: NDArray[np.int8]
    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    grey: NDArray[np.float32]


def picture_fingerprint(pixels: NDArray[Any]) -> Fingerprint:
    """Returns the fingerprint of a picture (height, width), of grey or HU; a flat one has no points."""
    field = find_field(pixels)
    part = pixels[field.top : field.bottom, field.left : field.right].astype(np.float32)
    columns, rows = (max(8, round(min(SIDE, ENLARGED * side))) for side in part.shape[::-1])
    how = cv2.INTER_AREA if part.size >= rows * columns else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(part, (columns, rows), interpolation=how), dtype=np.float32)
    shown, grain = _structure(small)
    points, descriptors = _points(shown)
    grey = cv2.resize(small, (GREY, GREY), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Fingerprint(field, shown, grain, points, descriptors, grey)


def find_field(pixels: NDArray[Any]) -> Field:
    """Finds the part of a picture with dense structure: without black around it, writing and scales."""
    height, width = pixels.shape
    factor = min(1.0, SIDE / min(height, width))
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
    busy = (_gradient(small) > max(1.5 * FLAT * _range(small), 1e-6)).astype(np.uint8)
    side = max(3, min(small.shape) // THIN)
    whole = cv2.morphologyEx(busy, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    dense = cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    label, parts = cv2.connectedComponentsWithStats(dense)[1:3]
    if len(parts) < 2:
        return Field(0, 0, width, height, height, width)
    # two views side by side are one field; writing that touches it is narrow
    large = np.isin(label, 1 + np.flatnonzero(parts[1:, 4] >= 0.2 * parts[1:, 4].max()))
    spans = []
    for axis, size in ((1, height), (0, width)):
        filled = large.sum(axis=axis)
        inside = np.flatnonzero(filled >= NARROW * filled.max())
        first, last = int(inside[0]), int(inside[-1]) + 1
        # the gradient and the reduction make an edge two pixels wide
        start = round((first + 2) / factor) if first > 0 else 0
        stop = round((last - 2) / factor) if last < len(filled) else size
        spans.append((start, stop))
    (top, bottom), (left, right) = spans
    return Field(left, top, right, bottom, height, width)


def _structure(small: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Returns structure and grain of a reduced field."""
    deviation = small - cv2.GaussianBlur(small, (0, 0), SURROUNDINGS)
    contrast = cv2.sqrt(cv2.GaussianBlur(deviation * deviation, (0, 0), SURROUNDINGS))
    floor = max(FLAT * _range(small), 1e-6)
    flat = cv2.morphologyEx(
        (_gradient(small) <= floor).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)
    )
    shows = (contrast > floor) & (
        cv2.dilate(flat, np.ones((9, 9), np.uint8)) == 0
    )  # borders are no structure
    # what is weaker than half of the usual stays weak: noise in places without structure tells little
    usual = _quantiles(contrast[shows], 0.5)[0] if shows.any() else 1.0
    values = np.clip(deviation / (contrast + 0.5 * usual) * 60 + 128, 1, 255)
    fine = small - cv2.GaussianBlur(small, (0, 0), 1)
    strength = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2)) + 1e-3 * floor
    grain = np.clip(fine / strength * 40, -127, 127).astype(np.int8)
    return np.where(shows, values, 0).astype(np.uint8), grain


def _points(structure: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Returns the POINTS strongest points, from all over the structure, and their descriptors."""
    shown = np.where(structure == 0, 128, structure).astype(np.uint8)
    found, descriptors = _sift().detectAndCompute(shown, (structure > 0).astype(np.uint8))
    if not found:
        return np.zeros((0, 4), dtype=np.float32), np.zeros((0, 128), dtype=np.uint8)
    points = np.array([(*one.pt, one.size, np.deg2rad(one.angle), one.response) for one in found])
    kept = _spread(points[:, :2], points[:, 4] * points[:, 2])  # large ones outlive blur, noise, compression
    return points[kept, :4].astype(np.float32), descriptors[kept].astype(np.uint8)


def _spread(places: NDArray[np.float64], strength: NDArray[np.float64]) -> NDArray[np.intp]:
    """Returns POINTS points at most: the strongest of each square, then the second strongest, and so on."""
    square = (places // CELL).astype(int) @ (1, 1000)
    order = np.lexsort((-strength, square))
    new = np.r_[True, np.diff(square[order]) > 0]
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    return np.lexsort((-strength, rank))[:POINTS]


@cache
def _sift() -> cv2.SIFT:
    return cv2.SIFT.create(contrastThreshold=0.03, edgeThreshold=8)


def _gradient(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(
        cv2.morphologyEx(values, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), dtype=np.float32
    )


def _range(values: NDArray[np.float32]) -> float:
    low, high = _quantiles(values.ravel()[::3], 0.01, 0.99)
    return high - low


def _quantiles(values: NDArray[np.float32], *shares: float) -> list[float]:
    """Returns the values below which such shares are; faster than numpy's, which interpolates."""
    ordered = np.sort(values)
    return [float(ordered[int(share * (len(ordered) - 1))]) for share in shares]
