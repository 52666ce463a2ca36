"""Reads a case from a record of a request.

Its pictures end in the readers of the cohort room, so that a request is held to the rules of a cohort
folder: a picture that names a person is refused, a huge one is not unpacked, a mask must be one.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from pydicom.dataset import Dataset

from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import FORMS, MARKS, Box, read_mark
from dgfnet.serving.cases import Case, Grey, Reading, loose_image, read_case, read_moved, read_spacing
from dgfnet.serving.record import read_record
from dgfnet.vocabulary import MODALITIES, RECORD, Modality

NAME = "nodule"  # field of a case in a request: its text comes back with the answer
FIELDS = tuple(name for modality in MODALITIES for name in (modality, f"{modality}_mask"))
MARK_FIELDS = tuple(f"{modality}_{form}" for modality in MODALITIES for form in FORMS)
SPACING_FIELDS = tuple(f"{modality}_spacing_mm" for modality in MODALITIES)
SEGMENTS = tuple(f"{modality}_segment" for modality in MODALITIES)
FOLDERS = "dgfnet-case-"  # temporary ones begin so
HOUR = 3600.0
LARGEST_FILE = 32 * 2**20  # bytes of a picture in a request
LARGEST_PICTURE = 16_000_000  # pixels of a picture; a US picture or CT slice has one million at most
MOST_IMAGES = 64  # of one modality in a case
# of a reference to a picture of a PACS and the name of its field, the picture and its frame
Fetch = Callable[[Mapping[str, Any], str], tuple[Dataset, int | None]]
SIGNATURES = (  # first bytes of a file, and the ending by which the readers know its format
    *((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp")),
    *((b"II*\0", ".tif"), (b"MM\0*", ".tif")),
)


def decode_case(
    record: Mapping[str, Any],
    reading: Reading,
    end: float = math.inf,
    moves: bool = True,
    fetch: Fetch | None = None,
) -> Case:
    """Reads a nodule's crops from a record of a request.

    Args:
        record: `us`, `us_mask`, `ct`, `ct_mask`. Each is an image or a list of images; an image is base64 of
            a PNG, JPEG, TIFF, BMP or DICOM file, or a matrix of grey values 0..255. A modality may be absent.
            In place of its masks `us_box` or `us_calipers` (and so for CT): numbers of `imaging.boxes.FORMS`,
            for several images a list of these.
            `us_segment`, `ct_segment`: which region of masks with several is the nodule, a text.
            `us_spacing_mm`, `ct_spacing_mm`: side of the pixels, where the files do not say, a number.
            `record`: what is known beside pictures (`serving.record.read_record`).
        reading: what the model wants; fields of other modalities are not looked at.
        end: until when on the monotonic clock; small files can hold many large pictures.
        moves: also with other boxes, where the nodule has boxes.
        fetch: gets images that are references to a PACS; None takes no references.

    Raises:
        InputError: naming field and place, in one sentence.
        TimeoutError: when the end comes before all images are read.
    """
    known = read_record(record.get(RECORD), reading.record)
    with decoded_images(record, reading, fetch) as images:
        read = read_moved if moves else read_case
        return replace(read(images, reading, end), chosen={}, drawn={}, record=known)


@contextmanager
def decoded_images(
    record: Mapping[str, Any], reading: Reading, fetch: Fetch | None = None
) -> Iterator[list[Image]]:
    """Gives the images of a record, of which files are there until the end of the block.

    Arguments and errors are those of `decode_case`.
    """
    images = []
    with tempfile.TemporaryDirectory(prefix=FOLDERS) as folder:
        for modality in reading.modalities:
            pictures = _several(record.get(modality), modality)
            marked, marks = _marks(record, modality)
            segment = _segment(record.get(f"{modality}_segment"), f"{modality}_segment")
            spacing = read_spacing(record.get(f"{modality}_spacing_mm"), f"{modality}_spacing_mm")
            if len(pictures) != len(marks):
                raise InputError(
                    f"{len(pictures)} image(s) in {modality} but {len(marks)} in {marked}; expected a "
                    "mask of the nodule for every image, or a box, or calipers"
                )
            if len(pictures) > MOST_IMAGES:
                raise InputError(f"{len(pictures)} images in {modality}; expected at most {MOST_IMAGES}")
            for place, (picture, mark) in enumerate(zip(pictures, marks, strict=True)):
                image, held = stored_or_held(Path(folder), f"{modality}[{place}]", picture, fetch)
                drawn: Path | Box
                if marked == f"{modality}_mask":
                    drawn = stored(Path(folder), f"{marked}[{place}]", mark)
                else:
                    drawn = read_mark(marked.removeprefix(f"{modality}_"), mark, f"{marked}[{place}]")
                images.append(loose_image(modality, image, drawn, segment, spacing, held))
        if not images:
            expected = " or ".join(f"{name} with {name}_mask or {name}_box" for name in reading.modalities)
            raise InputError(f"no image in the case that this model can use; expected {expected}")
        yield images


def stored_or_held(
    folder: Path, name: str, value: Any, fetch: Fetch | None
) -> tuple[Path, tuple[Dataset, int | None] | None]:
    """Returns the file of an image of a request (`stored`), or a name and what a reference stands for.

    Raises:
        InputError: naming the field, when it is neither.
    """
    if not isinstance(value, Mapping):
        return stored(folder, name, value), None
    if fetch is None:
        raise InputError(
            f"{name}: found a reference; expected the bytes of a picture file in base64, or a path below "
            "/pacs of a server with --pacs"
        )
    return Path(f"{name}.dcm"), fetch(value, name)


def _marks(record: Mapping[str, Any], modality: Modality) -> tuple[str, list[Any]]:
    """Returns the field that marks the nodule in the images of a modality, and what it holds for each."""
    given = {f"{modality}_{form}": record.get(f"{modality}_{form}") for form in MARKS}
    given = {name: value for name, value in given.items() if not _absent(value)}
    if len(given) > 1:
        raise InputError(f"found {' and '.join(given)}; expected one of them")
    name, value = next(iter(given.items()), (f"{modality}_mask", None))
    if name == f"{modality}_mask":
        return name, _several(value, name)
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if (
        isinstance(items, list | tuple)
        and items
        and all(isinstance(own, list | tuple | str) for own in items)
    ):
        return name, list(items)
    return name, [items]


def clear_folders() -> None:
    """Removes pictures of requests that killed servers of this user left more than an hour ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        status = folder.lstat()
        if status.st_uid == os.getuid() and time.time() - status.st_mtime > HOUR:
            shutil.rmtree(folder, ignore_errors=True)


