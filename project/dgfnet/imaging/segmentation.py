"""DICOM segmentations, one bit a segment, fractional or as a label map, become regions on an image.

A frame belongs to an image by its place when both say where they lie in one frame of reference, else by its
reference to the image (PS3.3 C.8.20.2 and C.8.20.3, C.7.6.16.2.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import as_input_error
from dgfnet.imaging.geometry import (
    CutOff,
    OtherGrid,
    Plane,
    cut,
    cut_off,
    distance,
    is_cut_off,
    nearest,
    other_grid,
    take,
)
from dgfnet.imaging.labels import Region
from dgfnet.imaging.places import Placement, groups_of, plane_of

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP)  # SOP classes
HALF = 0.5  # of the largest fractional value, or of the distance of slices
PARALLEL = 1e-4  # cosine


@dataclass(frozen=True)
class Reference:
    """A source image of a frame: UID, frames meant (from 1; none for all), SpatialLocationsPreserved."""

    uid: str
    frames: tuple[int, ...]
    preserved: str


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a segmentation.

    Attributes:
        index: in the file, from 0.
        segment: its segment's number; None for a label map, whose pixels are numbers.
        plane: its place.
        references: its source images.
    """

    index: int
    segment: int | None
    plane: Plane | None
    references: tuple[Reference, ...]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A DICOM segmentation.

    Attributes:
        path: of the file.
        data: its data set.
        segments: name and codes by number.
        frames: all of them.
        step: smallest distance of two frames, mm, where it is less than their thickness (slices overlap);
            None where it is not.
    """

    path: Path
    data: Dataset
    segments: dict[int, tuple[str, tuple[str, ...]]]
    frames: tuple[Frame, ...]
    step: float | None = None


def open_segmentation(path: Path, data: Dataset) -> Segmentation:
    """Reads what a segmentation says of its segments and frames; pixels are decoded when they are asked for.

    Raises:
        InputError: when it says it wrongly.
    """
    with as_input_error(path, "cannot be read as DICOM-SEG"):
        segments = {
            int(item.SegmentNumber): (str(item.get("SegmentLabel", "")).strip(), _codes(item))
            for item in data.SegmentSequence
            if int(item.SegmentNumber) > 0  # 0 is the background of a label map
        }
        is_map = str(data.SOPClassUID) == LABEL_MAP or str(data.SegmentationType) == "LABELMAP"
        count = int(data.get("NumberOfFrames") or 1)
        frames = tuple(_frame(data, index, is_map) for index in range(count))
        return Segmentation(path, data, segments, frames, _step(frames))


def _step(frames: tuple[Frame, ...]) -> float | None:
    """Returns the smallest distance of two parallel frames where it is less than their thickness."""
    planes = [frame.plane for frame in frames if frame.plane is not None]
    if not planes or any(_is_tilted(plane, planes[0]) for plane in planes):
        return None
    places = np.array([plane.origin @ planes[0].normal for plane in planes])
    apart = np.diff(np.unique(np.round(places, 2)))
    thickness = planes[0].thickness
    return float(apart.min()) if apart.size and thickness and apart.min() < thickness else None


def sources(segmentation: Segmentation) -> set[str]:
    """Returns the UIDs of all images that the frames reference."""
    return {reference.uid for frame in segmentation.frames for reference in frame.references}


def regions_on(
    segmentation: Segmentation, picture: Placement, resample: bool = False
) -> tuple[list[Region], str]:
    """Returns every segment as it is drawn on a picture, and by what frames were found: place or reference.

    Args:
        segmentation: of `open_segmentation`.
        picture: the image on which to lay it.
        resample: take the nearest pixel where the grids differ.

    Raises:
        InputError: when frames of the picture lie on another grid, or do not say how they lie on it.
    """
    path, data = segmentation.path, segmentation.data
    drawn = {number: np.zeros(picture.shape, dtype=bool) for number in segmentation.segments}
    by = "reference"
    is_on_slice, beside = False, None
    for frame in segmentation.frames:
        is_meant = _is_meant(frame, picture)
        if _is_comparable(frame.plane, picture.plane, is_meant):
            by = "place"
            try:
                pixels = _by_place(segmentation, frame, picture, resample)
            except CutOff:
                raise
            except OtherGrid as error:  # slices may overlap: a neighbour is nearer than half their thickness
                beside = beside or error
                continue
            is_on_slice |= pixels is not None
        elif is_meant:
            _check_reference(path, frame, picture, data)
            pixels = _decode(segmentation, frame)
        else:
            continue
        if pixels is not None:
            _add(path, drawn, frame, pixels)
    if beside is not None and not is_on_slice:
        raise beside
    regions = [
        Region(number, segmentation.segments[number][0], mask, segmentation.segments[number][1])
        for number, mask in drawn.items()
    ]
    return regions, by


def _by_place(
    segmentation: Segmentation, frame: Frame, picture: Placement, resample: bool
) -> NDArray[Any] | None:
    """Returns the pixels of a frame on a picture, None when it lies on another slice.

    Raises:
        InputError: for a frame on this slice but on another grid, or one that is cut off.
    """
    plane = picture.plane
    assert frame.plane is not None
    assert plane is not None
    apart = distance(plane, frame.plane)
    thickness = segmentation.step or frame.plane.thickness or plane.thickness or 1.0
    if apart > thickness and not _is_tilted(frame.plane, plane):
        return None
    grid = frame.plane.grid()
    where = cut(grid, plane)
    if where is None:
        if apart > HALF * thickness:
            return None
        if not resample:
            raise other_grid(segmentation.path.name, frame.plane, picture.name, plane)
        return nearest(_decode(segmentation, frame)[..., None], grid, plane)
    if where.start[3 - where.down[0] - where.right[0]] != 0:
        return None
    pixels = take(_decode(segmentation, frame)[..., None], where, plane.shape)
    if is_cut_off(pixels > 0, where, grid.shape):
        raise cut_off(segmentation.path.name)
    return pixels


def _is_tilted(a: Plane, b: Plane) -> bool:
    return abs(abs(float(a.normal @ b.normal)) - 1) > PARALLEL


def _frame(data: Dataset, index: int, is_map: bool) -> Frame:
    segment = None
    references: list[Reference] = []
    for item in groups_of(data, index):
        if "ReferencedSegmentNumber" in item and not is_map:
            segment = int(item.ReferencedSegmentNumber)
        for source in item.get("SourceImageSequence", []):
            numbers = source.get("ReferencedFrameNumber") or ()
            frames = tuple(int(n) for n in ([numbers] if isinstance(numbers, int | str) else numbers))
            references.append(
                Reference(
                    str(source.get("ReferencedSOPInstanceUID", "")),
                    frames,
                    str(source.get("SpatialLocationsPreserved", "") or ""),
                )
            )
    return Frame(index, segment, plane_of(data, index), tuple(references))


def _codes(item: Dataset) -> tuple[str, ...]:
    """Returns the coded type of a segment, as scheme:value and as text."""
    codes = []
    for code in item.get("SegmentedPropertyTypeCodeSequence", []):
        scheme, value = code.get("CodingSchemeDesignator", ""), code.get("CodeValue", "")
        codes += [f"{scheme}:{value}", str(code.CodeMeaning)]
    return tuple(codes)


def _is_meant(frame: Frame, picture: Placement) -> bool:
    """Returns True when the frame references the picture."""
    return bool(picture.uid) and any(
        reference.uid == picture.uid
        and (not reference.frames or picture.frames == 1 or (picture.frame or 0) + 1 in reference.frames)
        for reference in frame.references
    )


def _is_comparable(a: Plane | None, b: Plane | None, is_meant: bool) -> bool:
    """Returns True when two places are in one system of coordinates.

    A reference makes them so even where de-identification gave the two files different UIDs for it.
    """
    if a is None or b is None:
        return False
    names = {a.frame_of_reference, b.frame_of_reference} - {""}
    return len(names) < 2 or is_meant


def _check_reference(path: Path, frame: Frame, picture: Placement, data: Dataset) -> None:
    """Refuses a frame that references a picture without lying on it pixel by pixel."""
    said = {reference.preserved for reference in frame.references if reference.uid == picture.uid}
    if said - {"", "YES"}:
        raise InputError(
            f"{path.name}: SpatialLocationsPreserved is {sorted(said)[-1]} for {picture.name}, and nothing "
            f"says where the two lie; export the segmentation on the grid of the image"
        )
    if picture.frames > 1 and not any(reference.frames for reference in frame.references):
        raise InputError(
            f"{path.name}: references {picture.name} without ReferencedFrameNumber, and that has "
            f"{picture.frames} frames; export it again with the frames named"
        )
    shape = (int(data.Rows), int(data.Columns))
    if shape != picture.shape:
        raise InputError(
            f"{path.name}: {shape[0]}x{shape[1]} pixels (rows x columns), but {picture.name} has "
            f"{picture.shape[0]}x{picture.shape[1]}; export the segmentation on the grid of the image"
        )


def _decode(segmentation: Segmentation, frame: Frame) -> NDArray[Any]:
    """Returns the pixels of a frame, (rows, columns): True in the segment, or numbers of a label map."""
    data = segmentation.data
    with as_input_error(segmentation.path, "its pixels cannot be decoded"):
        pixels = np.asarray(pixel_array(data, index=frame.index))
        if frame.segment is None:
            return pixels
        if str(data.SegmentationType) == "FRACTIONAL":
            return pixels >= HALF * int(data.MaximumFractionalValue)
        return pixels > 0


def _add(path: Path, drawn: dict[int, NDArray[np.bool_]], frame: Frame, pixels: NDArray[Any]) -> None:
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    if frame.segment is None:
        for number, mask in drawn.items():
            mask |= pixels == number
    elif frame.segment in drawn:
        drawn[frame.segment] |= pixels.astype(bool)
    else:
        raise InputError(f"{path.name}: a frame of segment {frame.segment}, which the file does not describe")
