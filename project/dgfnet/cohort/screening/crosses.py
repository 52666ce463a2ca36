"""Calipers: drawn crosses, told from echoes by their correlation with a template and by four even arms.

A picture has 200,000 places for each of nine templates, and nearly none is alike. So a bound comes first that
costs a few additions per place and that no cross fails; only what passes it is looked at closely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.screening.shapes import Box, Grey

Numbers = NDArray[Any]
Indices = NDArray[np.int64]

ARMS = (3, 4, 6)  # pixels from the middle of a cross to its end
AROUND = 2  # pixels of background around a cross
UPRIGHT = ((1, 0), (-1, 0), (0, -1), (0, 1))  # rows and columns from one pixel of an arm to the next
OBLIQUE = ((1, 1), (-1, -1), (1, -1), (-1, 1))
SMALLER = (2, 4)  # a picture is also searched reduced by these
BAND = 1 << 20  # pixels searched at once, at 25 bytes each
ALIKE = 0.7  # correlation with a drawn cross; in 328 pictures of DDTI echoes reach 0.65, calipers 0.77
EVEN = 0.5  # faintest arm over strongest; the letter T, which lacks one, stays below 0.1


@dataclass(frozen=True, eq=False)
class Template:
    """A cross as it is drawn, a pixel thick, in the middle of a window.

    Attributes:
        background: (side, side), True where no cross is.
        arms: rows and columns of the pixels of each arm.
    """

    background: NDArray[np.bool_]
    arms: tuple[tuple[Indices, Indices], ...]


def find_crosses(grey: Grey) -> list[Box]:
    """Finds crosses, upright, oblique or with an open middle; boxes may overlap.

    They have 7 to 13 pixels and thin arms, and in the picture reduced to a half and a quarter up to 52 and
    arms of up to six.
    """
    boxes = _at_size(grey)
    for factor in SMALLER:
        if min(grey.shape) >= factor * _side(ARMS[0]):
            size = (grey.shape[1] // factor, grey.shape[0] // factor)
            small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            boxes += [(factor * x, factor * y, factor * w, factor * h) for x, y, w, h in _at_size(small)]
    return boxes


def _at_size(grey: Grey) -> list[Box]:
    """Searches a picture in bands of rows, which bound the memory; boxes in the order of the templates."""
    rows = max(_side(ARMS[-1]), BAND // grey.shape[1])
    found: list[list[Box]] = [[] for _ in ARMS for _ in TEMPLATES[ARMS[0]]]
    for top in range(0, grey.shape[0], rows):
        band = grey[top : top + rows + _side(ARMS[-1]) - 1]
        for boxes, more in zip(found, _in_band(band), strict=False):  # a low band has no large ones
            boxes += [(x, top + y, w, h) for x, y, w, h in more if y < rows]
    return [box for boxes in found for box in boxes]


def _in_band(grey: Grey) -> Iterator[list[Box]]:
    """Yields the boxes of each template that fits in."""
    height, width = grey.shape
    if min(height, width) < _side(ARMS[0]):
        return
    spread = _spread(grey, _side(ARMS[0]))
    squares = cv2.integral2(grey)[1]
    reached = ARMS[-1]
    padded = np.pad(grey.astype(np.int16), reached)
    upright = grey.astype(np.int16)  # sums of a cross around every pixel, which grows step by step
    oblique, middle = upright.copy(), upright
    for step in range(1, reached + 1):
        for total, directions in ((upright, UPRIGHT), (oblique, OBLIQUE)):
            for down, right in directions:
                y, x = reached + step * down, reached + step * right
                cv2.add(total, padded[y : y + height, x : x + width], dst=total)
        if step == 1:
            middle = upright.copy()
        if step in ARMS and min(height, width) >= _side(step):
            window = cv2.boxFilter(grey, cv2.CV_32F, (_side(step),) * 2, normalize=False)
            opened = cv2.subtract(upright, middle)
            for template, cross in zip(TEMPLATES[step], (upright, oblique, opened), strict=True):
                found = _alike(template, cross, window, spread, squares)
                yield [box for box in found if _even(grey, box, template)]


def _alike(
    template: Template, cross: Numbers, window: Numbers, spread: Numbers, squares: Numbers
) -> list[Box]:
    """Returns the windows that correlate with a template.

    A window of N pixels, n of them on the cross, does so by (C - S n / N) / (D sqrt(n - n n / N)): C is the
    sum on the cross, S that of the window, D the norm of the window less its mean. D grows with the window,
    so that of a smaller one bounds it.

    Args:
        template: the cross.
        cross: C of the windows around every pixel.
        window: S of these.
        spread: D of windows around every pixel that are no larger.
        squares: integral of the squared picture.
    """
    side = len(template.background)
    n = np.count_nonzero(~template.background)
    share, least = n / side**2, ALIKE * np.sqrt(n - n * n / side**2)
    inside = slice(side // 2, -(side // 2))  # where a window has all its pixels
    # less two grey values, for what the bound is computed from is rounded
    bound = cv2.addWeighted(window, share, spread, least, -2, dtype=cv2.CV_16S)
    above = np.flatnonzero(cross[inside, inside] > bound[inside, inside])
    y, x = np.divmod(above, window.shape[1] - side + 1)
    total = window[inside, inside][y, x].astype(np.float64)
    square = squares[y + side, x + side] - squares[y, x + side] - squares[y + side, x] + squares[y, x]
    norm = np.sqrt(np.maximum(square - total**2 / side**2, 1.0))  # black is like nothing
    alike = cross[inside, inside][y, x] - share * total > least * norm
    return [(int(a), int(b), side, side) for a, b in zip(x[alike], y[alike], strict=True)]


def _even(grey: Grey, box: Box, template: Template) -> bool:
    """Says that all four arms stand out alike from what is around the cross."""
    x, y, width, height = box
    window = grey[y : y + height, x : x + width]
    around = float(np.median(window[template.background]))
    contrasts = [float(window[arm].mean()) - around for arm in template.arms]
    return min(contrasts) >= EVEN * max(contrasts) and min(contrasts) > 0


def _spread(grey: Grey, side: int) -> Numbers:
    """Returns the norm of the window (side, side) around every pixel less its mean, at least 1."""
    window = cv2.boxFilter(grey, cv2.CV_32F, (side, side), normalize=False)
    square = cv2.sqrBoxFilter(grey, cv2.CV_32F, (side, side), normalize=False)
    rest = cv2.subtract(square, cv2.multiply(window, window, scale=1 / side**2))
    return cv2.sqrt(np.maximum(rest, np.float32(1)))


def _side(reach: int) -> int:
    """Returns the side of the window of a cross, pixels."""
    return 2 * (reach + AROUND) + 1


def _make_templates(reach: int) -> tuple[Template, ...]:
    """Makes an upright cross, an oblique one, and an upright one whose middle is open."""
    templates, middle = [], reach + AROUND
    for directions, first in ((UPRIGHT, 1), (OBLIQUE, 1), (UPRIGHT, 2)):
        out = np.arange(first, reach + 1)
        arms = tuple((middle + out * down, middle + out * right) for down, right in directions)
        background = np.ones((_side(reach),) * 2, dtype=bool)
        for arm in arms:
            background[arm] = False
        background[middle, middle] = first == 2
        templates.append(Template(background, arms))
    return tuple(templates)


TEMPLATES = {reach: _make_templates(reach) for reach in ARMS}
