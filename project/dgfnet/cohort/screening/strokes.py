"""Marks of any shape: strokes whose edges are sharp and whose grey is even, as only something drawn has them.

The beam blurs every echo over two pixels and more, and speckle makes it uneven; a drawn stroke ends within a
pixel and has one grey. So do crosses of any kind, brackets, arrows and digits: no shape is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dgfnet.cohort.screening.shapes import Box, Grey

NARROW, SMALL, LARGE = 5, 9, 200  # pixels of the sides of a mark: its shorter one, and its longer one
FULL = 0.85  # share of its box that a mark fills; bright echoes are blobs
SHARP = 0.25  # of its contrast, what is left a pixel outside; of echoes about half
EVEN = 0.15  # middle half of its grey values over its contrast; of echoes about a third
CLEAR = 4.0  # contrast over the spread of what is around: noise of single pixels is sharp and even too
FIELD, BLACK = 16, 5  # pixels around a mark, of which a quarter is no brighter at the edge of the ultrasound
ONE, TWO = np.ones((3, 3), dtype=np.uint8), np.ones((5, 5), dtype=np.uint8)


def find_marks(grey: Grey, strokes: Grey, words: Sequence[Box]) -> list[Box]:
    """Returns the boxes of marks among strokes; those a pixel apart, such as dots of a cross, are one.

    The scanner's own scales and arrows stand at the edge of the ultrasound, where it turns black: not these.

    Args:
        grey: (height, width).
        strokes: (height, width), 1 where something thin is brighter than what is around it.
        words: boxes of words found; strokes in them are letters.
    """
    joined = cv2.dilate(strokes, ONE)
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(joined, 8, cv2.CV_32S, cv2.CCL_BBDT)
    x, y, w, h, area = np.asarray(stats, dtype=np.int64).T
    shorter, longer = np.minimum(w, h) - 2, np.maximum(w, h) - 2  # joining added a pixel on each side
    fit = (shorter >= NARROW) & (longer >= SMALL) & (longer <= LARGE) & (area <= FULL * w * h + 2 * longer)
    fit[0] = False  # what is no stroke
    for left, top, width, height in words:
        fit &= (x + w <= left) | (left + width <= x) | (y + h <= top) | (top + height <= y)
    found = []
    for index in np.flatnonzero(fit).tolist():
        box = (int(x[index]), int(y[index]), int(w[index]), int(h[index]))
        if _is_inside(grey, box) and _is_drawn(grey, strokes, labels, index, box):
            found.append(box)
    return found


def _is_inside(grey: Grey, box: Box) -> bool:
    """Says that what is around a stroke is ultrasound on all sides."""
    x, y, width, height = box
    around = grey[max(0, y - FIELD) : y + height + FIELD, max(0, x - FIELD) : x + width + FIELD]
    return bool(np.percentile(around, 25) > BLACK)


def _is_drawn(grey: Grey, strokes: Grey, labels: Any, index: int, box: Box) -> bool:
    """Says that a stroke is clear of its ground, has one grey and ends within a pixel."""
    x, y, width, height = box
    patch = np.s_[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2]
    free = strokes[patch] == 0
    own = ((labels[patch] == index) & ~free).astype(np.uint8)
    beside = cv2.dilate(own, ONE)
    around = cv2.dilate(beside, TWO)
    values = grey[patch]
    edge, ground = values[(beside > own) & free], values[(around > beside) & free]
    if not len(edge) or not len(ground):
        return False
    low, level, high = np.percentile(values[own > 0], (25, 50, 75))
    middle, spread = np.percentile(ground, (50, 84))
    contrast = level - middle
    return bool(
        contrast > CLEAR * max(spread - middle, 1.0)
        and high - low <= EVEN * contrast
        and np.median(edge) - middle <= SHARP * contrast
    )
