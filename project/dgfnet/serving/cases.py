"""Reads cases, images with a mask of the nodule or a box around it, from files into crops."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.record import Column
from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image, Nodule, View
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import MOVED, Box
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.measured.measure import comparable, measure, measure_nodule
from dgfnet.outline.outliner import Outliner
from dgfnet.preprocess.archive import largest_first
from dgfnet.preprocess.roi import crop, find_square, resize_image, resize_mask
from dgfnet.preprocess.windowing import to_grey
from dgfnet.sections.data import Preprocess
from dgfnet.serving.record import record_of_row
from dgfnet.vocabulary import Modality

MOVES = 8  # boxes that are tried beside the one that was drawn
READERS = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="readers")
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
        largest: per modality the place of the image with the largest nodule among those that were given.
        drawn: per modality the nodule on the picture of the chosen image, (height, width), 0 or 1: its mask,
            or the outline in its box.
        moved: the nodule as it is with other boxes: each edge moved by up to MOVED of the side, MOVES times.
            Empty where no image has a box.
        record: what is known beside pictures, cells of nodules.csv by column; None where nothing was given.
    """

    crops: Mapping[Modality, Grey]
    chosen: Mapping[Modality, Image] = field(default_factory=dict)
    fault: str = ""
    measured: Mapping[Modality, NDArray[np.float64]] = field(default_factory=dict)
    masks: Mapping[Modality, Grey] = field(default_factory=dict)
    largest: Mapping[Modality, int] = field(default_factory=dict)
    drawn: Mapping[Modality, Grey] = field(default_factory=dict)
    moved: tuple[Case, ...] = ()
    record: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Reading:
    """The conditions under which a model gets its cases; other processes can be sent them.

    Attributes:
        preprocess: settings that make its crops.
        modalities: that it can use; files of others are not opened.
        units: `ScoringModel.units`; None for a model that reads no measured features.
        outline: of nodules with a box; None takes them for the ellipse in it.
        record: columns of the record that the model reads.
    """

    preprocess: Preprocess
    modalities: Sequence[Modality]
    units: Mapping[Modality, str] | None = None
    outline: Outliner | None = None
    record: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ScoringModel) -> Reading:
        """Returns what a model wants."""
        return cls(model.preprocess, model.usable, model.units, model.outline, model.record)


def read_case(
    images: Sequence[Image],
    reading: Reading,
    end: float = math.inf,
    moving: np.random.Generator | None = None,
) -> Case:
    """Reads a nodule's crops from its files.

    The largest nodule decides, in mm2 when every image of the modality tells the side of its pixels, else in
    pixels; the first of equals (paper section 1, and what the archive does).

    Args:
        images: of the nodule.
        reading: what the model wants.
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
    largest: dict[Modality, int] = {}
    for modality in reading.modalities:
        own = [image for image in images if image.modality == modality]
        if own:
            found = _crops(own, modality, reading, end, moving)
            chosen[modality], crops[modality], masks[modality] = found.largest, found.crops, found.masks
            drawn[modality], largest[modality] = found.drawn, found.place
            if reading.units is not None:
                same = found.units == {reading.units.get(modality)}
                measured[modality] = comparable(modality, list(measure_nodule(found.values).values()), same)
    return Case(crops, chosen, measured=measured, masks=masks, largest=largest, drawn=drawn)


def read_moved(images: Sequence[Image], reading: Reading, end: float = math.inf) -> Case:
    """Reads a nodule's crops as `read_case` does, and again with each of the other boxes, if it has boxes."""
    case = read_case(images, reading, end)
    if all(image.box is None for image in images):
        return case

    def read(number: int) -> Case:
        moved = read_case(images, reading, end, np.random.default_rng(number))
        return replace(moved, chosen={}, drawn={})

    return replace(case, moved=tuple(READERS.map(read, range(MOVES))))


def read_nodule(nodule: Nodule, reading: Reading, moves: bool) -> Case:
    """Reads a nodule of a cohort, with moved boxes or without; a case that cannot be read says why."""
    try:
        case = (read_moved if moves else read_case)(nodule.images, reading)
        return replace(case, record=record_of_row(nodule.attributes, reading.record))
    except (InputError, OSError) as error:
        return Case({}, fault=str(error))


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The pictures of a nodule of one modality, that with the largest nodule first.

    Attributes:
        largest: the image with the largest nodule.
        place: of it among the images that were given.
        crops: (K, S, S) grey 0..255.
        masks: (K, S, S) the nodule, 0 or 1.
        values: the features of each picture; empty where nobody asked for them.
        units: of the pixels that were measured.
        drawn: (height, width) the nodule on the picture of that image, 0 or 1.
    """

    largest: Image
    place: int
    crops: Grey
    masks: Grey
    values: list[dict[str, float]]
    units: set[str]
    drawn: Grey


def _crops(
    images: Sequence[Image],
    modality: Modality,
    reading: Reading,
    end: float,
    moving: np.random.Generator | None,
) -> _Pictures:
    """Reads the pictures of a nodule; memory holds one image at a time beside crops and masks."""
    crops, masks, areas, physical = [], [], [], True
    drawn: list[Grey | None] = []
    values: list[dict[str, float]] = []
    units: set[str] = set()
    settings, outline = reading.preprocess, reading.outline or Outliner(reading.preprocess)
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
        if reading.units is not None:
            sides = (spacing, spacing) if spacing else None
            values.append(measure(pixels.values, mask > 0, sides, modality))
            units.add(pixels.unit)
    unit = 0 if physical else 1
    best = max(range(len(images)), key=lambda place: areas[place][unit])  # the first of equals
    order = largest_first(range(len(images)), best)
    pictures, small = (np.stack([planes[place] for place in order]) for planes in (crops, masks))
    whole = drawn[best]
    assert whole is not None
    return _Pictures(images[best], best, pictures, small, values, units, whole)


def loose_image(
    modality: Modality,
    image: Path,
    mark: Path | Box,
    segment: str | None = None,
    spacing_mm: float | None = None,
    held: tuple[Dataset, int | None] | None = None,
) -> Image:
    """Makes an image that is in no manifest, with a mask or a box: its window is unknown.

    A data set in memory stands with its frame in place of the file.
    """
    view: View = "transverse" if modality == "us" else "axial"
    mask, box = (image, mark) if isinstance(mark, Box) else (mark, None)
    data, frame = held or (None, None)
    return Image(
        nodule_id="case",
        modality=modality,
        view=view,
        image=image,
        mask=mask,
        spacing_mm=spacing_mm,
        slice=frame,
        window_level=None,
        window_width=None,
        measurement_lines=False,
        segment=segment,
        box=box,
        held=data,
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
