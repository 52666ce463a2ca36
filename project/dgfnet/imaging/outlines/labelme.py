"""Labelme's JSON: polygons, circles and masks on one picture (written by labelme 3 to 6)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.imaging.limits import LARGEST
from dgfnet.imaging.outlines.shapes import (
    AnnotatedPicture,
    Annotations,
    Bitmap,
    Ellipse,
    Mark,
    Polygons,
    Shape,
    entry,
    number,
    numbered,
    outline,
    whole,
)

PNG = b"\x89PNG\r\n\x1a\n"


def read(document: Any) -> Annotations:
    """Reads a document of labelme.

    Raises:
        ValueError: when it is not one.
    """
    shapes = entry(document, "shapes", list)
    name = document.get("imagePath")
    sides = document.get("imageHeight"), document.get("imageWidth")
    size = None if None in sides else (whole(sides[0]), whole(sides[1]))
    picture = AnnotatedPicture((str(name),) if name else (), size, partial(_drawn, shapes))
    return Annotations("labelme", numbered(_name(shape) for shape in shapes), [picture])


def _name(shape: Any) -> str:
    return entry(shape, "label", str).strip()


def _drawn(shapes: list[Any]) -> Iterator[tuple[str, Shape]]:
    for shape in shapes:
        yield _name(shape), _shape(shape)


def _shape(shape: Any) -> Shape:
    kind = shape.get("shape_type") or "polygon"  # labelme 3 knows polygons alone and does not say so
    points = entry(shape, "points", list)
    if kind == "polygon":
        return Polygons((outline(points),))
    if kind == "circle":  # its centre, and a point on it
        (x, y), (to_x, to_y) = ([number(value) for value in point] for point in points)
        radius = float(np.hypot(to_x - x, to_y - y))
        return Ellipse((x, y), (radius, radius))
    if kind == "mask":  # the first and last pixel, the last included
        (left, top), (right, bottom) = ([int(number(value)) for value in point] for point in points)
        return Bitmap(_decoded(entry(shape, "mask", str), (bottom - top + 1, right - left + 1)), top, left)
    return Mark(str(kind))


def _decoded(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decodes the PNG of a mask, held to the size of its box before it takes memory."""
    raw = base64.b64decode(text, validate=True)
    claimed = struct.unpack(">II", raw[16:24]) if raw.startswith(PNG) and len(raw) > 24 else (0, 0)
    if claimed != shape[::-1] or not 0 < shape[0] * shape[1] <= LARGEST:
        raise ValueError(f"a mask of {claimed[1]}x{claimed[0]} pixels in a box of {shape[0]}x{shape[1]}")
    pixels = cv2.imdecode(np.frombuffer(raw, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape != shape:
        raise ValueError("a mask that is no grey PNG")
    return np.asarray(pixels) > 0
