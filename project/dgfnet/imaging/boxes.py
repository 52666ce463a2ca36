"""A nodule that somebody marked with a box or calipers instead of outlining it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError

FARTHEST = 1e6  # pixels; no picture is so large
SMALLEST = 3.0  # pixels of a side: below it there is nothing to see
STEEPEST = 0.5  # cosine of the angle between two caliper lines: 60 degrees apart at least
MOVED = 0.1  # share of the side by which edges are moved to see what depends on how a box was drawn
FORMS = {
    "box": "4 numbers: left, top, right, bottom, in pixels of the picture",
    "calipers": "4 numbers, the ends x1 y1 x2 y2 of a line in pixels of the picture, or 8 of two lines",
}
MARKS = ("mask", *FORMS)  # what may say where a nodule is
Places = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Box:
    """A rectangle around a nodule, in pixels of its picture.

    x counts from the left and y from the top edge, so that pixel (0, 0) reaches from 0 to 1.

    Attributes:
        left: x of its left edge.
        top: y of its upper edge.
        right: x of its right edge.
        bottom: y of its lower edge.
    """

    left: float
    top: float
    right: float
    bottom: float

    def filled(self, shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
        """Returns the rectangle as a mask, 1 in it and 0 elsewhere; edges go to the nearest between pixels.

        Args:
            shape: (height, width) of the picture.
            name: of the picture, for messages.

        Raises:
            InputError: when the box reaches a pixel or more out of the picture.
        """
        height, width = shape[:2]
        if min(self.left, self.top) <= -1 or self.right >= width + 1 or self.bottom >= height + 1:
            raise InputError(
                f"{name}: the box {self} reaches out of the picture of {width} x {height} pixels; expected "
                "pixels of this picture, from its upper left corner"
            )
        left, top, right, bottom = (round(edge) for edge in (self.left, self.top, self.right, self.bottom))
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[max(0, top) : bottom, max(0, left) : right] = 1
        return mask

    def moved(self, jitter: float, rng: np.random.Generator) -> Box:
        """Returns a box whose edges were moved, each uniformly by at most this share of the side."""
        across, down = jitter * (self.right - self.left), jitter * (self.bottom - self.top)
        left, right = rng.uniform(-across, across, 2)
        top, bottom = rng.uniform(-down, down, 2)
        return Box(self.left + left, self.top + top, self.right + right, self.bottom + bottom)

    def scaled(self, x: Places, y: Places) -> tuple[Places, Places]:
        """Returns places of the picture from the middle of the box, in halves of its width and height.

        The ellipse in the box is then the circle of radius 1.
        """
        across = (x - (self.left + self.right) / 2) / ((self.right - self.left) / 2)
        return across, (y - (self.top + self.bottom) / 2) / ((self.bottom - self.top) / 2)

    def clipped(self, shape: tuple[int, ...]) -> Box:
        """Returns the part of the box that lies in a picture (height, width)."""
        height, width = shape[:2]
        return Box(max(0.0, self.left), max(0.0, self.top), min(width, self.right), min(height, self.bottom))

    def __str__(self) -> str:
        """Returns its four edges."""
        return f"{self.left:g} {self.top:g} {self.right:g} {self.bottom:g}"


def bounding_box(mask: NDArray[np.uint8]) -> Box:
    """Returns the smallest box around a mask.

    Raises:
        InputError: when the mask is empty.
    """
    import cv2  # half a second, which stages that only know of boxes need not wait for

    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        raise InputError("the mask is empty; expected nonzero pixels on the nodule")
    return Box(left, top, left + width, top + height)


def read_mark(form: str, value: Any, name: str) -> Box:
    """Reads a `box`, or `calipers` as the box around what they measure (FORMS).

    Raises:
        InputError: naming the field, when it is none.
    """
    return read_box(value, name) if form == "box" else read_calipers(value, name)


def read_box(value: Any, name: str) -> Box:
    """Reads a box.

    Args:
        value: a list of four numbers, or a text of them with blanks or commas between.
        name: of the field, for messages.

    Raises:
        InputError: when it is no box, or too small to be a nodule's.
    """
    left, top, right, bottom = _numbers(value, (4,), name, "box")
    if right - left < SMALLEST or bottom - top < SMALLEST:
        raise InputError(
            f"{name}: {right - left:g} x {bottom - top:g} pixels; expected {FORMS['box']}, "
            f"{SMALLEST:g} pixels wide and high at least"
        )
    return Box(left, top, right, bottom)


def read_calipers(value: Any, name: str) -> Box:
    """Reads one or two caliper lines as the box around the ellipse that they measure.

    Two lines are conjugate diameters of that ellipse, its axes where they are perpendicular; its centre lies
    in the middle between theirs. One line is the diameter of a circle.

    Args:
        value: a list of four or eight numbers, or a text of them with blanks or commas between.
        name: of the field, for messages.

    Raises:
        InputError: when they are no such lines: too short, or two that are nearly parallel.
    """
    ends = np.reshape(_numbers(value, (4, 8), name, "calipers"), (-1, 2, 2))  # line, end, x and y
    halves, centre = (ends[:, 1] - ends[:, 0]) / 2, ends.mean(axis=(0, 1))
    lengths = 2 * np.hypot(*halves.T)
    if lengths.min() < SMALLEST:
        raise InputError(
            f"{name}: a line of {lengths.min():.3g} pixels; expected {FORMS['calipers']}, "
            f"{SMALLEST:g} pixels long at least"
        )
    if len(halves) == 1:
        reach = np.full(2, lengths[0] / 2)
    else:
        cosine = abs(float(halves[0] @ halves[1])) * 4 / float(lengths.prod())
        if cosine > STEEPEST:
            raise InputError(
                f"{name}: two lines {math.degrees(math.acos(min(1.0, cosine))):.0f} degrees apart; expected "
                "them across each other, as length and width of a nodule"
            )
        reach = np.hypot(*halves)
    low, high = centre - reach, centre + reach
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def ellipse(shape: tuple[int, ...], box: Box) -> NDArray[np.uint8]:
    """Returns the ellipse in a box as a mask, (height, width) of 0 and 1: pixels whose centre lies in it."""
    across, down = box.scaled(np.arange(shape[1])[None] + 0.5, np.arange(shape[0])[:, None] + 0.5)
    return (across**2 + down**2 <= 1).astype(np.uint8)


def _numbers(value: Any, counts: Sequence[int], name: str, form: str) -> list[float]:
    items = value.replace(",", " ").split() if isinstance(value, str) else value
    if isinstance(items, np.ndarray):
        items = items.tolist()
    try:
        if not isinstance(items, list | tuple) or any(isinstance(item, bool) for item in items):
            raise TypeError
        numbers = [float(item) for item in items]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    sound = all(abs(number) <= FARTHEST for number in numbers)  # NaN is not
    if len(numbers) not in counts or not sound:
        found = repr(value)[:60] if isinstance(value, str) else f"{type(value).__name__}"
        if numbers:
            found = f"{len(numbers)} numbers" if sound else "a number that no pixel has"
        raise InputError(f"{name}: found {found}; expected {FORMS[form]}")
    return numbers
