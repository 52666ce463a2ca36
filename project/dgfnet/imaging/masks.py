"""The mask of a picture: any kind of mask file laid on any kind of image.

Two files that say where they lie are matched by place: the same lattice of pixels, up to flips, swapped axes,
the order of slices and another extent, is brought together exactly; another one is refused, or resampled
where that is asked for. A DICOM segmentation of an image without a place is matched by its references. All
else is matched by shape, in the stored order of pixels, and counted apart where only one of the two has a
place (`Match`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging import dicom, pictures, segmentation, structures
from dgfnet.imaging.annotations import read as read_annotation
from dgfnet.imaging.geometry import (
    Grid,
    Plane,
    cut,
    cut_off,
    describe,
    is_cut_off,
    is_displayed,
    nearest,
    other_grid,
    overlaps,
    same_grid,
    take,
)
from dgfnet.imaging.kinds import kind_of
from dgfnet.imaging.labels import Region, check_plausible, nodule_of
from dgfnet.imaging.places import Placement, plane_of
from dgfnet.imaging.values import Coding, coding_of, regions_of, regions_of_colour
from dgfnet.imaging.volumes import Volume, has_identity, is_stored_as_displayed, shown

Match = Literal["place", "reference", "pixels", "assumed"]  # assumed: only one of the two says where it lies
BINARY = (1, 255, 65535)  # values of masks that know one region only
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"  # SOP class of RTSTRUCT


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of a nodule on a picture.

    Attributes:
        values: (rows, columns), 0 or 1.
        match: how it was laid on the picture.
        label: the value that the nodule has in the file, where the file has one value and no name for it, and
            nobody asked for it; None else. Files of one cohort should agree in it.
    """

    values: NDArray[np.uint8]
    match: Match
    label: int | None


def read_mask(path: Path, picture: Placement, segment: str | None = None, resample: bool = False) -> Mask:
    """Returns the mask of the nodule on a picture.

    Args:
        path: the mask file.
        picture: what is known of the image.
        segment: which of several regions is the nodule (`labels.nodule_of`).
        resample: take the nearest voxel of a mask on another grid.

    Raises:
        InputError: when the mask cannot be read, does not fit, has several regions of which none is asked
            for, or is no mask of a nodule.
    """
    regions, match = read_regions(path, picture, resample)
    where = path.name if picture.frame is None else f"{path.name} slice {picture.frame}"
    for region in regions:
        if region.mask.shape != picture.shape:
            raise InputError(
                f"{picture.name} has {_size(picture.shape)} pixels (rows x columns) but its mask {path.name} "
                f"has {_size(region.mask.shape)}; export the mask on the grid of the image"
            )
    mask = nodule_of(regions, segment, path.name)
    check_plausible(mask, where, picture.name)
    is_anonymous = segment is None and not regions[0].name and regions[0].number not in BINARY
    return Mask(mask, match, regions[0].number if is_anonymous else None)


def read_regions(path: Path, picture: Placement, resample: bool = False) -> tuple[list[Region], Match]:
    """Returns all regions of a mask file as they lie on a picture, and how the two were matched.

    Raises:
        InputError: as `read_mask`, but for the choice of a region.
    """
    kind = kind_of(path)
    if kind == "picture":
        return _of_picture(path, picture)
    if kind == "annotation":
        return read_annotation(path, picture.name, picture.shape), _by_shape(path, picture)
    if kind == "dicom":
        return _of_dicom(path, picture, resample)
    return _of_volume(path, picture, resample)


def load_volume(path: Path) -> Volume:
    """Reads a NIfTI, NRRD or MetaImage file; the last few stay in memory, for slices are read one by one.

    Raises:
        InputError: when it cannot be used.
    """
    return _volume(path, _stamp(path))


@lru_cache(maxsize=4)
def _volume(path: Path, stamp: tuple[int, int]) -> Volume:
    from dgfnet.imaging import itk, nifti

    return nifti.load(path) if kind_of(path) == "nifti" else itk.load(path)


@lru_cache(maxsize=4)
def _coding(path: Path, stamp: tuple[int, int]) -> Coding:
    """Returns the meaning of a mask volume's values, of all slices: one alone may lack some of its labels."""
    return coding_of(_volume(path, stamp).values, path.name)


@lru_cache(maxsize=4)
def _segmentation(path: Path, stamp: tuple[int, int], pseudonym: str) -> segmentation.Segmentation:
    return segmentation.open_segmentation(path, dicom.open_file(path, pseudonym))


@lru_cache(maxsize=4)
def _structures(path: Path, stamp: tuple[int, int], pseudonym: str) -> structures.StructureSet:
    return structures.open_structures(path, dicom.open_file(path, pseudonym))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be opened ({error.strerror})") from None
    return status.st_mtime_ns, status.st_size


