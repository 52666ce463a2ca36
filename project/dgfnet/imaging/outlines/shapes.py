"""Labels, pictures, and the shapes that annotation tools draw and that become masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dgfnet.imaging import drawing
from dgfnet.imaging.labels import Region
from dgfnet.imaging.limits import LARGEST

KINDS = {"dict": "object", "list": "list", "str": "text"}  # of Python and of JSON
T = TypeVar("T")


@dataclass(frozen=True)
class Label:
    """A label of a file; all that carries its name is one region.

    Attributes:
        number: as the file numbers it, else its place in the file from 1.
        name: as shown in the tool; empty when nothing was said.
        codes: what else it is called in the file.
    """

    number: int
    name: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Polygons:
    """Outlines that belong together and do not hold one another; their union is inside.

    Attributes:
        rings: (points, 2) each, x and y in pixels from the picture's upper left corner.
    """

    rings: tuple[drawing.Points, ...]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse: centre x and y and both radii in pixels from the corner, angle in radians, clockwise."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class Bitmap:
    """A mask, (rows, columns), whose first pixel lies in row `top` and column `left` of the picture."""

    mask: NDArray[np.bool_]
    top: int = 0
    left: int = 0


@dataclass(frozen=True)
class Mark:
    """A shape without an area, or a box around one: point, line, rectangle; `kind` is the tool's word."""

    kind: str


Shape = Polygons | Ellipse | Bitmap | Mark


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture that a file of annotations is about.

    Attributes:
        names: what the file calls it, with folders or without; none when it does not say.
        size: (rows, columns) as the file says, None when it does not.
        shapes: gives what is drawn on it: a label's name and a shape.
    """

    names: tuple[str, ...]
    size: tuple[int, int] | None
    shapes: Callable[[], Iterable[tuple[str, Shape]]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Annotations:
    """A file of annotations: the tool, the labels used in it, and the pictures it is about."""

    tool: str
    labels: Sequence[Label]
    pictures: Sequence[AnnotatedPicture]


def regions(file: Annotations, picture: AnnotatedPicture, shape: tuple[int, int]) -> list[Region]:
    """Returns a region per label of the file, drawn on this picture or not, each (rows, columns).

    Raises:
        ValueError: for shapes that cannot lie on a picture of this size.
    """
    drawn: dict[str, list[Shape]] = {}
    for name, item in picture.shapes():
        drawn.setdefault(name, []).append(item)
    if len(drawn) * shape[0] * shape[1] > 20 * LARGEST:
        raise ValueError(f"{len(drawn)} labels on one picture")
    nothing = np.zeros(shape, dtype=np.bool_)
    made = []
    for label in file.labels:
        shapes = drawn.get(label.name, [])
        fault = _fault(shapes, shape)
        mask = nothing
        if shapes and not fault:
            mask = np.zeros(shape, dtype=np.bool_)
            for item in shapes:
                _add(item, mask, exact=picture.size is not None)
        made.append(Region(label.number, label.name, mask, label.codes, fault))
    return made


def _fault(shapes: Sequence[Shape], shape: tuple[int, int]) -> str:
    marks = sorted({item.kind for item in shapes if isinstance(item, Mark)})
    if marks:
        beside = " beside other shapes" if any(not isinstance(item, Mark) for item in shapes) else ""
        return f"is drawn as {', '.join(marks)}{beside}, which is no outline; expected polygons or a mask"
    if any(_holds_another(item, shape) for item in shapes if isinstance(item, Polygons)):
        return (
            "has a polygon inside a polygon, which some tools mean as a hole and others as area; expected a "
            "mask (run-length codes)"
        )
    return ""


def _holds_another(item: Polygons, shape: tuple[int, int]) -> bool:
    """Returns True when a ring lies wholly inside the others, where a union leaves no trace of it."""
    if len(item.rings) < 2:
        return False
    masks = [drawing.polygons([ring], shape, drawing.CORNERS) for ring in item.rings]
    masks.sort(key=np.count_nonzero, reverse=True)
    union = masks[0].copy()
    for mask in masks[1:]:
        if mask.any() and not (mask & ~union).any():
            return True
        union |= mask
    return False


def _add(item: Shape, mask: NDArray[np.bool_], exact: bool) -> None:
    """Draws a shape into a mask; where the file does not tell the size of its picture, none lies outside."""
    rows, columns = mask.shape
    if isinstance(item, Polygons):
        for ring in item.rings:
            if not exact and (ring.min() < -1 or (ring.max(axis=0) > (columns + 1, rows + 1)).any()):
                x, y = ring.max(axis=0)
                raise ValueError(
                    f"points up to x {x:g} and y {y:g} on {rows}x{columns} pixels (rows x columns)"
                )
            mask |= drawing.polygons([ring], (rows, columns), drawing.CORNERS)
    elif isinstance(item, Ellipse):
        x, y = item.centre
        if not exact and not (-1 <= x <= columns + 1 and -1 <= y <= rows + 1):
            raise ValueError(f"a centre at x {x:g} and y {y:g} on {rows}x{columns} pixels (rows x columns)")
        mask |= drawing.ellipse(item.centre, item.radii, item.angle, (rows, columns), drawing.CORNERS)
    elif isinstance(item, Bitmap):
        bottom, right = item.top + item.mask.shape[0], item.left + item.mask.shape[1]
        if item.top < 0 or item.left < 0 or bottom > rows or right > columns:
            raise ValueError(
                f"a mask of rows {item.top}-{bottom} and columns {item.left}-{right} on {rows}x{columns} "
                f"pixels (rows x columns)"
            )
        mask[item.top : bottom, item.left : right] |= item.mask


def outline(values: Any) -> drawing.Points:
    """Returns the points of a polygon, (points, 2), from pairs of x and y.

    Raises:
        ValueError: for fewer than three points, and for what are no coordinates of a picture.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"a polygon of shape {points.shape}; expected three points (x, y) or more")
    if not (abs(points) < drawing.FARTHEST).all():  # NaN neither
        raise ValueError("a polygon whose coordinates are no numbers of pixels")
    return points


