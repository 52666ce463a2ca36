"""Files become pixels of a known scale: one function per kind of file.

`read_image` returns what the file holds: 8-bit grey for pictures, Hounsfield units for CT from NIfTI and
DICOM.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.records import Image
from dgfnet.errors import InputError

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Pixels:
    """Pixels of one image.

    Attributes:
        values: (height, width); uint8 when `unit` is grey, float32 when it is HU.
        unit: grey (0-255 as displayed) or HU.
        spacing_mm: side of a pixel as the file says, None when it does not.
    """

    values: NDArray[Any]
    unit: Literal["grey", "HU"]
    spacing_mm: float | None


def read_image(image: Image) -> Pixels:
    """Pixels of an image of the manifest.

    Raises:
        InputError: naming the file, when it cannot be read or is not what its modality needs.
    """
    kind = _kind(image.image)
    if kind == "picture":
        return Pixels(_read_picture(image.image), "grey", None)
    if kind == "nifti":
        values, spacing = _read_nifti(image.image, image.slice)
        if image.modality == "us":
            raise InputError(f"{image.image.name}: US images are read from pictures or DICOM, not NIfTI")
        return Pixels(values, "HU", spacing)
    return _read_dicom(image.image, image.modality)


def read_mask(image: Image) -> NDArray[np.uint8]:
    """Mask of the nodule, (height, width), 0 or 1.

    Raises:
        InputError: when it is empty, unreadable, or grey values suggest that it is not a mask.
    """
    kind = _kind(image.mask)
    if kind == "dicom":
        raise InputError(f"{image.mask.name}: masks are read from pictures or NIfTI; convert the DICOM mask")
    values = _read_picture(image.mask) if kind == "picture" else _read_nifti(image.mask, image.slice)[0]
    mask = (values > 127 if kind == "picture" and values.max(initial=0) > 127 else values > 0).astype(
        np.uint8
    )
    if not mask.any():
        raise InputError(
            f"{image.mask.name}{_at(image)}: the mask is empty; expected nonzero pixels on the nodule"
        )
    return mask


def _at(image: Image) -> str:
    return "" if image.slice is None else f" slice {image.slice}"


def _kind(path: Path) -> Literal["picture", "nifti", "dicom"]:
    name = path.name.lower()
    if path.suffix.lower() in PICTURES:
        return "picture"
    if name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if path.suffix.lower() in {".dcm", ".dicom", ""}:
        return "dicom"
    raise InputError(
        f"{path.name}: unknown kind of file; expected PNG, JPEG, TIFF, DICOM (.dcm) or NIfTI (.nii, .nii.gz)"
    )


def _read_picture(path: Path) -> NDArray[np.uint8]:
    raw = np.fromfile(path, dtype=np.uint8)  # not cv2.imread: it cannot open every file name
    pixels = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if raw.size else None
    if pixels is None:
        raise InputError(f"{path.name}: cannot be decoded; the file is truncated or not a picture")
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{path.name}: {pixels.dtype} pixels, expected 8 bit; export with the window you read it in"
        )
    if pixels.ndim == 3:
        colour = cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY
        pixels = cv2.cvtColor(pixels, colour)
    return np.asarray(pixels, dtype=np.uint8)


@lru_cache(maxsize=4)  # the slices of a nodule are read one after another
def _load_nifti(path: Path) -> tuple[NDArray[np.float32], float]:
    try:
        volume: Any = nib.as_closest_canonical(nib.load(path))  # type: ignore[no-untyped-call]
        values = np.asarray(volume.dataobj, dtype=np.float32)
        zooms = volume.header.get_zooms()
    except Exception as error:  # nibabel raises many kinds for a broken file
        raise InputError(f"{path.name}: cannot be read as NIfTI ({error})") from None
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or not np.isfinite(values).all():
        raise InputError(f"{path.name}: expected a finite 3-D volume, found shape {values.shape}")
    return values, float(zooms[0])


def _read_nifti(path: Path, index: int | None) -> tuple[NDArray[np.float32], float]:
    """An axial slice as displayed: rows run to posterior, columns from the patient's right to left."""
    values, spacing = _load_nifti(path)
    if index is None and values.shape[2] > 1:
        raise InputError(f"{path.name}: {values.shape[2]} slices; name one in the column slice of images.csv")
    index = index or 0
    if index >= values.shape[2]:
        raise InputError(
            f"{path.name}: slice {index} asked for, the volume has {values.shape[2]} (0 is the lowest)"
        )
    return np.ascontiguousarray(values[::-1, ::-1, index].T), spacing


def _read_dicom(path: Path, modality: str) -> Pixels:
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels.processing import apply_rescale

    try:
        data = pydicom.dcmread(path)
        stored = data.pixel_array
    except (
        InvalidDicomError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        raise InputError(f"{path.name}: cannot be read as DICOM ({error})") from None
    spacing = data.get("PixelSpacing")
    side = float(spacing[0]) if spacing else None
    if modality == "ct":
        if stored.ndim != 2:
            raise InputError(f"{path.name}: expected one grey CT slice, found shape {stored.shape}")
        return Pixels(np.asarray(apply_rescale(stored, data), dtype=np.float32), "HU", side)
    if stored.ndim == 3 and stored.shape[2] == 3 and data.PhotometricInterpretation == "RGB":
        stored = cv2.cvtColor(np.ascontiguousarray(stored), cv2.COLOR_RGB2GRAY)
    if stored.ndim != 2 or stored.dtype != np.uint8 or data.PhotometricInterpretation == "MONOCHROME1":
        raise InputError(
            f"{path.name}: {data.PhotometricInterpretation} {stored.dtype} {stored.shape}; "
            f"expected one 8-bit grey or RGB frame"
        )
    return Pixels(stored, "grey", side)
