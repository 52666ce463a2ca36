"""Reads cases, images with nodule masks, into crops: from files of a cohort, and from a request.

Both ways end in the readers of the cohort room, so a request is held to the rules of a cohort folder: a
picture that names a person is refused, a huge one is not unpacked, a mask must be one.
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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image, View
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import FORMS, MARKS, MOVED, Box, read_mark
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.measured.measure import comparable, measure, measure_nodule
from dgfnet.outline.outliner import Outliner
from dgfnet.preprocess.archive import largest_first
from dgfnet.preprocess.roi import crop, find_square, resize_image, resize_mask
from dgfnet.preprocess.windowing import to_grey
from dgfnet.settings import Preprocess
from dgfnet.vocabulary import MODALITIES, Modality

NAME = "nodule"  # field of a case in a request: its text comes back with the answer
FIELDS = tuple(name for modality in MODALITIES for name in (modality, f"{modality}_mask"))
MARK_FIELDS = tuple(f"{modality}_{form}" for modality in MODALITIES for form in FORMS)
SPACING_FIELDS = tuple(f"{modality}_spacing_mm" for modality in MODALITIES)
SEGMENTS = tuple(f"{modality}_segment" for modality in MODALITIES)
FOLDERS = "dgfnet-case-"  # temporary ones begin so
HOUR = 3600.0
MOVES = 8  # boxes that are tried beside the one that was drawn
READERS = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="readers")
LARGEST_FILE = 32 * 2**20  # bytes of a picture in a request
LARGEST_PICTURE = 16_000_000  # pixels of a picture; a US picture or CT slice has one million at most
MOST_IMAGES = 64  # of one modality in a case
SIGNATURES = (  # first bytes of a file, and the ending by which the readers know its format
    *((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp")),
    *((b"II*\0", ".tif"), (b"MM\0*", ".tif")),
)
Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Case:
    """A nodule, ready to be scored.

    Attributes:
        crops: per modality that has images the region of interest of each, (K, S, S) grey 0..255, that of the
            image with the largest nodule first.
        chosen: the images with the largest nodule; empty for a case of a request.
        fault: the reason why the case cannot be scored; empty when it can.
        measured: per modality the features of the nodule, (features,), for a model that reads them.
        masks: per modality the nodule in each crop, (K, S, S), 0 or 1.
        drawn: per modality the nodule on the picture of the chosen image, (height, width), 0 or 1: its mask,
            or the outline in its box.
        moved: the nodule as it is with other boxes: each edge moved by up to MOVED of the side, MOVES times.
            Empty where no image has a box.
    """

    crops: Mapping[Modality, Grey]
    chosen: Mapping[Modality, Image] = field(default_factory=dict)
    fault: str = ""
    measured: Mapping[Modality, NDArray[np.float64]] = field(default_factory=dict)
    masks: Mapping[Modality, Grey] = field(default_factory=dict)
    drawn: Mapping[Modality, Grey] = field(default_factory=dict)
    moved: tuple[Case, ...] = ()


def read_case(
    images: Sequence[Image],
    settings: Preprocess,
    modalities: Sequence[Modality],
    units: Mapping[Modality, str] | None = None,
    outline: Outliner | None = None,
    end: float = math.inf,
    moving: np.random.Generator | None = None,
) -> Case:
    """Reads a nodule's crops from its files.

    The largest nodule decides, in mm2 when every image of the modality tells the side of its pixels, else in
    pixels; the first of equals (paper section 1, and what the archive does).

    Args:
        images: of the nodule.
        settings: of the model's preprocessing.
        modalities: that the model can use; files of others are not opened.
        units: `ScoringModel.units`; None for a model that reads no measured features.
        outline: `ScoringModel.outline`, of nodules with a box; None takes them for the ellipse in it.
        end: until when on the monotonic clock.
        moving: draws by how much the edges of boxes are moved; None leaves them.

    Raises:
        InputError: naming the file, when an image or mask cannot be used.
        TimeoutError: when the end comes before all images are read.
    """
    crops: dict[Modality, Grey] = {}
    masks: dict[Modality, Grey] = {}
    measured: dict[Modality, NDArray[np.float64]] = {}
    chosen: dict[Modality, Image] = {}
    drawn: dict[Modality, Grey] = {}
    for modality in modalities:
        own = [image for image in images if image.modality == modality]
        if own:
            found = _crops(
                own, modality, settings, units is not None, outline or Outliner(settings), end, moving
            )
            chosen[modality], crops[modality], masks[modality] = found.largest, found.crops, found.masks
            drawn[modality] = found.drawn
            if units is not None:
                same = found.units == {units.get(modality)}
                measured[modality] = comparable(modality, list(measure_nodule(found.values).values()), same)
    return Case(crops, chosen, measured=measured, masks=masks, drawn=drawn)


def with_moved(case: Case, images: Sequence[Image], *reading: Any) -> Case:
    """Returns a case that also knows the nodule with other boxes.

    Args:
        case: as `read_case` made it.
        images: that it was read from; where none has a box nothing is moved.
        reading: what `read_case` got after the images.
    """
    if all(image.box is None for image in images):
        return case
    draws = [np.random.default_rng(number) for number in range(MOVES)]

    def read(draw: np.random.Generator) -> Case:
        return replace(read_case(images, *reading, moving=draw), chosen={}, drawn={})  # type: ignore[misc]

    return replace(case, moved=tuple(READERS.map(read, draws)))


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The pictures of a nodule of one modality, that with the largest nodule first.

    Attributes:
        largest: the image with the largest nodule.
        crops: (K, S, S) grey 0..255.
        masks: (K, S, S) the nodule, 0 or 1.
        values: the features of each picture; empty where nobody asked for them.
        units: of the pixels that were measured.
        drawn: (height, width) the nodule on the picture of that image, 0 or 1.
    """

    largest: Image
    crops: Grey
    masks: Grey
    values: list[dict[str, float]]
    units: set[str]
    drawn: Grey


