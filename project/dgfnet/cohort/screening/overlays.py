"""Drawings in an ultrasound picture: calipers, dotted lines, colour and burned-in text.

The paper excludes pictures with measurement lines (section 1); a network would read from them what the
sonographer thought. Drawings differ from echoes in being thin and even: a caliper correlates with a drawn
cross and all its four arms stand out alike, dots of a line come at one distance, letters of a word have one
height and one base line. Echoes are blurred by the beam and do neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.screening.crosses import find_crosses
from dgfnet.cohort.screening.strokes import find_marks

Kind = Literal["cross", "dotted line", "colour", "text", "mark"]
Box = tuple[int, int, int, int]
Grey = NDArray[np.uint8]

DOT = 50  # grey values by which a dot exceeds every short line through it
DOTS = 6  # of a line, at one distance between these, pixels
NEAR, FAR = 3.5, 12.0
AT_ONCE = 256  # dots whose neighbours are looked for together: of noise there are thousands
SATURATED, COLOURED = 60, 8  # range over the channels, and number of pixels that have it
STROKES = (70, 110)  # grey values by which a letter exceeds what is around its strokes
WHITE, FAINT = 240, 25  # or white letters on bright tissue: their value, and what they exceed it by
LOWEST, HIGHEST = 7, 28  # pixels of a capital letter
TALLER, LOWER = 1.5, 0.65  # of a letter over the first one of its word: capitals and small letters
LETTERS = 3  # of one height, or one more with small letters; lone ones mark the probe's side
SHORT_LINES = (
    *(np.eye(4, dtype=np.uint8), np.fliplr(np.eye(4, dtype=np.uint8))),
    *(np.ones((1, 4), dtype=np.uint8), np.ones((4, 1), dtype=np.uint8)),
)


@dataclass(frozen=True)
class Drawing:
    """Something drawn into a picture: what, and where (x, y, width, height in pixels)."""

    kind: Kind
    box: Box


def find(picture: Grey) -> tuple[Drawing, ...]:
    """Finds the drawings in an 8-bit picture, (height, width) grey or (height, width, 3) in colour."""
    grey = picture if picture.ndim == 2 else _extremes(picture)[1]
    strokes = _strokes(grey)
    drawings = [Drawing("text", box) for box in _words(strokes)]
    drawings += [Drawing("cross", box) for box in crosses(grey)]
    drawings += [Drawing("mark", box) for box in _marks(grey, strokes, drawings)]
    drawings += [Drawing("dotted line", box) for box in dotted_lines(grey)]
    if picture.ndim == 3:
        drawings += [Drawing("colour", box) for box in coloured(picture)]
    return tuple(drawings)


def crosses(grey: Grey) -> list[Box]:
    """Finds calipers: crosses of 7 to 26 pixels, upright, oblique or with an open middle."""
    return _apart(find_crosses(grey))


def dotted_lines(grey: Grey) -> list[Box]:
    """Finds rows of dots in any direction, from the first dot to the last."""
    through = reduce(cv2.max, [cv2.morphologyEx(grey, cv2.MORPH_OPEN, line) for line in SHORT_LINES])
    standing_out = _above(cv2.subtract(grey, through), DOT)
    if cv2.countNonZero(standing_out) < DOTS:
        return []
    dots = np.asarray(_components(standing_out)[1], dtype=np.float64)
    boxes = []
    for first, second in _beginnings(dots, grey.shape):
        row = _follow(dots, dots[first], dots[second] - dots[first])
        if len(row) >= DOTS:
            boxes.append(_around(np.array(row, dtype=np.int32)))
    return _apart(boxes)


def coloured(picture: Grey) -> list[Box]:
    """Returns the rectangle around everything in colour, or nothing below COLOURED pixels of it."""
    low, high = _extremes(picture)
    strong = high - low >= SATURATED
    if np.count_nonzero(strong) < COLOURED:
        return []
    return [_around(strong.astype(np.uint8))]


def words(grey: Grey) -> list[Box]:
    """Finds rows of letter-like strokes on a base line."""
    return _words(_strokes(grey))


def marks(grey: Grey) -> list[Box]:
    """Finds sharp and even strokes of any shape that are no words: further calipers, arrows, lone letters."""
    strokes = _strokes(grey)
    return _marks(grey, strokes, [Drawing("text", box) for box in _words(strokes)])


def _strokes(grey: Grey) -> list[Grey]:
    """Returns what exceeds its surroundings by either contrast of STROKES, and white strokes on tissue."""
    hat: Any = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((7, 7), dtype=np.uint8))
    strokes = [_above(hat, contrast) for contrast in STROKES]
    strokes.append(cv2.bitwise_and(_above(grey, WHITE - 1), _above(hat, FAINT)))
    return strokes


def _marks(grey: Grey, strokes: Sequence[Grey], known: Sequence[Drawing]) -> list[Box]:
    """Returns the marks among strokes that are neither known as words nor as crosses."""
    clear, _, white = strokes
    boxes = [drawing.box for drawing in known]
    either = np.asarray(cv2.bitwise_or(clear, white), dtype=np.uint8)
    return _apart(find_marks(grey, either, boxes))


def _words(strokes: Sequence[Grey]) -> list[Box]:
    """Returns rows of letter-like strokes on a base line."""
    boxes = []
    for letters in map(_letters, strokes):
        for index, first in enumerate(letters):
            word = _word(first, letters[index + 1 :]) if first[3] >= LOWEST else []
            if _is_word(word):
                corners = [(x + i * w, y + i * h) for x, y, w, h in word for i in (0, 1)]
                boxes.append(_around(np.array(corners)))
    return _apart(boxes)


def _above(grey: Any, value: int) -> Any:
    """Returns 1 where a picture exceeds a value, 0 elsewhere; uint8."""
    return cv2.threshold(grey, value, 1, cv2.THRESH_BINARY)[1]


def _components(drawn: Grey) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Returns x, y, width, height, area (n, 5) and centres (n, 2) of what touches by sides or corners."""
    # OpenCV's own choice among its algorithms takes four times as long to measure what it has labelled
    _, _, stats, centres = cv2.connectedComponentsWithStatsWithAlgorithm(drawn, 8, cv2.CV_32S, cv2.CCL_BBDT)
    return np.asarray(stats[1:], dtype=np.int32), np.asarray(centres[1:], dtype=np.float64)


