"""The slices of a volume, or of a DICOM series, on which a nodule is drawn largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgfnet.errors import InputError
from dgfnet.imaging import dicom
from dgfnet.imaging.geometry import OtherGrid
from dgfnet.imaging.kinds import VOLUMES
from dgfnet.imaging.labels import nodule_of
from dgfnet.imaging.limits import scale_fault
from dgfnet.imaging.masks import Match, load_volume, read_regions
from dgfnet.imaging.places import Placement, placement
from dgfnet.imaging.volumes import shown, slices

SLICES = 3  # of a nodule, at most


@dataclass(frozen=True)
class Drawn:
    """The slices of an image with the largest masks, lowest first.

    Attributes:
        slices: as images.csv counts them; None alone for a file that is one picture.
        areas: pixels of the mask on each.
        spacing_mm: side of a pixel of a volume; None for DICOM, which says so itself.
        match: how mask and image were matched.
    """

    slices: tuple[int | None, ...]
    areas: tuple[int, ...]
    spacing_mm: float | None
    match: Match


@dataclass(frozen=True)
class Refused:
    """A pair of files that cannot be used: a reason that many may share, and what is peculiar to this one."""

    reason: str
    detail: str = ""


def largest_slices(
    image: Path, mask: Path, segment: str | None = None, resample: bool = False
) -> Drawn | Refused:
    """Returns the slices with the largest masks, or why the pair cannot be used.

    Args:
        image: volume, or DICOM image of one frame or several.
        mask: any kind of mask.
        segment: which of its regions is the nodule.
        resample: take the nearest pixel of a mask on another grid.
    """
    try:
        areas: dict[int | None, int] = {}
        match: Match = "place"
        for place in _places(image):
            regions, match = read_regions(mask, place, resample)
            areas[place.frame] = int(np.count_nonzero(nodule_of(regions, segment, mask.name)))
        sides = _sides(image)
    except OtherGrid as error:
        return Refused("image and mask are on different grids", str(error))
    except InputError as error:
        said = str(error)
        for name in (image.name, mask.name):
            said = said.removeprefix(f"{name}: ")
        return Refused(said)
    drawn = [index for index, area in areas.items() if area]
    if not drawn:
        return Refused("the mask is empty")
    if sides and scale_fault(*sides):
        return Refused("the pixels are not squares of a usual size")
    largest = sorted(drawn, key=lambda index: -areas[index])[:SLICES]  # of equal areas the lowest slice first
    chosen = sorted(largest, key=drawn.index)
    return Drawn(tuple(chosen), tuple(areas[i] for i in chosen), sides[1] if sides else None, match)


def is_stack(path: Path) -> bool:
    """Returns True for kinds of image of which slices are chosen: volumes."""
    return path.name.lower().endswith(VOLUMES)


def _places(image: Path) -> Iterator[Placement]:
    if not is_stack(image):
        data = dicom.open_file(image)
        count = int(data.get("NumberOfFrames") or 1)
        with dicom.as_input_error(image, "its place cannot be read"):
            yield from [placement(image.name, data, frame if count > 1 else None) for frame in range(count)]
        return
    volume = load_volume(image)
    if volume.values.ndim != 3:
        raise InputError(f"{image.name}: expected one number a voxel")
    count = slices(volume)
    for index in range(count):
        _, plane, _ = shown(volume, index)
        shape = shown(volume, index)[0].shape
        yield Placement(image.name, (shape[0], shape[1]), plane, "", index, count, volume)


def _sides(image: Path) -> tuple[float, float] | None:
    return shown(load_volume(image), 0)[2] if is_stack(image) else None
