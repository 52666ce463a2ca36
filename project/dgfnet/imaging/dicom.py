"""DICOM files become pixels: ultrasound in grey, CT in Hounsfield units.

A file that still names a person is refused, image or mask.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from dgfnet.errors import InputError
from dgfnet.imaging.limits import LARGEST, SAME, scale_fault, too_large

CENTIMETRES = 3  # PhysicalUnitsXDirection (PS3.3 C.8.5.5.1.15)
TISSUE = 1  # RegionSpatialFormat of a 2-D image (PS3.3 C.8.5.5.1.1)

# Direct identifiers among the attributes that the Basic Application Level Confidentiality Profile removes or
# replaces (DICOM PS3.15, table E.1-1)
IDENTITY = (
    *(
        "PatientName",
        "PatientBirthDate",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "PatientMotherBirthName",
    ),
    *("OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "MilitaryRank", "MedicalRecordLocator"),
    *("AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"),
    *("IssuerOfPatientID", "ResponsibleOrganization", "InstitutionalDepartmentName", "PatientComments"),
    *("InstitutionName", "InstitutionAddress", "RequestingPhysician", "NameOfPhysiciansReadingStudy"),
)
# what pydicom raises for a broken file, most of it only when the broken element is asked for
UNREADABLE = (
    *(InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ArithmeticError),
    *(ValueError, OSError, EOFError, LookupError, TypeError, struct.error, BytesLengthException),
)


def open_file(path: Path) -> Dataset:
    """Reads the data set of a DICOM file.

    Raises:
        InputError: when the file is not DICOM, or names a person or a place.
    """
    with as_input_error(path, "cannot be read as DICOM"):
        data = pydicom.dcmread(path)
        names = identity(data)
    if names:
        raise InputError(
            f"{path.name}: names a person or a place ({', '.join(names)}); de-identify it by the basic "
            f"profile of DICOM PS3.15 and set PatientIdentityRemoved to YES"
        )
    return data


def identity(data: Dataset) -> list[str]:
    """Returns the keywords of the attributes that name a person or a place; none for a de-identified file.

    Every person's name counts (VR PN), wherever it stands, and the identifiers of IDENTITY.
    PatientID counts unless the file says that identity was removed (PatientIdentityRemoved is YES): a
    pseudonym stands in the same attribute as a hospital's number.
    """
    keywords = dict.fromkeys(
        element.keyword or str(element.tag)
        for element in data.iterall()  # nested sequences too: originals are kept there
        if (element.VR == "PN" or element.keyword in IDENTITY) and str(element.value or "").strip()
    )
    removed = str(data.get("PatientIdentityRemoved", "")).upper() == "YES"
    return [*keywords, *(["PatientID"] if data.get("PatientID") and not removed else [])]


def read_ultrasound(path: Path, data: Dataset, frame: int | None) -> tuple[NDArray[np.uint8], float | None]:
    """Returns grey pixels (height, width), 0-255 as displayed, and the side of a pixel, mm, or None.

    Raises:
        InputError: for pixels that are not 8 bit, a missing frame, or a scale that differs by direction.
    """
    stored = read_as_shown(path, data, frame)
    if stored.ndim == 3:
        stored = np.asarray(cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    with as_input_error(path, "its scale cannot be read"):
        return np.ascontiguousarray(stored), _calibration(path, data) or _spacing(path, data)


def read_as_shown(path: Path, data: Dataset, frame: int | None) -> NDArray[np.uint8]:
    """Returns 8-bit pixels as displayed: (height, width) grey or (height, width, 3) red first.

    Raises:
        InputError: for pixels that are not 8 bit or a missing frame.
    """
    stored = pixels_of(path, data, frame)
    with as_input_error(path, "its pixels cannot be decoded"):
        kind, bits = str(data.PhotometricInterpretation), int(data.BitsStored)
        if kind == "PALETTE COLOR":
            stored = apply_color_lut(stored, data)
            stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
    if stored.dtype != np.uint8 or bits != 8:
        raise InputError(f"{path.name}: {kind} with {bits} bits; expected 8-bit ultrasound")
    # pydicom has turned YBR into RGB; in MONOCHROME1 0 is white
    return np.ascontiguousarray(255 - stored if kind == "MONOCHROME1" else stored)


def read_tomography(path: Path, data: Dataset, frame: int | None) -> tuple[NDArray[np.float32], float | None]:
    """Returns a CT slice in HU, (height, width), and the side of a pixel in mm, or None.

    Raises:
        InputError: for colour, a missing frame, or no slope and intercept to make HU of the stored values.
    """
    stored = pixels_of(path, data, frame)
    if stored.ndim != 2:
        raise InputError(f"{path.name}: expected grey CT, found {data.PhotometricInterpretation}")
    with as_input_error(path, "its scale cannot be read"):
        slope, intercept = (_of_frame(data, frame, name) for name in ("RescaleSlope", "RescaleIntercept"))
        if slope is None or intercept is None:
            raise InputError(
                f"{path.name}: no RescaleSlope and RescaleIntercept, so its values are not HU; "
                f"export it again"
            )
        return stored.astype(np.float32) * float(slope) + float(intercept), _spacing(path, data, frame)


def pixels_of(path: Path, data: Dataset, frame: int | None) -> NDArray[Any]:
    """Decodes the pixels of a frame, (height, width) or (height, width, 3) in RGB."""
    with as_input_error(path, "its pixels cannot be decoded"):
        if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise InputError(f"{path.name}: no pixels in it; expected an image, export or copy it again")
        frames = int(data.get("NumberOfFrames") or 1)
        if frame is None and frames > 1:
            raise InputError(
                f"{path.name}: {frames} frames; name one (0 is the first) in the column slice of images.csv"
            )
        if (frame or 0) >= frames:
            raise InputError(f"{path.name}: frame {frame} asked for, the file has {frames} (0 is the first)")
        if int(data.get("Rows") or 0) * int(data.get("Columns") or 0) > LARGEST:  # before memory is taken
            raise InputError(too_large(path))
        return np.asarray(pixel_array(data, index=frame or 0))


def _of_frame(data: Dataset, frame: int | None, name: str) -> Any:
    """Returns a value of an image, or of a frame of an enhanced image (PS3.3 C.7.6.16), or None."""
    if name in data:
        return data.get(name)
    groups = [*data.get("PerFrameFunctionalGroupsSequence", [])[frame or 0 : (frame or 0) + 1]]
    groups += [*data.get("SharedFunctionalGroupsSequence", [])]
    for group in groups:
        for macro in ("PixelValueTransformationSequence", "PixelMeasuresSequence"):
            for item in group.get(macro, []):
                if name in item:
                    return item.get(name)
    return None


def _spacing(path: Path, data: Dataset, frame: int | None = None) -> float | None:
    values = _of_frame(data, frame, "PixelSpacing")
    if not values:
        return None
    if not isinstance(values, MultiValue) or len(values) != 2:
        raise InputError(f"{path.name}: PixelSpacing is {values}; expected two numbers, of rows and columns")
    return _side(path, float(values[0]), float(values[1]))


def _calibration(path: Path, data: Dataset) -> float | None:
    """Returns the scale of an ultrasound image's calibrated 2-D regions, or None if they differ or lack."""
    sides = [
        _side(path, 10 * abs(float(item.PhysicalDeltaY)), 10 * abs(float(item.PhysicalDeltaX)))
        for item in data.get("SequenceOfUltrasoundRegions", [])
        if item.get("RegionSpatialFormat") == TISSUE
        and item.get("PhysicalUnitsXDirection") == item.get("PhysicalUnitsYDirection") == CENTIMETRES
        and "PhysicalDeltaX" in item
        and "PhysicalDeltaY" in item
    ]
    return sides[0] if sides and max(sides) <= min(sides) * (1 + SAME) else None


def _side(path: Path, rows: float, columns: float) -> float:
    fault = scale_fault(rows, columns)
    if fault:
        raise InputError(f"{path.name}: {fault}")
    return rows


@contextmanager
def as_input_error(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a broken file makes a library raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path.name}: {what} ({short(error)})") from None


def short(error: BaseException) -> str:
    """Returns the first line of a library's message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