def _crops(
    images: Sequence[Image],
    modality: Modality,
    settings: Preprocess,
    measuring: bool,
    outline: Outliner,
    end: float,
    moving: np.random.Generator | None,
) -> _Pictures:
    """Reads the pictures of a nodule; memory holds one image at a time beside crops and masks."""
    crops, masks, areas, physical = [], [], [], True
    drawn: list[Grey | None] = []
    values: list[dict[str, float]] = []
    units: set[str] = set()
    for image in images:
        if time.monotonic() > end:
            raise TimeoutError
        pixels, mask = read_pair(image)
        grey = to_grey(pixels, image, settings)
        if image.box is not None:
            if moving is not None:
                box = image.box.moved(MOVED, moving).clipped(mask.shape)
                mask = box.filled(mask.shape, image.image.name)
            mask = outline(modality, grey, mask)
        spacing = image.spacing_mm or pixels.spacing_mm
        physical &= bool(spacing)
        area = float(np.count_nonzero(mask))
        areas.append((area * (spacing or 0.0) ** 2, area))
        square = find_square(mask, settings.dilations(modality))
        size = settings.size(modality)
        crops.append(resize_image(crop(grey, square), size))
        masks.append(resize_mask(crop(mask, square), size))
        # whether mm2 or pixels decide is known at the end: the largest so far by either is kept
        drawn.append(mask)
        for place in range(len(areas)):
            if all(areas[place][unit] < max(area[unit] for area in areas) for unit in (0, 1)):
                drawn[place] = None
        if measuring:
            sides = (spacing, spacing) if spacing else None
            values.append(measure(pixels.values, mask > 0, sides, modality))
            units.add(pixels.unit)
    unit = 0 if physical else 1
    best = max(range(len(images)), key=lambda place: areas[place][unit])  # the first of equals
    order = largest_first(range(len(images)), best)
    pictures, small = (np.stack([planes[place] for place in order]) for planes in (crops, masks))
    whole = drawn[best]
    assert whole is not None
    return _Pictures(images[best], pictures, small, values, units, whole)


def decode_case(
    record: Mapping[str, Any],
    settings: Preprocess,
    modalities: Sequence[Modality],
    units: Mapping[Modality, str] | None = None,
    outline: Outliner | None = None,
    end: float = math.inf,
) -> Case:
    """Reads a nodule's crops from a record of a request.

    Args:
        record: `us`, `us_mask`, `ct`, `ct_mask`. Each is an image or a list of images; an image is base64 of
            a PNG, JPEG, TIFF, BMP or DICOM file, or a matrix of grey values 0..255. A modality may be absent.
            In place of its masks `us_box` or `us_calipers` (and so for CT): numbers of `imaging.boxes.FORMS`,
            for several images a list of these.
            `us_segment`, `ct_segment`: which region of masks with several is the nodule, a text.
            `us_spacing_mm`, `ct_spacing_mm`: side of the pixels, where the files do not say, a number.
        settings: of the model's preprocessing.
        modalities: that the model can use; fields of others are not looked at.
        units: `ScoringModel.units`; None for a model that reads no measured features.
        outline: `ScoringModel.outline`, of nodules with a box; None takes them for the ellipse in it.
        end: until when on the monotonic clock; small files can hold many large pictures.

    Raises:
        InputError: naming field and place, in one sentence.
        TimeoutError: when the end comes before all images are read.
    """
    images = []
    with tempfile.TemporaryDirectory(prefix=FOLDERS) as folder:
        for modality in modalities:
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
                image = stored(Path(folder), f"{modality}[{place}]", picture)
                drawn: Path | Box
                if marked == f"{modality}_mask":
                    drawn = stored(Path(folder), f"{marked}[{place}]", mark)
                else:
                    drawn = read_mark(marked.removeprefix(f"{modality}_"), mark, f"{marked}[{place}]")
                images.append(loose_image(modality, image, drawn, segment, spacing))
        if not images:
            expected = " or ".join(f"{name} with {name}_mask or {name}_box" for name in modalities)
            raise InputError(f"no image in the case that this model can use; expected {expected}")
        reading = settings, modalities, units, outline, end
        case = with_moved(read_case(images, *reading), images, *reading)
        return replace(case, chosen={}, drawn={})


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


def loose_image(
    modality: Modality,
    image: Path,
    mark: Path | Box,
    segment: str | None = None,
    spacing_mm: float | None = None,
) -> Image:
    """Makes an image that is in no manifest, with a mask or a box: slice and window are unknown."""
    view: View = "transverse" if modality == "us" else "axial"
    mask, box = (image, mark) if isinstance(mark, Box) else (mark, None)
    return Image(
        "case", modality, view, image, mask, spacing_mm, None, None, None, False, segment, False, box
    )


def read_spacing(value: Any, name: str) -> float | None:
    """Returns the side of a pixel in mm that somebody gave, None where it is absent.

    Args:
        value: a number, or None or NaN.
        name: of the field, for messages.

    Raises:
        InputError: when it is no number, or no side that pixels of such pictures have.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if known and SPACING_MM[0] <= value <= SPACING_MM[1]:
        return float(value)
    raise InputError(
        f"{name}: found {value if known else type(value).__name__}; expected the side of a pixel in mm, "
        f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g}"
    )


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
    if isinstance(value, str | bytes):
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
