"""Places of DICOM images and of the frames of multi-frame ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dgfnet.imaging.geometry import Plane
from dgfnet.imaging.identity import pseudonym_of

SQUARE = 1e-3  # cosine between the two directions of an image, and deviation of their length from 1


@dataclass(frozen=True, eq=False)
class Placement:
    """A picture as a mask sees it that is laid on it: all but its pixels.

    Attributes:
        name: of the file, for messages.
        shape: rows and columns.
        plane: the place of its pixels; None for pictures and what does not say.
        uid: SOPInstanceUID of a DICOM file, else empty.
        frame: of a file with several frames or slices, from 0, as the manifest names it.
        frames: frames, pages or slices of the file.
        volume: the file when it is a volume (`volumes.Volume`), else None.
        pseudonym: PatientID of a de-identified DICOM file, else empty.
        is_in_order: False for a frame that, from the lowest, does not lie where its number says; slices
            of a file without a place may belong to it in two ways.
    """

    name: str
    shape: tuple[int, int]
    plane: Plane | None = None
    uid: str = ""
    frame: int | None = None
    frames: int = 1
    volume: Any = None
    pseudonym: str = ""
    is_in_order: bool = True


def placement(name: str, data: Dataset, frame: int | None) -> Placement:
    """Returns the placement of a DICOM image, or of one of its frames."""
    shape = (int(data.Rows), int(data.Columns))
    frames = int(data.get("NumberOfFrames") or 1)
    uid = str(data.get("SOPInstanceUID", ""))
    pseudonym = pseudonym_of(data)
    plane = plane_of(data, frame)
    in_order = plane is None or frames == 1 or _is_in_order(data, plane, frame or 0, frames)
    return Placement(name, shape, plane, uid, frame, frames, None, pseudonym, in_order)


def _is_in_order(data: Dataset, plane: Plane, frame: int, frames: int) -> bool:
    """Returns True when a frame lies as far above the first one as its number says, by first and last."""
    first, last = plane_of(data, 0), plane_of(data, frames - 1)
    if first is None or last is None:
        return False
    up = plane.normal * (1 if plane.normal[2] > 0 else -1)
    step = float((last.origin - first.origin) @ up) / (frames - 1)
    return step > 0 and abs(float((plane.origin - first.origin) @ up) - frame * step) < step / 2


def plane_of(data: Dataset, frame: int | None) -> Plane | None:
    """Returns the place of an image (PS3.3 C.7.6.2) or of a frame (C.7.6.16), None when it does not say.

    Coordinates of a slide or of an ultrasound volume are not the patient's.

    Raises:
        ValueError: for directions that are not perpendicular unit vectors.
    """
    if str(data.get("UltrasoundAcquisitionGeometry", "")):
        return None
    names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    position, orientation, spacing = (value_of(data, frame, name) for name in names)
    if position is None or orientation is None or spacing is None:
        return None
    origin, along = np.array(position, dtype=float), np.array(orientation, dtype=float)
    if origin.shape != (3,) or along.shape != (6,):
        raise ValueError(f"{origin.size} numbers of a position, {along.size} of directions; expected 3 and 6")
    row, column = along[:3], along[3:]
    lengths = (float(row @ row), float(column @ column), float(row @ column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(lengths[2])) > SQUARE:
        raise ValueError(f"ImageOrientationPatient is {along.tolist()}; expected perpendicular unit vectors")
    between = value_of(data, frame, "SpacingBetweenSlices") or value_of(data, frame, "SliceThickness")
    return Plane(
        origin,
        column * float(spacing[0]),  # the second direction leads down a column, from row to row
        row * float(spacing[1]),
        (int(data.Rows), int(data.Columns)),
        abs(float(between)) if between else None,
        str(data.get("FrameOfReferenceUID", "")),
    )


def value_of(data: Dataset, frame: int | None, name: str) -> Any:
    """Returns a value of an image, or of a frame of a multi-frame one (functional groups), or None."""
    for item in (data, *groups_of(data, frame)):
        if item.get(name) not in (None, ""):
            return item.get(name)
    return None


def groups_of(data: Dataset, frame: int | None) -> Iterator[Dataset]:
    """Yields the items of a frame's functional groups, then of the groups that all frames share."""
    number = frame or 0
    groups = [*data.get("PerFrameFunctionalGroupsSequence", [])[number : number + 1]]
    groups += [*data.get("SharedFunctionalGroupsSequence", [])]
    for group in groups:
        for element in group:
            if element.VR == "SQ" and element.value:
                yield from element.value
