"""COCO's JSON: polygons and run-length codes, compressed or not, on many pictures.

Format: cocodataset.org/#format-data. The codes are read here and not by pycocotools, which is right on them
but returns memory as it finds it (2.0.11) when they are too short for their picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dgfnet.imaging.outlines.shapes import (
    AnnotatedPicture,
    Annotations,
    Bitmap,
    Label,
    Mark,
    Polygons,
    Shape,
    entry,
    of_runs,
    outline,
    whole,
)


def read(document: Any) -> Annotations:
    """Reads a document of COCO.

    Raises:
        ValueError: when it is not one.
    """
    names = {
        item.get("id"): str(item.get("name") or "").strip()
        for item in document.get("categories") or []
        if isinstance(item, dict)
    }
    items = [entry({"annotation": item}, "annotation", dict) for item in entry(document, "annotations", list)]
    used: dict[Any, str] = {item.get("category_id"): "" for item in items}
    for category in used:
        if names and category not in names:
            raise ValueError(f"category_id {category!r}, which is not among the categories")
        used[category] = names.get(category) or (f"category {category}" if len(used) > 1 else "")
    drawn: dict[Any, list[tuple[str, Any]]] = {}
    for item in items:
        drawn.setdefault(item.get("image_id"), []).append((used[item.get("category_id")], item))
    labels: dict[str, Label] = {}
    for place, (category, name) in enumerate(used.items(), start=1):
        labels.setdefault(name, Label(category if isinstance(category, int) else place, name))
    pictures = [_picture(image, drawn) for image in entry(document, "images", list)]
    return Annotations("COCO", sorted(labels.values(), key=lambda label: label.number), pictures)


def _picture(image: Any, drawn: dict[Any, list[tuple[str, Any]]]) -> AnnotatedPicture:
    sides = image.get("height"), image.get("width")
    size = None if None in sides else (whole(sides[0]), whole(sides[1]))
    name = image.get("file_name")
    return AnnotatedPicture(
        (str(name),) if name else (), size, partial(_shapes, drawn.get(image.get("id"), []), size)
    )


def _shapes(drawn: list[tuple[str, Any]], size: tuple[int, int] | None) -> Iterator[tuple[str, Shape]]:
    for name, item in drawn:
        yield name, _shape(item.get("segmentation"), size)


def _shape(segmentation: Any, size: tuple[int, int] | None) -> Shape:
    if not segmentation:
        return Mark("box")
    if isinstance(segmentation, list):
        return Polygons(tuple(outline(np.reshape(ring, (-1, 2))) for ring in segmentation))
    rows, columns = (whole(side) for side in entry(segmentation, "size", list))
    if size is not None and (rows, columns) != size:
        raise ValueError(f"a mask of {rows}x{columns} pixels on a picture of {size[0]}x{size[1]}")
    if rows < 1 or columns < 1:
        raise ValueError(f"a mask of {rows}x{columns} pixels")
    counts = segmentation.get("counts")
    runs = uncompressed(counts) if isinstance(counts, str) else counts
    return Bitmap(of_runs(runs, rows * columns).reshape(columns, rows).T)  # column by column


def uncompressed(text: str) -> list[int]:
    """Returns the lengths of runs from COCO's text of them (rleFrString in its maskApi.c).

    A character holds five bits from the lowest on, and a sixth that says whether more follow; from the fourth
    on, a number is the difference to the one before the last.

    Raises:
        ValueError: for characters that are none of its, and when the last number does not end.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 35:
            raise ValueError("run-length codes that are no text of COCO")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last: its highest bit is the sign
            value -= (bits >> 4 & 1) << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run-length codes that end within a number")
    return runs
