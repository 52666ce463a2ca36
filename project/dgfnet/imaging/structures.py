"""DICOM structure sets (RTSTRUCT) become masks: each contour on the slice on which it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging import drawing
from dgfnet.imaging.dicom import as_input_error
from dgfnet.imaging.geometry import Plane
from dgfnet.imaging.labels import Region

# Contour Geometric Type of areas (PS3.3 C.8.8.6.1). Contours of the second kind are combined by exclusive or
# (C.8.8.6.3); of the first the standard does not say, and holes are written so before and beside the second
AREAS = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
ON_PLANE = 0.1  # mm; a contour nearer to a slice lies on it, as coordinates are written rounded ...
SHARE = 0.1  # ... or nearer than this share of the thickness


class OtherFrame(InputError):
    """A structure set that was drawn in another frame of reference than its image has."""


@dataclass(frozen=True, eq=False)
class Contour:
    """A contour: its kind, points (points, 3) in mm (LPS), and the images that it says it was drawn on."""

    kind: str
    points: drawing.Points
    images: frozenset[str]


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure (ROI): number, name, codes, the frame of reference of its contours, and these."""

    number: int
    name: str
    codes: tuple[str, ...]
    frame_of_reference: str
    contours: tuple[Contour, ...]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """A DICOM structure set, and the file that it came from."""

    path: Path
    structures: tuple[Structure, ...]


def open_structures(path: Path, data: Dataset) -> StructureSet:
    """Reads all structures and contours of a structure set; slices are asked for one by one.

    Args:
        path: of the file, for messages.
        data: the data set of an RTSTRUCT, as `dicom.open_file` returns it.

    Raises:
        InputError: when it says them wrongly, or has none.
    """
    with as_input_error(path, "cannot be used as RTSTRUCT"):
        drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or []}
        structures = tuple(
            Structure(
                int(item.ROINumber),
                str(item.get("ROIName", "")).strip(),
                _codes(data, int(item.ROINumber)),
                str(item.get("ReferencedFrameOfReferenceUID", "")),
                tuple(_contours(drawn.get(int(item.ROINumber)))),
            )
            for item in data.get("StructureSetROISequence") or []
        )
    if not structures:
        raise InputError(f"{path.name}: no structures in it; expected an outline of the nodule")
    return StructureSet(path, structures)


def read(path: Path, data: Dataset, plane: Plane, picture_uid: str | None) -> list[Region]:
    """Opens a structure set and returns its regions on a slice (`open_structures`, `regions_on`)."""
    return regions_on(open_structures(path, data), plane, picture_uid)


def regions_on(opened: StructureSet, plane: Plane, picture_uid: str | None) -> list[Region]:
    """Returns a region per structure, drawn on this slice or not, each (rows, columns).

    NIfTI and its like have no frame of reference: there the coordinates alone count.
    A pixel is inside when its centre is, or lies on a contour (PS3.3 C.8.8.6.3).

    Args:
        opened: the structure set.
        plane: the slice in the patient's coordinate system.
        picture_uid: SOP instance UID of an image that is this slice alone; None when it has others too.

    Raises:
        InputError: when the set was drawn in another frame of reference, and when a contour says that it was
            drawn on this image and lies elsewhere.
    """
    frames = {structure.frame_of_reference for structure in opened.structures}
    if plane.frame_of_reference and plane.frame_of_reference not in frames:
        raise OtherFrame(
            f"{opened.path.name}: drawn in the frame of reference {', '.join(sorted(frames))}, but the image "
            f"has {plane.frame_of_reference}; expected contours of that image's study"
        )
    with as_input_error(opened.path, "cannot be used as RTSTRUCT"):
        return [_region(structure, plane, picture_uid) for structure in opened.structures]


