"""Boxes, and connected pixels of a picture: small things that all looks at drawings share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # x, y, width, height, pixels
Grey = NDArray[np.uint8]


def above(grey: Any, value: int) -> Any:
    """Returns 1 where a picture exceeds a value, 0 elsewhere; uint8."""
    return cv2.threshold(grey, value, 1, cv2.THRESH_BINARY)[1]


def components(drawn: Grey) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Returns x, y, width, height, area (n, 5) and centres (n, 2) of what touches by sides or corners."""
    # OpenCV's own choice among its algorithms takes four times as long to measure what it has labelled
    _, _, stats, centres = cv2.connectedComponentsWithStatsWithAlgorithm(drawn, 8, cv2.CV_32S, cv2.CCL_BBDT)
    return np.asarray(stats[1:], dtype=np.int32), np.asarray(centres[1:], dtype=np.float64)


def around(points: NDArray[Any]) -> Box:
    """Returns the smallest box around points (n, 2), or around what is not 0 in a picture."""
    x, y, w, h = cv2.boundingRect(points)
    return int(x), int(y), int(w), int(h)


def apart(boxes: Sequence[Box]) -> list[Box]:
    """Returns the boxes without those that overlap an earlier box."""
    kept: list[Box] = []
    for x, y, w, h in boxes:
        if all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in kept):
            kept.append((x, y, w, h))
    return kept
