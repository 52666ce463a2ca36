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
from numpy.typing import NDArray

Kind = Literal["cross", "dotted line", "colour", "text"]
Box = tuple[int, int, int, int]
Grey = NDArray[np.uint8]

ARMS = (3, 4, 6)  # pixels from the middle of a cross to its end
LARGE = 400  # pixels; of a picture with longer sides, half the size is searched too
ALIKE = 0.7  # correlation with a drawn cross; in 328 pictures of DDTI echoes reach 0.65, calipers 0.77
EVEN = 0.5  # faintest arm over strongest; the letter T, which lacks one, stays below 0.1
DOT = 50  # grey values by which a dot exceeds every short line through it
DOTS = 6  # of a line, at one distance between these, pixels
NEAR, FAR = 3.5, 12.0
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
    drawings = [Drawing("text", box) for box in words(grey)]
    drawings += [Drawing("cross", box) for box in crosses(grey)]
    drawings += [Drawing("dotted line", box) for box in dotted_lines(grey)]
    if picture.ndim == 3:
        drawings += [Drawing("colour", box) for box in coloured(picture)]
    return tuple(drawings)


def crosses(grey: Grey) -> list[Box]:
    """Finds crosses of 7 to 26 pixels, upright, oblique or with an open middle."""
    half = (
        cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        if min(grey.shape) > 400
        else None
    )
    boxes = _crosses(grey)
    if half is not None:
        boxes += [(2 * x, 2 * y, 2 * w, 2 * h) for x, y, w, h in _crosses(half)]
    return _apart(boxes)


def dotted_lines(grey: Grey) -> list[Box]:
    """Finds rows of dots in any direction, from the first dot to the last."""
    lines = [np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.uint8)[::-1]]
    lines += [np.ones((1, 4), dtype=np.uint8), np.ones((4, 1), dtype=np.uint8)]
    through = np.max([cv2.morphologyEx(grey, cv2.MORPH_OPEN, line) for line in lines], axis=0)
    _, _, _, centres = cv2.connectedComponentsWithStats((cv2.subtract(grey, through) > DOT).astype(np.uint8))
    dots = np.asarray(centres[1:], dtype=np.float64)
    boxes = []
    for start in range(len(dots)):
        steps = dots - dots[start]
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        for step in steps[(lengths >= NEAR) & (lengths <= FAR)]:
            row = _follow(dots, dots[start], step)
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
    hat = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((7, 7), dtype=np.uint8))
    strokes = [hat > contrast for contrast in STROKES] + [(grey >= WHITE) & (hat > FAINT)]
    boxes = []
    for letters in map(_letters, strokes):
        for index, first in enumerate(letters):
            word = _word(first, letters[index + 1 :]) if first[3] >= LOWEST else []
            if _is_word(word):
                corners = [(x + i * w, y + i * h) for x, y, w, h in word for i in (0, 1)]
                boxes.append(_around(np.array(corners)))
    return _apart(boxes)


def _letters(strokes: NDArray[np.bool_]) -> list[Box]:
    """Returns connected strokes with the proportions of letters, from left to right."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8), connectivity=8)
    return sorted(
        (int(x), int(y), int(w), int(h))
        for x, y, w, h, area in stats[1:]
        if LOWER * LOWEST <= h <= HIGHEST and w <= 1.6 * h and 0.8 * h <= area <= 0.75 * w * h + 2 * h
    )


def _crosses(grey: NDArray[Any]) -> list[Box]:
    picture = grey.astype(np.float32)
    spread: dict[int, NDArray[np.float32]] = {}
    boxes = []
    for template, arms in CROSSES:
        side, middle = template.shape[0], template.shape[0] // 2
        if min(picture.shape) < side:
            continue
        if side not in spread:  # of the pixels under a template, times their number; once per size
            spread[side] = _spread(picture, side)
        unit = (template - template.mean()) / np.linalg.norm(template - template.mean())
        for y, x in np.argwhere(cv2.matchTemplate(picture, unit, cv2.TM_CCORR) > ALIKE * spread[side]):
            window = picture[y : y + side, x : x + side]
            around = float(np.median(window[template == 0]))
            contrasts = [
                float(window[middle + rows, middle + columns].mean()) - around for rows, columns in arms
            ]
            if min(contrasts) >= EVEN * max(contrasts) and min(contrasts) > 0:
                boxes.append((int(x), int(y), side, side))
    return boxes


def _spread(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Returns the norm of every window (side, side) less its mean, at least 1: black is like nothing."""
    window, first = (side, side), (0, 0)
    total = cv2.boxFilter(picture, cv2.CV_32F, window, anchor=first, normalize=False)
    square = cv2.sqrBoxFilter(picture, cv2.CV_32F, window, anchor=first, normalize=False)
    rows, columns = picture.shape[0] - side + 1, picture.shape[1] - side + 1
    rest = (square - total * total / side**2)[:rows, :columns]
    return np.asarray(np.sqrt(np.maximum(rest, 1.0)), dtype=np.float32)


def _extremes(picture: Grey) -> tuple[Grey, Grey]:
    """Returns the smallest and the largest channel of every pixel."""
    a, b, c = cv2.split(picture)
    low, high = cv2.min(cv2.min(a, b), c), cv2.max(cv2.max(a, b), c)
    return np.asarray(low, dtype=np.uint8), np.asarray(high, dtype=np.uint8)


def _make_crosses() -> list[tuple[NDArray[np.float32], list[tuple[NDArray[np.int64], NDArray[np.int64]]]]]:
    """Makes crosses as they are drawn, a pixel thick with two around, with their arms from the middle."""
    templates = []
    for reach in ARMS:
        for oblique, inner in ((False, 1), (True, 1), (False, 2)):  # 2: the middle is open
            out = np.arange(inner, reach + 1)
            none = out if oblique else np.zeros_like(out)
            arms = [(out, none), (-out, -none), (none, -out), (-none, out)]
            template = np.zeros((2 * reach + 5,) * 2, dtype=np.float32)
            for rows, columns in arms:
                template[reach + 2 + rows, reach + 2 + columns] = 1
            template[reach + 2, reach + 2] = inner == 1
            templates.append((template, arms))
    return templates


CROSSES = _make_crosses()


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
