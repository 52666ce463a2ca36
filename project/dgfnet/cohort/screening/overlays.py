"""Drawings in an ultrasound picture: calipers, dotted lines, colour and burned-in text.

The paper excludes pictures with measurement lines (section 1); a network would read from them what the
sonographer thought. Drawings differ from echoes in being thin and even: a caliper correlates with a drawn
cross and all its four arms stand out alike, dots of a line come at one distance, letters of a word have one
height and one base line. Echoes are blurred by the beam and do neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from dgfnet.cohort.screening.crosses import find_crosses
from dgfnet.cohort.screening.dots import find_dots, find_rings, find_rows
from dgfnet.cohort.screening.shapes import Box, Grey, above, apart, around, components
from dgfnet.cohort.screening.strokes import find_marks

Kind = Literal["cross", "dotted line", "colour", "text", "mark"]
SATURATED, COLOURED = 60, 8  # range over the channels, and number of pixels that have it
STROKES = (70, 110)  # grey values by which a letter exceeds what is around its strokes
WHITE, FAINT = 240, 25  # or white letters on bright tissue: their value, and what they exceed it by
LOWEST, HIGHEST = 7, 28  # pixels of a capital letter
TALLER, LOWER = 1.5, 0.65  # of a letter over the first one of its word: capitals and small letters
LETTERS = 3  # of one height, or one more with small letters; lone ones mark the probe's side


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
    return apart(find_crosses(grey))


def dotted_lines(grey: Grey) -> list[Box]:
    """Finds rows of dots, and dots around an ellipse."""
    found = find_dots(grey)
    return apart(find_rows(found, grey.shape) + find_rings(found, grey))


def coloured(picture: Grey) -> list[Box]:
    """Returns the rectangle around everything in colour, or nothing below COLOURED pixels of it."""
    low, high = _extremes(picture)
    strong = high - low >= SATURATED
    if np.count_nonzero(strong) < COLOURED:
        return []
    return [around(strong.astype(np.uint8))]


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
    strokes = [above(hat, contrast) for contrast in STROKES]
    strokes.append(cv2.bitwise_and(above(grey, WHITE - 1), above(hat, FAINT)))
    return strokes


def _marks(grey: Grey, strokes: Sequence[Grey], known: Sequence[Drawing]) -> list[Box]:
    """Returns the marks among strokes that are neither known as words nor as crosses."""
    clear, _, white = strokes
    boxes = [drawing.box for drawing in known]
    either = np.asarray(cv2.bitwise_or(clear, white), dtype=np.uint8)
    return apart(find_marks(grey, either, boxes))


def _words(strokes: Sequence[Grey]) -> list[Box]:
    """Returns rows of letter-like strokes on a base line."""
    boxes = []
    for letters in map(_letters, strokes):
        for index, first in enumerate(letters):
            word = _word(first, letters[index + 1 :]) if first[3] >= LOWEST else []
            if _is_word(word):
                corners = [(x + i * w, y + i * h) for x, y, w, h in word for i in (0, 1)]
                boxes.append(around(np.array(corners)))
    return apart(boxes)


def _letters(strokes: Grey) -> list[Box]:
    """Returns connected strokes with the proportions of letters, from left to right."""
    if cv2.countNonZero(strokes) < LETTERS * LOWER * LOWEST:  # a letter has a pixel in each of its rows
        return []
    stats, _ = components(strokes)
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    high = (h >= LOWER * LOWEST) & (h <= HIGHEST)
    alike = high & (w <= 1.6 * h) & (area >= 0.8 * h) & (area <= 0.75 * w * h + 2 * h)
    return sorted((x, y, w, h) for x, y, w, h in stats[alike, :4].tolist())


def _extremes(picture: Grey) -> tuple[Grey, Grey]:
    """Returns the smallest and the largest channel of every pixel."""
    a, b, c = cv2.split(picture)
    low, high = cv2.min(cv2.min(a, b), c), cv2.max(cv2.max(a, b), c)
    return np.asarray(low, dtype=np.uint8), np.asarray(high, dtype=np.uint8)


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