def number(value: Any) -> float:
    """Returns a coordinate or length, pixels or degrees.

    Raises:
        ValueError: for what is no number of a usual size.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | str)
        or not abs(float(value)) < drawing.FARTHEST
    ):
        raise ValueError(f"{str(value)[:40]!r} where a number was expected")
    return float(value)


def whole(value: Any) -> int:
    """Returns a whole number, such as a row.

    Raises:
        ValueError: for what is none.
    """
    if number(value) != int(number(value)):
        raise ValueError(f"{str(value)[:40]!r} where a whole number was expected")
    return int(number(value))


def of_runs(counts: Any, total: int) -> NDArray[np.bool_]:
    """Returns (total,) pixels from the lengths of runs, outside and inside in turn, outside first.

    Raises:
        ValueError: when the runs are no lengths or do not add up to the total.
    """
    lengths = np.asarray(counts)
    if total > LARGEST or lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths):
        raise ValueError("run-length codes that are no lists of whole numbers, or of too many pixels")
    if lengths.min() < 0 or lengths.max() > total or lengths.sum() != total:
        raise ValueError(f"run-length codes that do not add up to {total} pixels")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def entry(mapping: Any, name: str, kind: type[T]) -> T:
    """Returns an entry of an object in JSON.

    Raises:
        ValueError: when there is none or it is of another type.
    """
    found = mapping.get(name) if isinstance(mapping, dict) else None
    if not isinstance(found, kind):
        raise ValueError(f"{name} is no {KINDS[kind.__name__]}")
    return found


def parts(name: str) -> list[str]:
    """Returns the folders and the last part of a path as any system writes it; one at least."""
    return [part for part in re.split(r"[\\/]+", name) if part] or [name]


def numbered(names: Iterable[str]) -> list[Label]:
    """Returns labels numbered from 1 in the order in which their names appear."""
    return [Label(place, name) for place, name in enumerate(dict.fromkeys(names), start=1)]
