"""CT in DICOM becomes Hounsfield units, or is refused as something else (PS3.3 C.8.2.1, C.8.15, C.11.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import STORAGE, as_input_error, check_class, pixel_side, pixels_of, text, texts
from dgfnet.imaging.display import GREY, padding_of

CLASSES = frozenset(STORAGE + end for end in ("2", "2.1", "2.2"))
EXPECTED = "CT Image, Enhanced CT Image, or a secondary capture of CT in HU"
AIR_HU = -1000.0  # in place of padding
SHALLOW = 8  # bits: CT has 12 to 16 (C.8.2.1); so few hold a window of grey, unless the file says HU
UNSPECIFIED = "US"  # RescaleType (C.11.1.1.2)
HOUNSFIELD = "[hnsf'U]"  # UCUM
# fourth value of ImageType of multi-energy CT (C.8.2.1.1.1) that is no attenuation of what was scanned; VMI,
# as if of one keV, is
MATERIALS = (
    *("MAT_SPECIFIC", "MAT_REMOVED", "MAT_FRACTIONAL", "MAT_MODIFIED", "MAT_VALUE_BASED"),
    *("EFF_ATOMIC_NUM", "ELECTRON_DENSITY"),
)
FRAME_TYPE = "CTImageFrameTypeSequence"
TRANSFORMATION = "PixelValueTransformationSequence"
MEASURES = "PixelMeasuresSequence"


def read_tomography(path: Path, data: Dataset, frame: int | None) -> tuple[NDArray[np.float32], float | None]:
    """Returns a CT slice in HU, (height, width), and the side of a pixel in mm, or None.

    Padding becomes air.

    Raises:
        InputError: for colour, a missing frame, what is no axial picture of attenuation, or no slope and
            intercept to make HU of the stored values.
    """
    check_class(path, data, CLASSES, "CT", EXPECTED)
    stored = pixels_of(path, data, frame)
    kind = text(data.get("PhotometricInterpretation"))
    if stored.ndim != 2 or kind not in GREY:
        raise InputError(f"{path.name}: expected grey CT, found {kind}")
    if stored.dtype.kind not in "iu":
        raise InputError(
            f"{path.name}: numbers with a point (FloatPixelData); expected whole ones, as CT has"
        )
    with as_input_error(path, "its scale cannot be read"):
        _check_picture(path, data, frame)
        slope, intercept = _rescale(path, data, frame)
        _check_mapping(path, data, frame, slope, intercept)
        values = (stored * slope + intercept).astype(np.float32)
        values[padding_of(data, stored)] = AIR_HU
        spacing = _of_frame(path, data, frame, MEASURES, "PixelSpacing")
        return values, pixel_side(path, spacing, data.get("PixelAspectRatio"))


def _check_picture(path: Path, data: Dataset, frame: int | None) -> None:
    """Refuses localizers, maps of materials, projections and colour."""
    kinds = texts(_of_frame(path, data, frame, FRAME_TYPE, "FrameType") or data.get("ImageType"))
    if "LOCALIZER" in kinds:
        raise InputError(f"{path.name}: a localizer (ImageType); expected an axial slice")
    if materials := [kind for kind in kinds if kind in MATERIALS]:
        raise InputError(f"{path.name}: {materials[0]} (ImageType); expected attenuation in HU")
    allowed = {
        "PixelPresentation": ("MONOCHROME",),
        "VolumeBasedCalculationTechnique": ("NONE", "MPR"),
        "VolumetricProperties": ("VOLUME", "SAMPLED"),
    }
    for name, sound in allowed.items():
        found = text(_of_frame(path, data, frame, FRAME_TYPE, name)) or sound[0]
        if found not in sound:
            raise InputError(f"{path.name}: {name} {found}; expected {' or '.join(sound)}")
    if data.get("ModalityLUTSequence"):
        raise InputError(f"{path.name}: a ModalityLUTSequence; expected RescaleSlope and RescaleIntercept")


def _rescale(path: Path, data: Dataset, frame: int | None) -> tuple[float, float]:
    """Returns slope and intercept from stored values to HU."""
    slope, intercept, unit = (
        _of_frame(path, data, frame, TRANSFORMATION, f"Rescale{part}")
        for part in ("Slope", "Intercept", "Type")
    )
    if slope is None or intercept is None:
        raise InputError(
            f"{path.name}: no RescaleSlope and RescaleIntercept, so its values are not HU; export it again"
        )
    if float(slope) == 0:
        raise InputError(f"{path.name}: RescaleSlope is 0; expected another number, export it again")
    found = text(unit)
    if found == UNSPECIFIED and _means_hounsfield(path, data, frame):
        found = ""
    if found not in ("", "HU"):
        raise InputError(f"{path.name}: its values are in {found} (RescaleType); expected HU")
    why = {
        "multi-energy CT": text(data.get("MultienergyCTAcquisition")) == "YES",
        f"{data.BitsStored} bits": int(data.BitsStored) <= SHALLOW,
        "no CT image": str(data.get("SOPClassUID", "")) not in CLASSES,
    }
    if not found and any(why.values()):
        reason = next(text for text, applies in why.items() if applies)
        raise InputError(f"{path.name}: {reason} without a RescaleType; expected HU, export it again")
    return float(slope), float(intercept)


def _means_hounsfield(path: Path, data: Dataset, frame: int | None) -> bool:
    """Returns True where unspecified units are HU: in an original image, and in what GDCM has written.

    C.8.2.1 demands HU of an original image whatever RescaleType says. GDCM 3, and so ITK, SimpleITK and 3D
    Slicer, writes "unspecified" into every CT for which it was told nothing.
    """
    kinds = texts(_of_frame(path, data, frame, FRAME_TYPE, "FrameType") or data.get("ImageType"))
    writer = str(data.file_meta.get("ImplementationVersionName") or "")
    return kinds[:1] == ["ORIGINAL"] or writer.startswith("GDCM")


def _check_mapping(path: Path, data: Dataset, frame: int | None, slope: float, intercept: float) -> None:
    """Refuses a real-world value mapping (C.7.6.16.2.11) that says other than slope and intercept do."""
    unit = text(_of_frame(path, data, frame, TRANSFORMATION, "RescaleType"))
    for group in (*_groups(path, data, frame), data):
        for item in group.get("RealWorldValueMappingSequence") or ():
            code = str(next(iter(item.get("MeasurementUnitsCodeSequence") or [Dataset()])).get("CodeValue"))
            if code != HOUNSFIELD:
                if unit != "HU":
                    raise InputError(
                        f"{path.name}: real-world values in {code} without a RescaleType of HU; expected HU"
                    )
                continue
            line = (item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept"))
            if None in line or not np.allclose(line, (slope, intercept), rtol=1e-6):
                raise InputError(
                    f"{path.name}: HU by real-world values and by RescaleSlope differ; export it again"
                )


def _of_frame(path: Path, data: Dataset, frame: int | None, macro: str, name: str) -> Any:
    """Returns a value of an image, or of a frame of an enhanced image (PS3.3 C.7.6.16), or None."""
    for group in _groups(path, data, frame):
        for item in group.get(macro) or ():
            if name in item:
                return item.get(name)
    return data.get(name)


def _groups(path: Path, data: Dataset, frame: int | None) -> list[Dataset]:
    """Returns the functional groups of a frame: its own, then those that all frames share."""
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    frames = int(data.get("NumberOfFrames") or 1)
    if own and len(own) != frames:
        raise InputError(
            f"{path.name}: functional groups of {len(own)} frames, pixels of {frames}; copy it again"
        )
    return [*own[frame or 0 : (frame or 0) + 1], *(data.get("SharedFunctionalGroupsSequence") or [])]
