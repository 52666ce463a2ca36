"""Files of annotation tools: which tool wrote one, which picture of it is meant, and its regions."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import as_input_error
from dgfnet.imaging.labels import Region
from dgfnet.imaging.outlines import coco, cvat, label_studio, labelme, via
from dgfnet.imaging.outlines.shapes import AnnotatedPicture, Annotations, parts, regions

LARGEST_FILE = 300_000_000  # bytes; 20,000 masks of CVAT have 100 million
CHUNK = 65_536
SHOWN = 5  # pictures that a message names
KNOWN = "labelme, COCO, VIA 2, Label Studio (JSON) and CVAT for images 1.1 (XML)"


def read(path: Path, picture: str, shape: tuple[int, int]) -> list[Region]:
    """Reads what is drawn on a picture: a region per label that the file uses, each (rows, columns).

    Args:
        path: a file of labelme, CVAT, COCO, VIA or Label Studio; what is in it tells which.
        picture: name of the picture's file, with folders or without; where the file is about one picture
            alone and does not say its name, that one is meant.
        shape: of the picture, (rows, columns).

    Raises:
        InputError: naming the file, when it cannot be read, is about other pictures or one of another size,
            or nothing is drawn in it.
    """
    with as_input_error(path, "cannot be opened"):
        facts = path.stat()
    if facts.st_size > LARGEST_FILE:
        raise InputError(
            f"{path.name}: {facts.st_size // 10**6} MB; expected at most {LARGEST_FILE // 10**6}. Export the "
            f"annotations in several parts"
        )
    file = _load(path, facts.st_mtime_ns, facts.st_size)
    found = _choose(file, picture, path)
    if found.size not in (None, shape):
        rows, columns = found.size or (0, 0)
        raise InputError(
            f"{path.name}: drawn on {rows}x{columns} pixels (rows x columns), but {parts(picture)[-1]} has "
            f"{shape[0]}x{shape[1]}; annotate the image that images.csv names"
        )
    with as_input_error(path, f"cannot be used as a file of {file.annotations.tool}"):
        drawn = regions(file.annotations, found, shape)
    if not drawn:
        raise InputError(f"{path.name}: nothing is drawn in it; expected an outline of the nodule")
    return drawn


@dataclass(frozen=True, eq=False)
class _File:
    annotations: Annotations
    named: Mapping[str, list[AnnotatedPicture]]  # by the last part of their names


@lru_cache(maxsize=2)  # the pictures of an export are asked for one after another
def _load(path: Path, changed: int, size: int) -> _File:
    """Reads a file; a file that was changed since is another one."""
    del changed, size
    with as_input_error(path, "cannot be opened"):
        raw = path.read_bytes()
    tool, document = _document(path, raw)
    with as_input_error(path, f"cannot be read as {tool}"):
        annotations = _read(path, document)
        named: dict[str, list[AnnotatedPicture]] = {}
        for picture in annotations.pictures:
            for key in {_key(name) for name in picture.names}:
                named.setdefault(key, []).append(picture)
    return _File(annotations, named)


def _document(path: Path, raw: bytes) -> tuple[str, Any]:
    """Parses JSON or XML, whatever the file is called; returns which it was too."""
    with as_input_error(path, "cannot be read as text"):
        start = raw[:CHUNK].decode(json.detect_encoding(raw), "replace").lstrip("\ufeff \t\r\n")[:1]
    if start == "<":
        with as_input_error(path, "cannot be read as XML"):
            return "CVAT", _xml(raw)
    with as_input_error(path, "cannot be read as JSON"):
        return "annotations", json.loads(raw, parse_constant=_no_number)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} where a number was expected")


class _Builder(TreeBuilder):
    """Refuses a document type: entities are declared there, and those of strangers may fill any memory."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a document type (DOCTYPE), which annotations do not have")


def _xml(raw: bytes) -> Element:
    parser = XMLParser(target=_Builder())
    try:
        for at in range(0, len(raw), CHUNK):  # what is wrong is seen before the rest is read
            parser.feed(raw[at : at + CHUNK])
        root: Element = parser.close()
    except ParseError as error:
        raise ValueError(str(error)) from None
    return root


def _read(path: Path, document: Any) -> Annotations:
    if isinstance(document, Element):
        if document.tag == "annotations":
            return cvat.read(document)
        raise InputError(f"{path.name}: XML of <{document.tag[:40]}>; expected {KNOWN}")
    if isinstance(document, dict):
        if "_via_img_metadata" in document:
            return via.read(document)
        if isinstance(document.get("shapes"), list):
            return labelme.read(document)
        if "images" in document and "annotations" in document:
            return coco.read(document)
        if "data" in document and "annotations" in document:
            return label_studio.read([document])
        if document and all(isinstance(item, dict) and "regions" in item for item in document.values()):
            return via.read(document)
    if isinstance(document, list) and document and all(isinstance(item, dict) for item in document):
        if all("data" in item and "annotations" in item for item in document):
            return label_studio.read(document)
        if any("annotation_id" in item for item in document):
            raise InputError(f"{path.name}: Label Studio's JSON-MIN; export it as JSON")
    raise InputError(f"{path.name}: JSON of no tool that is known; expected {KNOWN}")


def _key(name: str) -> str:
    """Returns the last part of a name, as it is compared: capitals of its ending do not matter."""
    last = PurePath(parts(name)[-1])
    return unicodedata.normalize("NFC", last.stem) + last.suffix.casefold()


def _choose(file: _File, picture: str, path: Path) -> AnnotatedPicture:
    pictures = file.annotations.pictures
    found = file.named.get(_key(picture), [])
    if not found and len(pictures) == 1 and not pictures[0].names:
        found = list(pictures)
    if len(found) > 1:  # of one name in several folders
        found = [one for one in found if any(_agree(name, picture) for name in one.names)] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = _listed([one.names[0] for one in found])
        raise InputError(
            f"{path.name}: {len(found)} pictures called {parts(picture)[-1]} ({names}); expected one"
        )
    names = _listed([one.names[0] for one in pictures if one.names])
    raise InputError(
        f"{path.name}: nothing about {parts(picture)[-1]}; it is about {names or 'no picture'}. Annotate the "
        f"image that images.csv names, or give it that name in the file"
    )


def _agree(one: str, other: str) -> bool:
    """Returns True when two paths are the same as far as both have folders, and one of them has some."""
    ends = list(zip(reversed(parts(one)[:-1]), reversed(parts(other)[:-1]), strict=False))
    return bool(ends) and all(left == right for left, right in ends)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[-80:] for name in names[:SHOWN]) + more
