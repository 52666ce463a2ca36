"""Dots in rows and on ellipses, as calipers draw distances and areas.

A dot stands out from every short line through it. Dots of a line come at one distance, those of an ellipse
lie close to one, all around it; echoes do neither.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.screening.shapes import Box, Grey, above, apart, around, components

Dots = NDArray[np.float64]  # centres, (n, 2)

DOT = 50  # grey values by which a dot exceeds every short line through it
DOTS = 6  # of a line, at one distance between these, pixels
NEAR, FAR = 3.5, 12.0
AT_ONCE = 256  # dots whose neighbours are looked for together: of noise there are thousands
SHORT_LINES = (
    *(np.eye(4, dtype=np.uint8), np.fliplr(np.eye(4, dtype=np.uint8))),
    *(np.ones((1, 4), dtype=np.uint8), np.ones((4, 1), dtype=np.uint8)),
)
ROUND = 8  # dots of an ellipse
TOGETHER = 17  # pixels between neighbours there, at most
OFF = 1.2  # pixels that a dot is beside its ellipse: it is drawn on a whole one
SHORTEST, SLIMMEST = 8.0, 6.0  # shorter axis of an ellipse, pixels; and times that the longer may have of it
EVEN = 0.06  # standard deviation of their greys over the median: they are drawn with one, unlike bright spots
UNEVEN = 0.3  # standard deviation of the gaps between them over the median: they differ along an ellipse
ATTEMPTS = 4  # ellipses through what is left without the dots that are beside it


def find_dots(grey: Grey) -> Dots:
    """Returns the centres of the dots in a picture, (n, 2) x and y; none where there are fewer than DOTS."""
    through = reduce(cv2.max, [cv2.morphologyEx(grey, cv2.MORPH_OPEN, line) for line in SHORT_LINES])
    standing_out = above(cv2.subtract(grey, through), DOT)
    if cv2.countNonZero(standing_out) < DOTS:
        return np.empty((0, 2))
    return components(standing_out)[1]


def find_rows(found: Dots, shape: tuple[int, ...]) -> list[Box]:
    """Finds rows of dots in any direction, from the first dot to the last.

    Args:
        found: centres of dots, (n, 2).
        shape: of the picture.
    """
    if len(found) < DOTS:
        return []
    boxes = []
    for first, second in _beginnings(found, shape):
        row = _follow(found, found[first], found[second] - found[first])
        if len(row) >= DOTS:
            boxes.append(around(np.array(row, dtype=np.int32)))
    return apart(boxes)


def find_rings(found: Dots, grey: Grey) -> list[Box]:
    """Finds dots of one grey all around an ellipse.

    Args:
        found: centres of the dots in a picture, (n, 2).
        grey: the picture, (height, width).
    """
    if len(found) < ROUND:
        return []
    columns, lines = np.rint(found).astype(np.int64).T
    near: Any = np.zeros(grey.shape, dtype=np.uint8)
    near[lines, columns] = 1
    near = cv2.dilate(near, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (TOGETHER, TOGETHER)))
    groups = cv2.connectedComponents(near)[1][lines, columns]
    rounds = (_ring(found[groups == group]) for group in np.flatnonzero(np.bincount(groups) >= ROUND))
    brightest = cv2.dilate(grey, np.ones((3, 3), dtype=np.uint8))
    return apart(
        [around(ring.astype(np.int32)) for ring in rounds if ring is not None and _alike(brightest, ring)]
    )


def _alike(brightest: Any, ring: Dots) -> bool:
    """Says that dots have one grey, but for what JPEG makes of it."""
    columns, lines = np.rint(ring).astype(np.int64).T
    greys = brightest[lines, columns]
    return bool(greys.std() <= EVEN * np.median(greys))


def _ring(group: Dots) -> Dots | None:
    """Returns the dots of a group that lie on one ellipse, all around it; None when they do not."""
    for _ in range(ATTEMPTS):
        if len(group) < ROUND:
            return None
        centre, axes, degrees = cv2.fitEllipseDirect(group.astype(np.float32))
        if not (np.isfinite([*centre, *axes]).all() and SHORTEST <= min(axes) >= max(axes) / SLIMMEST):
            return None
        turn = np.deg2rad(degrees)
        across = (group - centre) @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shares = across / (np.array(axes) / 2)
        share = np.maximum(np.hypot(*shares.T), 1e-9)
        beside = np.abs(1 - 1 / share) * np.hypot(*across.T)  # along the line to the centre
        if (beside <= OFF).all():
            return group if _all_around(group[np.argsort(np.arctan2(*shares.T))]) else None
        group = group[beside <= max(OFF, 2 * float(np.median(beside)))]
    return None


def _all_around(ring: Dots) -> bool:
    """Says that the dots of an ellipse, in their order around it, come at about one distance."""
    gaps = np.hypot(*(np.roll(ring, -1, axis=0) - ring).T)
    return bool(np.median(gaps) >= NEAR and gaps.std() <= UNEVEN * np.median(gaps))


def _beginnings(dots: Dots, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Returns pairs of dots (n, 2) that may begin a row: close, and with a third about where it should be."""
    reach = int(FAR) + 2
    near: Any = np.zeros((shape[0] + 2 * reach, shape[1] + 2 * reach), dtype=np.uint8)
    columns, rows = np.rint(dots).astype(np.int64).T + reach
    near[rows, columns] = 1
    near = cv2.dilate(near, np.ones((5, 5), dtype=np.uint8))  # a pixel and a half and twice half a pixel
    pairs = []
    for start in range(0, len(dots), AT_ONCE):
        steps = dots[None] - dots[start : start + AT_ONCE, None]
        lengths = np.hypot(steps[..., 0], steps[..., 1])
        first, second = np.nonzero((lengths >= NEAR) & (lengths <= FAR))
        columns, rows = np.rint(dots[second] + steps[first, second]).astype(np.int64).T + reach
        following = near[rows, columns] > 0
        pairs.append(np.stack([first + start, second], axis=1)[following])
    return np.concatenate(pairs)


def _follow(
    dots: NDArray[np.float64], start: NDArray[np.float64], step: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Returns dots that follow at a step, each within a pixel and a half of where it should be."""
    row = [start]
    while True:
        away = np.hypot(*(dots - (row[-1] + step)).T)
        nearest = int(away.argmin())
        if away[nearest] > 1.5:
            return row
        row.append(dots[nearest])