def _letters(strokes: Grey) -> list[Box]:
    """Returns connected strokes with the proportions of letters, from left to right."""
    if cv2.countNonZero(strokes) < LETTERS * LOWER * LOWEST:  # a letter has a pixel in each of its rows
        return []
    stats, _ = _components(strokes)
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    high = (h >= LOWER * LOWEST) & (h <= HIGHEST)
    alike = high & (w <= 1.6 * h) & (area >= 0.8 * h) & (area <= 0.75 * w * h + 2 * h)
    return sorted((x, y, w, h) for x, y, w, h in stats[alike, :4].tolist())


def _extremes(picture: Grey) -> tuple[Grey, Grey]:
    """Returns the smallest and the largest channel of every pixel."""
    a, b, c = cv2.split(picture)
    low, high = cv2.min(cv2.min(a, b), c), cv2.max(cv2.max(a, b), c)
    return np.asarray(low, dtype=np.uint8), np.asarray(high, dtype=np.uint8)


def _beginnings(dots: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int64]:
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


def _word(first: Box, others: Sequence[Box]) -> list[Box]:
    """Returns the letters after a first on its base line, about as high, less than its height apart."""
    word = [first]
    _, y, _, height = first
    slack = max(1.0, 0.15 * height)
    for x, top, width, tall in others:
        gap = x - (word[-1][0] + word[-1][2])
        if gap > 0.9 * height:
            break
        if gap >= -1 and abs(top + tall - y - height) <= slack and LOWER * height <= tall <= TALLER * height:
            word.append((x, top, width, tall))
    return word


def _is_word(letters: Sequence[Box]) -> bool:
    heights = [height for _, _, _, height in letters]
    alike = sum(abs(height - heights[0]) <= max(1.0, 0.15 * heights[0]) for height in heights)
    return alike >= LETTERS or len(letters) > LETTERS


def _around(points: NDArray[Any]) -> Box:
    x, y, w, h = cv2.boundingRect(points)
    return int(x), int(y), int(w), int(h)


def _apart(boxes: Sequence[Box]) -> list[Box]:
    """Returns the boxes without those that overlap an earlier box."""
    kept: list[Box] = []
    for x, y, w, h in boxes:
        if all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in kept):
            kept.append((x, y, w, h))
    return kept
