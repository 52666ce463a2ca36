"""JSON of the VGG Image Annotator (VIA 2, and 1): polygons, circles and ellipses on many pictures.

A project holds its pictures below _via_img_metadata; an export of annotations is that part alone. VIA does
not say how large its pictures are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from dgfnet.imaging.outlines.shapes import (
    AnnotatedPicture,
    Annotations,
    Ellipse,
    Label,
    Mark,
    Polygons,
    Shape,
    entry,
    number,
    outline,
    whole,
)

Options = Mapping[str, Mapping[str, Any]]  # what the values of an attribute are called


def read(document: Any) -> Annotations:
    """Reads a project or an export of annotations.

    Raises:
        ValueError: when it is neither.
    """
    metadata = document.get("_via_img_metadata", document)
    attributes = document.get("_via_attributes") or {} if metadata is not document else {}
    options: dict[str, Mapping[str, Any]] = {
        name: attribute.get("options") or {} for name, attribute in (attributes.get("region") or {}).items()
    }
    files = [entry({"picture": item}, "picture", dict) for item in metadata.values()]
    used = {name: None for file in files for region in _regions(file) for name in _attributes(region) if name}
    labels: dict[str, Label] = {}
    for file in files:
        for region in _regions(file):
            name, codes = _label(region, options, alone=len(used) == 1)
            labels.setdefault(name, Label(len(labels) + 1, name, codes))
    pictures = [_picture(file, options, alone=len(used) == 1) for file in files]
    return Annotations("VIA", list(labels.values()), pictures)


def _picture(file: Mapping[str, Any], options: Options, alone: bool) -> AnnotatedPicture:
    name = str(file.get("filename") or "")
    if "://" in name:
        name = unquote(urlsplit(name).path)
    facts = file.get("file_attributes") or {}
    sides = facts.get("height"), facts.get("width")  # there after an import of COCO
    size = None if None in sides or "" in sides else (whole(sides[0]), whole(sides[1]))
    return AnnotatedPicture((name,) if name else (), size, partial(_shapes, file, options, alone))


def _regions(file: Mapping[str, Any]) -> list[Any]:
    regions = file.get("regions") or []
    return (
        list(regions.values()) if isinstance(regions, dict) else entry({"regions": regions}, "regions", list)
    )


def _attributes(region: Any) -> dict[str, Any]:
    return entry({"region": region}, "region", dict).get("region_attributes") or {}


def _label(region: Any, options: Options, alone: bool) -> tuple[str, tuple[str, ...]]:
    """Returns the name of a region and its codes: the value of its one attribute, or what all of them say."""
    said: list[tuple[str, str, str]] = []
    for attribute, value in _attributes(region).items():
        if isinstance(value, dict):  # boxes to tick
            keys = [str(key) for key, ticked in value.items() if ticked]
        else:
            keys = [str(value).strip()] if value not in (None, "") else []
        shown = [str(options.get(attribute, {}).get(key) or key).strip() for key in keys]
        said += [(attribute, key, name) for key, name in zip(keys, shown, strict=True)]
    if alone:
        name = ", ".join(name for _, _, name in said)
    else:
        name = "; ".join(f"{attribute}={name}" for attribute, _, name in said)
    codes = [code for _, key, shown in said for code in (key, shown) if code != name]
    return name, tuple(dict.fromkeys(codes))


def _shapes(file: Mapping[str, Any], options: Options, alone: bool) -> Iterator[tuple[str, Shape]]:
    for region in _regions(file):
        yield _label(region, options, alone)[0], _shape(entry(region, "shape_attributes", dict))


def _shape(shape: Mapping[str, Any]) -> Shape:
    kind = shape.get("name")
    if kind == "polygon":
        columns, rows = (entry(shape, f"all_points_{axis}", list) for axis in "xy")
        return Polygons((outline(list(zip(columns, rows, strict=True))),))
    if kind in ("circle", "ellipse"):
        centre = (number(shape.get("cx")), number(shape.get("cy")))
        names = ("r", "r") if kind == "circle" else ("rx", "ry")
        radii = (number(shape.get(names[0])), number(shape.get(names[1])))
        return Ellipse(centre, radii, number(shape.get("theta") or 0))
    return Mark(str(kind))