def _region(structure: Structure, plane: Plane, picture_uid: str | None) -> Region:
    mask, fault = np.zeros(plane.shape, dtype=np.bool_), ""
    if plane.frame_of_reference and structure.frame_of_reference != plane.frame_of_reference:
        fault = "is drawn in another frame of reference than the image"
    else:
        on_slice, crossing = _near(structure, plane, picture_uid)
        fault = _fault(structure, on_slice, crossing)
        if not fault:
            rings = [_pixels(one.points, plane) for one in on_slice if one.kind in AREAS]
            mask = drawing.polygons(rings, plane.shape, drawing.CENTRES, outline=True)
    return Region(structure.number, structure.name, mask, structure.codes, fault)


def _contours(drawn: Dataset | None) -> Iterator[Contour]:
    for item in (drawn or Dataset()).get("ContourSequence") or []:
        points = np.asarray(item.ContourData, dtype=np.float64)
        said = int(item.get("NumberOfContourPoints") or points.size // 3)
        if points.ndim != 1 or points.size != 3 * said or not points.size:
            raise ValueError(f"a contour of {points.size} coordinates that has {said} points")
        if not (abs(points) < drawing.FARTHEST).all():  # NaN neither
            raise ValueError("a contour whose coordinates are no millimetres")
        images = item.get("ContourImageSequence") or []
        named = {str(one.ReferencedSOPInstanceUID) for one in images if "ReferencedFrameNumber" not in one}
        yield Contour(str(item.get("ContourGeometricType", "")), points.reshape(-1, 3), frozenset(named))


def _near(structure: Structure, plane: Plane, picture_uid: str | None) -> tuple[list[Contour], bool]:
    """Returns the contours that lie on a slice, and whether one crosses it."""
    tolerance = max(ON_PLANE, SHARE * (plane.thickness or 0))
    normal, on_slice, crossing = plane.normal, [], False
    for contour in structure.contours:
        distances = (contour.points - plane.origin) @ normal  # mm, positive on one side
        low, high = float(distances.min()), float(distances.max())
        if -tolerance < low and high < tolerance:
            on_slice.append(contour)
        elif picture_uid in contour.images:
            raise ValueError(
                f"region {structure.name or structure.number} has a contour that names this image, but lies "
                f"{max(-low, high):.3g} mm off it"
            )
        else:
            crossing |= low < tolerance and high > -tolerance
    return on_slice, crossing


def _fault(structure: Structure, on_slice: Sequence[Contour], crossing: bool) -> str:
    """Returns why the area of a region on a slice is unknown; empty when it is known."""
    kinds = sorted({one.kind for one in structure.contours})
    if kinds and AREAS.isdisjoint(kinds):
        return f"is drawn as {', '.join(kinds)}, which is no area; expected closed contours"
    lines = sorted({one.kind for one in on_slice} - AREAS - {"POINT"})
    if lines:
        return f"is drawn as {', '.join(lines)} on this slice, which is no area; expected closed contours"
    return "has a contour that crosses this slice; expected contours drawn on its plane" if crossing else ""


def _pixels(points: drawing.Points, plane: Plane) -> drawing.Points:
    """Returns (points, 2) columns and rows, whole numbers at the centres of pixels, of points in mm."""
    return np.asarray((points - plane.origin) @ np.linalg.pinv(np.stack([plane.right, plane.down])))


def _codes(data: Dataset, number: int) -> tuple[str, ...]:
    """Returns what the observations of a structure call it: its interpreted type, label and codes."""
    codes: list[str] = []
    for item in data.get("RTROIObservationsSequence") or []:
        if int(item.get("ReferencedROINumber", -1)) != number:
            continue
        codes += [str(item.get(name) or "") for name in ("RTROIInterpretedType", "ROIObservationLabel")]
        for code in item.get("RTROIIdentificationCodeSequence") or []:
            codes += [f"{code.get('CodingSchemeDesignator', '')}:{code.get('CodeValue', '')}"]
            codes += [str(code.get("CodeMeaning", ""))]
    return tuple(dict.fromkeys(code for code in codes if code))
