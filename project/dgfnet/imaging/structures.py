"""DICOM structure sets (RTSTRUCT) become masks: each contour on the slice on which it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, eq=False)
class _Contour:
    """A contour: its kind, points (points, 3) in mm (LPS), and the images that it says it was drawn on."""

    kind: str
    points: drawing.Points
    images: frozenset[str]


def read(path: Path, data: Dataset, plane: Plane, picture_uid: str | None) -> list[Region]:
    """Returns a region per structure (ROI), drawn on this slice or not, each (rows, columns).

    A pixel is inside when its centre is, or lies on a contour (PS3.3 C.8.8.6.3).

    Args:
        path: of the file, for messages.
        data: the data set of an RTSTRUCT, as `dicom.open_file` returns it.
        plane: the slice in the patient's coordinate system.
        picture_uid: SOP instance UID of an image that is this slice alone; None when it has others too.

    Raises:
        InputError: when the file cannot be read, was drawn in another frame of reference or has no structure,
            and when a contour says that it was drawn on this image and lies elsewhere.
    """
    with as_input_error(path, "cannot be used as RTSTRUCT"):
        structures = list(data.get("StructureSetROISequence") or [])
        drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or []}
        frames = {str(item.get("ReferencedFrameOfReferenceUID", "")) for item in structures}
        regions = [
            _region(
                item, drawn.get(int(item.ROINumber)), _codes(data, int(item.ROINumber)), plane, picture_uid
            )
            for item in structures
        ]
    if not regions:
        raise InputError(f"{path.name}: no structures in it; expected an outline of the nodule")
    if plane.frame_of_reference not in frames:
        raise InputError(
            f"{path.name}: drawn in the frame of reference {', '.join(sorted(frames))}, but the image has "
            f"{plane.frame_of_reference or 'none'}; expected contours of that image's study"
        )
    return regions


def _region(
    item: Dataset, drawn: Dataset | None, codes: tuple[str, ...], plane: Plane, picture_uid: str | None
) -> Region:
    number, name = int(item.ROINumber), str(item.get("ROIName", "")).strip()
    mask, fault = np.zeros(plane.shape, dtype=np.bool_), ""
    if str(item.get("ReferencedFrameOfReferenceUID", "")) != plane.frame_of_reference:
        fault = "is drawn in another frame of reference than the image"
    else:
        contours = list(_contours(drawn)) if drawn is not None else []
        on_slice = [one for one in contours if _lies_on(one, plane, picture_uid, name or str(number))]
        fault = _fault(contours, on_slice, plane)
        if not fault:
            rings = [_pixels(one.points, plane) for one in on_slice if one.kind in AREAS]
            mask = drawing.polygons(rings, plane.shape, drawing.CENTRES, outline=True)
    return Region(number, name, mask, codes, fault)


def _contours(drawn: Dataset) -> Iterator[_Contour]:
    for item in drawn.get("ContourSequence") or []:
        points = np.asarray(item.ContourData, dtype=np.float64)
        said = int(item.get("NumberOfContourPoints") or points.size // 3)
        if points.ndim != 1 or points.size != 3 * said or not points.size:
            raise ValueError(f"a contour of {points.size} coordinates that has {said} points")
        if not (abs(points) < drawing.FARTHEST).all():  # NaN neither
            raise ValueError("a contour whose coordinates are no millimetres")
        images = item.get("ContourImageSequence") or []
        named = {str(one.ReferencedSOPInstanceUID) for one in images if "ReferencedFrameNumber" not in one}
        yield _Contour(str(item.get("ContourGeometricType", "")), points.reshape(-1, 3), frozenset(named))


def _lies_on(contour: _Contour, plane: Plane, picture_uid: str | None, name: str) -> bool:
    distances = _distances(contour, plane)
    on = bool((abs(distances) < _tolerance(plane)).all())
    if not on and picture_uid in contour.images:
        far = abs(distances).max()
        raise ValueError(f"region {name!r} has a contour that names this image, but lies {far:.3g} mm off it")
    return on


def _fault(contours: Sequence[_Contour], on_slice: Sequence[_Contour], plane: Plane) -> str:
    """Returns why the area of a region on a slice is unknown; empty when it is known."""
    kinds = sorted({one.kind for one in contours})
    if contours and not any(kind in AREAS for kind in kinds):
        return f"is drawn as {', '.join(kinds)}, which is no area; expected closed contours"
    lines = sorted({one.kind for one in on_slice} - AREAS - {"POINT"})
    if lines:
        return f"is drawn as {', '.join(lines)} on this slice, which is no area; expected closed contours"
    crossing = (_distances(one, plane) for one in contours if one not in on_slice)
    if any(each.min() < _tolerance(plane) and each.max() > -_tolerance(plane) for each in crossing):
        return "has a contour that crosses this slice; expected contours drawn on its plane"
    return ""


def _tolerance(plane: Plane) -> float:
    return max(ON_PLANE, SHARE * (plane.thickness or 0))


def _distances(contour: _Contour, plane: Plane) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns (points,) distances from the plane, mm, positive on one side."""
    return np.asarray((contour.points - plane.origin) @ plane.normal)


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