def _of_picture(path: Path, picture: Placement) -> tuple[list[Region], Match]:
    pages = pictures.pages_of(path, picture.frame)
    if pages > 1 and picture.frames > 1 and pages != picture.frames:
        raise InputError(
            f"{path.name}: {pages} pages, but {picture.name} has {picture.frames} slices or frames; expected "
            f"one page for each"
        )
    _check_order(path, pages, picture)
    return pictures.read_regions(path, picture.frame), _by_shape(path, picture)


def _of_volume(path: Path, picture: Placement, resample: bool) -> tuple[list[Region], Match]:
    volume, image = load_volume(path), picture.volume
    match: Match
    if volume.grid is not None and picture.plane is not None:
        values, match = _by_place(path, volume, picture, resample), "place"
    elif image is not None and volume.grid is None:  # both are volumes: voxel by voxel
        if volume.shape != image.shape:
            raise InputError(
                f"{picture.name} has {_size(image.shape)} voxels but its mask {path.name} has "
                f"{_size(volume.shape)}, and does not say where it lies; export it on the grid of the image"
            )
        match = _by_shape(path, picture)
        values = shown(replace(volume, grid=image.grid), picture.frame or 0)[0]
    else:
        match = _by_shape(path, picture) if volume.grid is None else "assumed"
        values = _in_stored_order(path, volume, picture)
    if volume.segments:
        layered = values if values.ndim == 3 else values[..., None]
        numbers = [part.value for part in volume.segments]
        if len(set(numbers)) < len(numbers):  # layers use values again: the order in the file counts
            numbers = list(range(1, len(numbers) + 1))
        return [
            Region(number, part.name, layered[..., part.layer] == part.value, part.codes)
            for number, part in zip(numbers, volume.segments, strict=True)
            if part.layer < layered.shape[-1]
        ], match
    if values.ndim == 3:
        raise InputError(f"{path.name}: voxels of {values.shape[2]} numbers each; expected one label each")
    return regions_of(values, _coding(path, _stamp(path))), match


def _by_place(path: Path, volume: Volume, picture: Placement, resample: bool) -> NDArray[Any]:
    """Returns a mask's values on the plane of a picture; both say where they lie."""
    assert volume.grid is not None
    assert picture.plane is not None
    _check_rivals(path, volume, picture)
    where = cut(volume.grid, picture.plane)
    image = picture.plane if picture.volume is None else picture.volume.grid
    if where is not None and overlaps(where, volume.shape, picture.shape):
        values = take(volume.values, where, picture.shape)
        if values.ndim == 2 and is_cut_off(values > 0, where, volume.shape):
            raise cut_off(path.name)
        return values
    if resample:
        return nearest(volume.values, volume.grid, picture.plane)
    raise other_grid(path.name, volume.grid, picture.name, image)


def _check_rivals(path: Path, volume: Volume, picture: Placement) -> None:
    """Refuses files whose sform and qform contradict each other, unless both say both alike."""
    rival = picture.volume.rival if picture.volume is not None else None
    if volume.rival is None and rival is None:
        return
    if volume.rival is None or rival is None or not same_grid(volume.rival, rival):
        name, own = (path.name, volume.rival) if volume.rival is not None else (picture.name, rival)
        assert own is not None
        raise InputError(
            f"{name}: its sform and its qform say two places, and the other file does not say the same two; "
            f"the qform: {describe(own)}. Write the right one into both"
        )


def _in_stored_order(path: Path, volume: Volume, picture: Placement) -> NDArray[Any]:
    """Returns a slice as stored, columns along the first axis; one of the two files has no place."""
    if not is_stored_as_displayed(volume) and not has_identity(volume):
        assert volume.grid is not None
        raise InputError(
            f"{path.name}: says where it lies ({describe(volume.grid)}), {picture.name} does not, and its "
            f"order of pixels is not the displayed one; export both in one format, or the mask as PNG"
        )
    count = volume.shape[2]
    if count > 1 and picture.frame is None:
        raise InputError(f"{path.name}: {count} slices; name one in the column slice of images.csv")
    if count > 1 and picture.frames > 1 and count != picture.frames:
        raise InputError(f"{path.name}: {count} slices, but {picture.name} has {picture.frames} frames")
    _check_order(path, count, picture)
    index = (picture.frame or 0) if count > 1 else 0
    if index >= count:
        raise InputError(f"{path.name}: slice {index} asked for, the mask has {count} (0 is the first)")
    return volume.values[:, :, index].swapaxes(0, 1)


