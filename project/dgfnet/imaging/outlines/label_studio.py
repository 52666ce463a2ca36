"""Label Studio's JSON export: polygons and ellipses in percent of the picture, brushes as run-length codes.

Format: labelstud.io/guide/export, and the documentation of each tag; codes as its editor packs them
(@thi.ng/rle-pack).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

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
    entry,
    number,
    outline,
    parts,
    whole,
)

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # put before the name of a picture that was uploaded
PICTURES = re.compile(r"\.(png|jpe?g|tiff?|bmp|gif|webp|dcm|dicom|nii|nii\.gz|nrrd|mha)$", re.IGNORECASE)
AREAS = {"brush": "rle", "polygon": "points", "ellipse": "radiusX"}  # and where a result has its outline
SAID = {"", "choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "ranker"}
CHANNELS = 4  # a brush is stored as red, green, blue and alpha, and alpha is what was drawn


def read(tasks: Sequence[Any]) -> Annotations:
    """Reads the tasks of an export.

    Raises:
        ValueError: when they are none.
    """
    labels: dict[str, Label] = {}
    for task in tasks:
        for annotation in _counted(task):
            for name, codes, _ in _items(annotation):
                labels.setdefault(name, Label(len(labels) + 1, name, codes))
    return Annotations("Label Studio", list(labels.values()), [_picture(task) for task in tasks])


def _picture(task: Any) -> AnnotatedPicture:
    names = _names(task)
    sizes = [
        _size(item)
        for annotation in _counted(task)
        for _, _, item in _items(annotation)
        if "original_width" in item
    ]
    return AnnotatedPicture(names, sizes[0] if sizes else None, partial(_shapes, task))


def _names(task: Any) -> tuple[str, ...]:
    """Returns what a task calls its picture, and that without what an upload puts before it."""
    found = []
    values = list(entry(task, "data", dict).values())
    for value in values + [one for many in values if isinstance(many, list) for one in many]:
        if isinstance(value, str):
            address = urlsplit(value)
            query = parse_qs(address.query).get("d", [""])[
                0
            ]  # a local file: /data/local-files/?d=FOLDER/NAME
            found.append(query or unquote(address.path))
    found = [name for name in dict.fromkeys(found) if PICTURES.search(name)]
    if not found and task.get("file_upload"):
        found = [f"/upload/{task['file_upload']}"]
    if len({parts(name)[-1] for name in found}) > 1:
        return tuple(found)
    bare = [UPLOADED.sub("", parts(name)[-1]) for name in found if "upload/" in name]
    return tuple(dict.fromkeys([*found, *bare]))


def _counted(task: Any) -> list[dict[str, Any]]:
    """Returns the annotations that were not cancelled (skipped)."""
    found = [entry({"annotation": item}, "annotation", dict) for item in entry(task, "annotations", list)]
    return [item for item in found if not item.get("was_cancelled")]


def _items(annotation: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Yields name, codes and result of each thing drawn; results with one id are about one thing."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for place, result in enumerate(entry(annotation, "result", list)):
        if isinstance(entry({"result": result}, "result", dict).get("value"), dict):  # not a relation
            groups.setdefault(result.get("id") or place, []).append(result)
    for results in groups.values():
        shapes = sorted(filter(_kind, results), key=lambda result: _kind(result) not in AREAS)
        if not shapes:
            continue  # about the picture as a whole
        names = [
            str(name).strip()
            for result in results
            if str(result.get("type")).endswith("labels")
            for name in result["value"].get(result["type"]) or []
        ]
        names = list(dict.fromkeys(names))
        yield ", ".join(names), tuple(names) if len(names) > 1 else (), shapes[0]


def _kind(result: Mapping[str, Any]) -> str:
    """Returns the kind of a result by what is stored; empty for one that draws nothing, such as a choice."""
    for kind, name in AREAS.items():
        if name in result["value"]:
            return kind
    kind = str(result.get("type"))
    bare = kind.removesuffix("labels")
    return "" if bare in SAID else kind if bare in AREAS else bare


def _size(result: Mapping[str, Any]) -> tuple[int, int]:
    return whole(result.get("original_height")), whole(result.get("original_width"))


def _shapes(task: Any) -> Iterator[tuple[str, Shape]]:
    names = {UPLOADED.sub("", parts(name)[-1]) for name in _names(task)}
    if len(names) > 1:
        raise ValueError(
            f"a task that shows several pictures ({', '.join(sorted(names)[:5])}); expected one a task"
        )
    counted = _counted(task)
    truth = [item for item in counted if item.get("ground_truth")]
    if len(counted) > 1 and len(truth) != 1:
        numbers = ", ".join(str(item.get("id")) for item in counted)
        raise ValueError(
            f"annotations {numbers} of one picture, {len(truth)} of them ground truth; mark the one that "
            f"counts as ground truth, or cancel the others"
        )
    size = None
    for name, _, result in (item for annotation in truth[:1] or counted for item in _items(annotation)):
        if size not in (None, _size(result)):
            raise ValueError(f"results on {size} and {_size(result)} pixels (rows, columns) of one picture")
        size = _size(result)
        yield name, _shape(result, size)


def _shape(result: Mapping[str, Any], size: tuple[int, int]) -> Shape:
    value, kind, (rows, columns) = result["value"], _kind(result), size
    if number(result.get("image_rotation") or 0) % 360:
        raise ValueError("a picture that was rotated in Label Studio; rotate the file and draw again")
    if kind == "polygon" and value.get("closed", True):
        return Polygons((outline(value["points"]) * (columns / 100, rows / 100),))
    if kind == "ellipse":
        centre = (number(value.get("x")) * columns / 100, number(value.get("y")) * rows / 100)
        radii = (number(value.get("radiusX")) * columns / 100, number(value.get("radiusY")) * rows / 100)
        return Ellipse(centre, radii, math.radians(number(value.get("rotation") or 0)))
    if kind == "brush" and value.get("format", "rle") == "rle":
        alpha = unpacked(value["rle"], rows * columns * CHANNELS).reshape(rows, columns, CHANNELS)[..., 3]
        return Bitmap(
            alpha > alpha.max() // 2
        )  # its editor blurs edges; its converter writes 1 as well as 255
    return Mark(f"open {kind}" if kind == "polygon" else kind)


def unpacked(codes: Any, total: int) -> NDArray[np.uint8]:
    """Returns the values of Label Studio's run-length codes, (total,).

    First come 32 bits of their number, 5 of the bits of a value less 1, and four times 4 of the bits of a
    length less 1; then, as often as needed, a bit that says whether a value is repeated, 2 that say which
    length is used, that length less 1, and the value or as many values.

    Raises:
        ValueError: for codes of another number of values, that end too early or are no bytes.
    """
    if not isinstance(codes, list) or not all(type(code) is int and 0 <= code < 256 for code in codes):
        raise ValueError("a brush whose codes are no list of bytes")
    if total > CHANNELS * LARGEST:
        raise ValueError("a brush of too many pixels")
    bits = _Bits(bytes(codes))
    if (found := bits.take(32)) != total:
        raise ValueError(f"a brush of {found} values; expected {total}")
    width = bits.take(5) + 1
    lengths = [bits.take(4) + 1 for _ in range(4)]
    if width > 8:
        raise ValueError(f"a brush of {width}-bit values; expected 8")
    values = np.empty(total, dtype=np.uint8)
    at = 0
    while at < total:
        repeated = bits.take(1)
        stop = at + 1 + bits.take(lengths[bits.take(2)])
        if stop > total:
            raise ValueError("a brush with more values than it says")
        values[at:stop] = bits.take(width) if repeated else [bits.take(width) for _ in range(stop - at)]
        at = stop
    return values


class _Bits:
    """Bytes read bit by bit, the highest first."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, count: int) -> int:
        stop = self.at + count
        if stop > 8 * len(self.raw):
            raise ValueError("a brush whose codes end too early")
        value = int.from_bytes(self.raw[self.at // 8 : (stop + 7) // 8], "big") >> (-stop % 8)
        self.at = stop
        return value & ((1 << count) - 1)