def _segment(value: Any, name: str) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise InputError(
        f"{name}: found {type(value).__name__}; expected a text: number, name or code of a region"
    )


def _absent(value: Any) -> bool:
    """Returns True for None, and for NaN, which stands for it in a data frame."""
    return value is None or (isinstance(value, float) and value != value)


def _several(value: Any, name: str) -> list[Any]:
    """Returns the images of a field as a list; a single image becomes a list of one."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    if isinstance(value, str | bytes | Mapping):
        return [value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [value] if value.ndim == 2 else list(value) if value.ndim == 3 else [value]
    if not isinstance(value, list | tuple | np.ndarray):
        raise InputError(f"{name}: found {type(value).__name__}; expected base64 text, a matrix, or a list")
    items = list(value)
    is_matrix = items and all(
        isinstance(row, list | tuple | np.ndarray) and not _is_nested(row) for row in items
    )
    return [items] if is_matrix else items


def _is_nested(value: Any) -> bool:
    """Returns True for a list of rows or texts, False for a row of a matrix."""
    return any(isinstance(item, list | tuple | np.ndarray | str | bytes) for item in value)


def stored(folder: Path, name: str, value: Any) -> Path:
    """Writes an image of a request to a file named as its field, so that messages of readers point there.

    Args:
        folder: for the file.
        name: of the field.
        value: base64 of a picture file, or a matrix of whole grey values 0..255.

    Raises:
        InputError: naming the field, when it is neither, or too large.
    """
    if isinstance(value, str | bytes):
        raw = _decoded(value, name)
        path = folder / f"{name}{_ending(raw, name)}"
        _check_size(raw, path.name)
        path.write_bytes(raw)
        return path
    done, encoded = cv2.imencode(".png", _matrix(value, name))
    assert done
    path = folder / f"{name}.png"
    path.write_bytes(encoded.tobytes())
    return path


def _decoded(value: str | bytes, name: str) -> bytes:
    if len(value) > LARGEST_FILE * 4 // 3 + 4:
        raise InputError(f"{name}: {len(value) * 3 // 4} bytes; expected at most {LARGEST_FILE}")
    try:
        text = value.encode() if isinstance(value, str) else value
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name}: is not base64; expected the bytes of a picture file in base64") from None


def _check_size(raw: bytes, name: str) -> None:
    """Raises InputError for several pages or too many pixels, by the header; DICOM is left to its reader."""
    try:
        with PIL.Image.open(io.BytesIO(raw)) as header:
            size, pages = header.width * header.height, int(getattr(header, "n_frames", 1))
    except Exception:
        if name.endswith(".dcm"):
            return
        raise InputError(f"{name}: cannot be decoded; it is truncated, or a kind we do not read") from None
    if size > LARGEST_PICTURE:
        raise InputError(f"{name}: {size} pixels; expected at most {LARGEST_PICTURE}")
    if pages > 1:
        raise InputError(f"{name}: {pages} pages; expected one picture")


def _ending(raw: bytes, name: str) -> str:
    if raw[128:132] == b"DICM":
        return ".dcm"
    for start, ending in SIGNATURES:
        if raw.startswith(start):
            return ending
    raise InputError(f"{name}: {len(raw)} bytes of no kind we read; expected PNG, JPEG, TIFF, BMP or DICOM")


def _matrix(value: Any, name: str) -> Grey:
    try:
        array = np.asarray(value)
        numbers = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name}: is no matrix of numbers with rows of one length") from None
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name}: found shape {array.shape}; expected a matrix (height, width)")
    if not np.isfinite(numbers).all():
        raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(numbers))} values are no finite numbers")
    if numbers.min() < 0 or numbers.max() > 255 or (numbers != np.rint(numbers)).any():
        raise InputError(
            f"{name}: values from {numbers.min():g} to {numbers.max():g}; expected whole grey values 0 to 255"
        )
    return numbers.astype(np.uint8)
