"""CVAT for images 1.1 (XML): polygons, ellipses and masks on many pictures.

Elements and attributes: docs.cvat.ai, XML annotation format; ellipses and masks as cvat-ai/cvat writes them
in cvat/apps/dataset_manager/formats/cvat.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from xml.etree.ElementTree import Element

from dgfnet.imaging.limits import LARGEST
from dgfnet.imaging.outlines.shapes import (
    AnnotatedPicture,
    Annotations,
    Bitmap,
    Ellipse,
    Label,
    Mark,
    Polygons,
    Shape,
    number,
    numbered,
    of_runs,
    outline,
    whole,
)

VERSION = "1.1"


def read(root: Element) -> Annotations:
    """Reads the root of a document of CVAT.

    Raises:
        ValueError: when it is not one, of a video, or of another version.
    """
    version = root.findtext("version", "").strip()
    if version != VERSION:
        raise ValueError(f"version {version[:20]!r}; expected {VERSION}")
    if root.find("track") is not None:
        raise ValueError("tracks of a video; export it as CVAT for images 1.1")
    images = root.findall("image")
    declared = numbered((item.findtext("name") or "").strip() for item in root.findall("./meta//label"))
    used = dict.fromkeys(_name(item) for image in images for item in image if _counts(item))
    known = {label.name: label for label in declared}
    others = [name for name in used if name not in known]
    labels = [label for label in declared if label.name in used]
    labels += [Label(len(declared) + place, name) for place, name in enumerate(others, start=1)]
    return Annotations("CVAT", labels, [_picture(image) for image in images])


def _picture(image: Element) -> AnnotatedPicture:
    size = (whole(image.get("height")), whole(image.get("width")))
    name = image.get("name")
    return AnnotatedPicture((name,) if name else (), size, partial(_drawn, image))


def _counts(item: Element) -> bool:
    """Returns True for a shape that is visible; a tag is about the whole picture."""
    return item.tag != "tag" and item.get("outside") != "1"


def _name(item: Element) -> str:
    return item.get("label", "").strip()


def _drawn(image: Element) -> Iterator[tuple[str, Shape]]:
    for item in image:
        if _counts(item):
            yield _name(item), _shape(item)


def _shape(item: Element) -> Shape:
    if item.tag == "polygon":
        pairs = [pair.split(",") for pair in item.get("points", "").split(";")]
        return Polygons((outline([[float(value) for value in pair] for pair in pairs]),))
    if item.tag == "ellipse":
        x, y, across, down = (number(item.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return Ellipse((x, y), (across, down), math.radians(number(item.get("rotation", "0"))))
    if item.tag == "mask":  # runs row by row, in the box alone
        left, top, width, height = (whole(item.get(name)) for name in ("left", "top", "width", "height"))
        if not (0 < width <= LARGEST and 0 < height <= LARGEST):
            raise ValueError(f"a mask of {height}x{width} pixels")
        runs = [int(count) for count in item.get("rle", "").split(",")]
        return Bitmap(of_runs(runs, width * height).reshape(height, width), top, left)
    return Mark(item.tag)