def _of_dicom(path: Path, picture: Placement, resample: bool) -> tuple[list[Region], Match]:
    data = dicom.open_file(path, picture.pseudonym)
    kind = str(data.get("SOPClassUID", ""))
    if kind in segmentation.SEGMENTATIONS:
        opened = _segmentation(path, _stamp(path), picture.pseudonym)
        regions, by = segmentation.regions_on(opened, picture, resample)
        if by == "reference" and picture.uid not in segmentation.sources(opened):
            raise InputError(
                f"{path.name}: drawn on other images than {picture.name}, and not in one frame of reference "
                f"with it; expected a segmentation of that image"
            )
        return regions, "place" if by == "place" else "reference"
    if kind == STRUCTURES:
        if picture.plane is None:
            raise InputError(
                f"{path.name}: contours in the patient's coordinates, but {picture.name} does not say where "
                f"it lies; expected an image with a position, or another kind of mask"
            )
        drawn = _structures(path, _stamp(path), picture.pseudonym)
        uid = picture.uid if picture.frames == 1 else ""
        return structures.regions_on(drawn, picture.plane, uid or None), "place"
    return _of_plain_dicom(path, data, picture)


def _of_plain_dicom(path: Path, data: Dataset, picture: Placement) -> tuple[list[Region], Match]:
    """Returns the regions of a mask that is stored as an ordinary image."""
    frames = int(data.get("NumberOfFrames") or 1)
    match: Match = "pixels"
    with dicom.as_input_error(path, "its place cannot be read"):
        planes = [plane_of(data, index) for index in range(frames)]
    index = picture.frame if frames > 1 else None
    pixels = None
    if picture.plane is not None and all(plane is not None for plane in planes):
        match = "place"
        assert planes[0] is not None
        _check_system(path, data, planes[0], picture)
        for place, plane in enumerate(planes):
            assert plane is not None
            where = cut(plane.grid(), picture.plane)
            if where is not None and where.start[3 - where.down[0] - where.right[0]] == 0:
                pixels = _labels(path, data, place if frames > 1 else None)
                rest = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, None, :]
                pixels = take(rest, where, picture.shape)
        if pixels is None:
            raise other_grid(path.name, planes[0], picture.name, picture.plane)
    else:
        placed = [plane for plane in planes if plane is not None]
        if any(not is_displayed(plane.down, plane.right) for plane in placed):
            raise _two_ways(picture.name, path.name, placed[0])
        _check_order(path, frames, picture)
        match = "assumed" if placed else _by_shape(path, picture)
        pixels = _labels(path, data, index)
    if pixels.ndim == 3:
        return regions_of_colour(pixels[:, :, ::-1].astype(np.uint8), path.name), match
    return regions_of(pixels, coding_of(pixels, path.name)), match


def _check_system(path: Path, data: Dataset, plane: Plane, picture: Placement) -> None:
    """Refuses positions in another system of coordinates, unless the mask names the picture as its source."""
    assert picture.plane is not None
    own, other = plane.frame_of_reference, picture.plane.frame_of_reference
    if not own or not other or own == other:
        return
    sources = [
        str(item.get("ReferencedSOPInstanceUID", ""))
        for name in ("SourceImageSequence", "ReferencedImageSequence")
        for item in data.get(name) or []
    ]
    if not picture.uid or picture.uid not in sources:
        raise InputError(
            f"{path.name}: lies in the frame of reference {own}, {picture.name} in {other}, and positions in "
            f"one say nothing about the other; expected the FrameOfReferenceUID of the image"
        )


def _labels(path: Path, data: Dataset, frame: int | None) -> NDArray[Any]:
    """Returns stored values; of MONOCHROME1, where 0 is displayed white, turned over."""
    pixels = dicom.pixels_of(path, data, frame)
    if data.PhotometricInterpretation == "MONOCHROME1":
        return np.asarray((2 ** int(data.BitsStored) - 1) - pixels)
    return pixels


def _by_shape(path: Path, picture: Placement) -> Match:
    """Returns the match of a mask without a place: pixels where the image has none either, else assumed.

    Raises:
        InputError: when the image's stored order of pixels is not the displayed one, for either may be meant.
    """
    if picture.plane is None:
        return "pixels"
    place = picture.plane if picture.volume is None else picture.volume.grid
    is_one = (
        is_displayed(picture.plane.down, picture.plane.right)
        if picture.volume is None
        else is_stored_as_displayed(picture.volume)
    )
    if not is_one:
        raise _two_ways(path.name, picture.name, place)
    return "assumed"


def _check_order(path: Path, count: int, picture: Placement) -> None:
    """Refuses slices without a place beside frames that are not stored from the lowest upwards."""
    if count > 1 and not picture.is_in_order:
        raise InputError(
            f"{path.name}: does not say where its {count} slices lie, and frames of {picture.name} are not "
            f"stored from the lowest upwards; export the mask with its place (NIfTI, NRRD or DICOM-SEG)"
        )


def _two_ways(unplaced: str, placed: str, place: Plane | Grid) -> InputError:
    return InputError(
        f"{unplaced} does not say where it lies, {placed} does ({describe(place)}), and its stored order of "
        f"pixels is not the displayed one, so the mask could be meant in two ways; export it with its place "
        f"(NIfTI, NRRD or DICOM-SEG)"
    )


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)
