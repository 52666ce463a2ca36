"""Marks that scanners and readers draw into ultrasound pictures, drawn here into clean ones.

`draw` puts one mark of a kind into a picture: two ends of a measurement with what stands at them, or words.
Every kind is drawn in two ways: `tuned` has sizes, greys, colours and fonts that thresholds may be set on,
`held_out` has others in between and beyond. HELD_OUT_KINDS are drawn held out only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

Part = Literal["tuned", "held_out"]
Rng = np.random.Generator
Point = tuple[int, int]

# of half an arm, pixels; grey values; and colours as OpenCV stores them, blue first
REACH = {"tuned": (3, 4, 6, 8, 11), "held_out": (5, 7, 9, 10, 13)}
GREYS = {"tuned": (255, 200), "held_out": (230, 180)}
COLOURS = {
    "tuned": ((0, 255, 255), (0, 255, 0), (255, 255, 0)),  # yellow, green, cyan
    "held_out": ((0, 140, 255), (60, 60, 255), (255, 120, 120)),  # orange, red, blue
}
FONTS = {
    "tuned": (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN),
    "held_out": (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL),
}
WORDS = {"tuned": ("TIRADS 4", "Nodule 1", "LT LOBE"), "held_out": ("BETHESDA V", "susp. node", "RIGHT MID")}
SIZES = {"tuned": "1 D 14.2mm", "held_out": "+ Dist 1.07 cm"}


def ends(picture: np.ndarray, rng: Rng) -> tuple[Point, Point]:
    """Two places in the middle of a picture, 40 to 160 pixels apart, as calipers of a nodule are."""
    height, width = picture.shape[:2]
    while True:
        x, y = (int(rng.uniform(0.25, 0.75) * side) for side in (width, height))
        length, angle = rng.uniform(40, 160), rng.uniform(0, np.pi)
        u, v = int(x + length * np.cos(angle)), int(y + length * np.sin(angle))
        if 20 <= u < width - 20 and 20 <= v < height - 20:
            return (x, y), (u, v)


def arms(
    picture: np.ndarray, at: Point, reach: int, colour: object, oblique: bool, thick: int = 1, gap: int = 0
) -> None:
    """A cross of four arms from `gap` to `reach` pixels."""
    x, y = at
    for down, right in (
        ((1, 1), (-1, -1), (1, -1), (-1, 1)) if oblique else ((0, 1), (0, -1), (1, 0), (-1, 0))
    ):
        start, end = (x + gap * right, y + gap * down), (x + reach * right, y + reach * down)
        cv2.line(picture, start, end, colour, thick)


def crosses(
    oblique: bool, thick: Callable[[Rng], int] | None = None, gap: bool = False, extra: str = ""
) -> Callable[[np.ndarray, Rng, Part], None]:
    """Returns what draws two crosses: `extra` is a halo, dots, a digit or a line between them."""

    def paint(picture: np.ndarray, rng: Rng, part: Part) -> None:
        width = thick(rng) if thick else 1
        reach = max(int(rng.choice(REACH[part])), 2 * width + 1)
        grey = colour_of(picture, rng, part) if extra == "colour" else int(rng.choice(GREYS[part]))
        first, second = ends(picture, rng)
        if extra == "line":
            cv2.line(picture, first, second, grey, 1)
        for number, at in enumerate((first, second), start=1):
            if extra == "halo":
                arms(picture, at, reach + 1, 0, oblique, width + 2)
            if extra == "dots":
                dotted_cross(picture, at, max(reach, 6), grey, oblique)
                continue
            arms(picture, at, reach, grey, oblique, width, 1 + reach // 3 if gap else 0)
            if extra == "digit":
                place = (at[0] + reach + 2, at[1] + reach)
                cv2.putText(picture, str(number), place, FONTS[part][0], 0.4, grey, 1, cv2.LINE_AA)

    return paint


def dotted_cross(picture: np.ndarray, at: Point, reach: int, grey: int, oblique: bool) -> None:
    """A cross of single pixels, every second one."""
    for step in range(-reach, reach + 1, 2):
        for down, right in ((1, 1), (1, -1)) if oblique else ((0, 1), (1, 0)):
            picture[at[1] + step * down, at[0] + step * right] = grey


def colour_of(picture: np.ndarray, rng: Rng, part: Part) -> object:
    """A colour, of a picture in grey its brightness."""
    colour = COLOURS[part][int(rng.integers(len(COLOURS[part])))]
    return colour if picture.ndim == 3 else int(max(colour))


def along(picture: np.ndarray, rng: Rng, part: Part, kind: str) -> None:
    """A line of dots, of dashes, or without a break; or an ellipse of dots."""
    (x, y), (u, v) = ends(picture, rng)
    grey, length = int(rng.choice(GREYS[part])), float(np.hypot(u - x, v - y))
    if kind == "line":
        cv2.line(picture, (x, y), (u, v), grey, 1)
        return
    step = float(rng.choice((4, 6, 8) if part == "tuned" else (5, 7, 10)))
    size = int(rng.integers(1, 3))
    for place in np.arange(0, length, step) / length:
        a, b = x + place * (u - x), y + place * (v - y)
        if kind == "ellipse":
            turn = 2 * np.pi * place
            a, b = (x + u) / 2 + length / 4 * np.cos(turn), (y + v) / 2 + length / 6 * np.sin(turn)
        if kind == "dashes":
            half = step / (3 * length)
            tip = (round(a + half * (u - x)), round(b + half * (v - y)))
            cv2.line(picture, (round(a), round(b)), tip, grey, 1)
        else:
            a, b = round(a), round(b)
            picture[max(b, 0) : b + size, max(a, 0) : a + size] = grey


def brackets(picture: np.ndarray, rng: Rng, part: Part) -> None:
    """Square brackets that open towards each other."""
    reach, grey = int(rng.choice(REACH[part])) + 2, int(rng.choice(GREYS[part]))
    for (x, y), sign in zip(ends(picture, rng), (1, -1), strict=True):
        points = [
            (x + sign * reach // 2, y - reach),
            (x, y - reach),
            (x, y + reach),
            (x + sign * reach // 2, y + reach),
        ]
        cv2.polylines(picture, [np.array(points, dtype=np.int32)], False, grey, 1)


def arrow(picture: np.ndarray, rng: Rng, part: Part) -> None:
    """An arrow of 20 to 40 pixels with a filled head."""
    (x, y), (u, v) = ends(picture, rng)
    grey, length = int(rng.choice(GREYS[part])), rng.uniform(20, 40)
    along = np.array([u - x, v - y]) / np.hypot(u - x, v - y)
    tip, across = np.array([x, y], dtype=float), np.array([-along[1], along[0]])
    cv2.line(picture, (x, y), tuple(int(value) for value in tip + length * along), grey, 2)
    head = np.array([tip, tip + 9 * along + 5 * across, tip + 9 * along - 5 * across])
    cv2.fillPoly(picture, [np.rint(head).astype(np.int32)], grey)


def star(picture: np.ndarray, rng: Rng, part: Part) -> None:
    """Two asterisks: an upright cross and an oblique one."""
    reach, grey = int(rng.choice(REACH[part])), int(rng.choice(GREYS[part]))
    for at in ends(picture, rng):
        arms(picture, at, reach, grey, False)
        arms(picture, at, max(2, round(0.7 * reach)), grey, True)


def words(picture: np.ndarray, rng: Rng, part: Part, kind: str) -> None:
    """A word, thin, bold or in colour, or a box with a distance in it."""
    font, scale = FONTS[part][int(rng.integers(2))], float(rng.uniform(0.45, 0.9))
    text = SIZES[part] if kind == "box" else str(rng.choice(WORDS[part]))
    grey = colour_of(picture, rng, part) if kind == "colour" else int(rng.choice(GREYS[part]))
    thick = 2 if kind == "bold" else 1
    (width, height), below = cv2.getTextSize(text, font, scale, thick)
    x = int(rng.integers(4, max(5, picture.shape[1] - width - 4)))
    y = int(rng.integers(height + 6, picture.shape[0] - below - 6))
    if kind == "box":
        cv2.rectangle(picture, (x - 4, y - height - 4), (x + width + 4, y + below + 4), 0, -1)
        cv2.rectangle(picture, (x - 4, y - height - 4), (x + width + 4, y + below + 4), 128, 1)
    cv2.putText(picture, text, (x, y), font, scale, grey, thick, cv2.LINE_AA)


def thick(rng: Rng) -> int:
    """Width of thick arms, pixels."""
    return int(rng.integers(2, 5))


KINDS: dict[str, Callable[[np.ndarray, Rng, Part], None]] = {
    "+": crosses(False),
    "x": crosses(True),
    "+ thick": crosses(False, thick),
    "x thick": crosses(True, thick),
    "+ open middle": crosses(False, gap=True),
    "+ black rim": crosses(False, extra="halo"),
    "x with digit": crosses(True, extra="digit"),
    "+ with digit": crosses(False, extra="digit"),
    "+ in colour": crosses(False, extra="colour"),
    "+ and line": crosses(False, extra="line"),
    "+ of dots": crosses(False, extra="dots"),
    "dotted line": lambda picture, rng, part: along(picture, rng, part, "dots"),
    "dotted ellipse": lambda picture, rng, part: along(picture, rng, part, "ellipse"),
    "dashed line": lambda picture, rng, part: along(picture, rng, part, "dashes"),
    "line": lambda picture, rng, part: along(picture, rng, part, "line"),
    "asterisk": star,
    "square brackets": brackets,
    "x of dots": crosses(True, extra="dots"),
    "x open middle": crosses(True, gap=True),
    "arrow": arrow,
}
HELD_OUT_KINDS = ("asterisk", "square brackets", "x of dots", "x open middle", "arrow")
TEXTS: dict[str, Callable[[np.ndarray, Rng, Part], None]] = {
    "word": lambda picture, rng, part: words(picture, rng, part, ""),
    "bold word": lambda picture, rng, part: words(picture, rng, part, "bold"),
    "word in colour": lambda picture, rng, part: words(picture, rng, part, "colour"),
    "distance box": lambda picture, rng, part: words(picture, rng, part, "box"),
}


def draw(kind: str, picture: np.ndarray, rng: Rng, part: Part) -> np.ndarray:
    """Returns a copy of a picture, (height, width) or with three channels, with a mark of a kind in it."""
    drawn = picture.copy()
    {**KINDS, **TEXTS}[kind](drawn, rng, part)
    return drawn
