"""Files become pixels of a known scale: one function per kind of file.

`read_pair` returns what the files hold: 8-bit grey for pictures, Hounsfield units for CT from NIfTI and DICOM
(`dicom.py`), and the mask on the same grid.
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
from dgfnet.imaging import dicom, pictures, segmentation
from dgfnet.imaging.limits import scale_fault

LARGEST_VOLUME = 1_000_000_000  # voxels; 2000 slices of 512 x 512 are half of it
DEFLATE = 1032  # gzip makes data smaller by this factor at most
LABELS = 16  # values of a mask that numbers its nodules
BLURRED = 0.25  # share of grey between black and white that JPEG and scaling leave in a mask, at most
TISSUE_HU = (-1100.0, 3100.0)  # from air to the end of the 12-bit scale


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


def read_pair(image: Image) -> tuple[Pixels, NDArray[np.uint8]]:
    """Reads an image of the manifest and the mask of its nodule, (height, width), 0 or 1.

    Raises:
        InputError: naming the file, when one of them cannot be used, they differ in size, or HU are no HU.
    """
    pixels, mask = read_image(image), read_mask(image)
    if pixels.values.shape != mask.shape:
        raise InputError(
            f"{image.image.name} has {_rows_by_columns(pixels.values)} pixels (rows x columns) but its mask "
            f"{image.mask.name} has {_rows_by_columns(mask)}; export the mask on the grid of the image"
        )
    _check_scale(image, pixels, mask)
    return pixels, mask


def read_image(image: Image) -> Pixels:
    """Reads the pixels of an image of the manifest.

    Raises:
        InputError: naming the file, when it cannot be read, is not what its modality needs, or names a
            person.
    """
    path, kind = image.image, _kind(image.image)
    if kind == "picture":
        return Pixels(pictures.read_grey(path, image.slice), "grey", None)
    if kind == "nifti":
        if image.modality == "us":
            raise InputError(f"{path.name}: US images are read from pictures or DICOM, not NIfTI")
        values, spacing = _read_nifti(path, image.slice)
        return Pixels(values, "HU", spacing)
    data = dicom.open_file(path)
    if image.modality == "us":
        grey, spacing_mm = dicom.read_ultrasound(path, data, image.slice)
        return Pixels(grey, "grey", spacing_mm)
    units, spacing_mm = dicom.read_tomography(path, data, image.slice)
    return Pixels(units, "HU", spacing_mm)


def read_as_shown(image: Image) -> NDArray[np.uint8]:
    """Reads a US image as displayed: (height, width) grey, or (height, width, 3) where it has colour.

    Raises:
        InputError: naming the file, when it cannot be read or names a person.
    """
    if _kind(image.image) == "dicom":
        return dicom.read_as_shown(image.image, dicom.open_file(image.image), image.slice)
    pixels = pictures.decode(image.image, image.slice)
    return pixels[:, :, :3] if pixels.ndim == 3 else pixels


def read_mask(image: Image) -> NDArray[np.uint8]:
    """Reads the mask of the nodule, (height, width), 0 or 1.

    A picture may hold 0 and 1 or 0 and 255; grey in between comes from JPEG and scaling, above 127 is nodule.

    Raises:
        InputError: when it is empty, unreadable, or full of grey values that no mask has.
    """
    kind = _kind(image.mask)
    if kind == "picture":
        mask = _of_picture(image)
    elif kind == "nifti":
        mask = (_read_nifti(image.mask, image.slice)[0] > 0).astype(np.uint8)
    else:
        data = dicom.open_file(image.mask)
        mask = segmentation.read_segmentation(image.mask, data, image.image, image.slice)
    if not mask.any():
        raise InputError(
            f"{image.mask.name}{_at(image)}: the mask is empty on {image.image.name}; expected nonzero "
            f"pixels on the nodule"
        )
    if mask.all():
        raise InputError(
            f"{image.mask.name}{_at(image)}: the mask covers the whole image; expected the nodule alone"
        )
    return mask


def _check_scale(image: Image, pixels: Pixels, mask: NDArray[np.uint8]) -> None:
    """Refuses CT whose nodule has values that no tissue has: slope or intercept were lost on the way."""
    if pixels.unit != "HU":
        return
    median = float(np.median(pixels.values[mask > 0]))
    if not TISSUE_HU[0] <= median <= TISSUE_HU[1]:
        raise InputError(
            f"{image.image.name}{_at(image)}: {median:g} HU in the middle of the nodule, expected "
            f"{TISSUE_HU[0]:g} to {TISSUE_HU[1]:g}; check the slope and intercept of the export"
        )


def _of_picture(image: Image) -> NDArray[np.uint8]:
    values = pictures.read_grey(image.mask, image.slice)
    if values.max(initial=0) <= 127:  # labels 0, 1, 2 ...: several nodules drawn in one mask are one region
        drawn, mask = np.unique(values).size <= LABELS, values > 0
    else:
        between = cv2.countNonZero(cv2.inRange(values, np.array(33), np.array(223)))
        drawn, mask = between < BLURRED * values.size, values > 127
    if not drawn:
        raise InputError(
            f"{image.mask.name}: grey values all over; that is a picture, expected a mask of 0 and 1 or 255"
        )
    return mask.astype(np.uint8)


def _at(image: Image) -> str:
    return "" if image.slice is None else f" slice {image.slice}"


def _kind(path: Path) -> Literal["picture", "nifti", "dicom"]:
    name = path.name.lower()
    if path.suffix.lower() in pictures.PICTURES:
        return "picture"
    if name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if path.suffix.lower() in {".dcm", ".dicom", ".ima", ""} or path.suffix[1:].isdigit():
        return "dicom"  # many archives number their files instead of naming them
    raise InputError(
        f"{path.name}: unknown kind of file; expected PNG, JPEG, TIFF, DICOM (.dcm) or NIfTI (.nii, .nii.gz)"
    )


@lru_cache(maxsize=4)  # the slices of a nodule are read one after another
def _load_nifti(path: Path) -> tuple[NDArray[np.float32], float]:
    try:
        stored: Any = nib.load(path)
        _check_volume(path, stored.shape, stored.get_data_dtype())
        volume: Any = nib.as_closest_canonical(stored)  # type: ignore[no-untyped-call]
        values = np.asarray(volume.dataobj, dtype=np.float32)
        zooms = volume.header.get_zooms()
    except InputError:
        raise
    except Exception as error:  # nibabel raises many kinds for a broken file
        raise InputError(f"{path.name}: cannot be read as NIfTI ({dicom.short(error)})") from None
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(f"{path.name}: expected a 3-D volume, found shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(
            f"{path.name}: {np.count_nonzero(~np.isfinite(values))} voxels are no finite numbers"
        )
    rows, columns = float(zooms[1]), float(zooms[0])
    fault = scale_fault(rows, columns)
    if fault:
        raise InputError(f"{path.name}: {fault}")
    return values, columns


def _check_volume(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Refuses by its header what is no volume of numbers, or claims more than the file can hold."""
    size = "x".join(str(side) for side in shape)
    if kind.kind not in "iuf":
        raise InputError(f"{path.name}: voxels of several numbers each ({kind}); expected one HU each")
    voxels = int(np.prod(shape, dtype=object))
    if voxels * kind.itemsize > path.stat().st_size * (DEFLATE if path.suffix.lower() == ".gz" else 1):
        raise InputError(f"{path.name}: claims {size} voxels, more than the file can hold; copy it again")
    if voxels > LARGEST_VOLUME:
        raise InputError(f"{path.name}: {size} voxels; expected at most {LARGEST_VOLUME // 10**6} million")


def _read_nifti(path: Path, index: int | None) -> tuple[NDArray[np.float32], float]:
    """Reads an axial slice as displayed: rows run to posterior, columns from the patient's right to left."""
    values, spacing = _load_nifti(path)
    if index is None and values.shape[2] > 1:
        raise InputError(f"{path.name}: {values.shape[2]} slices; name one in the column slice of images.csv")
    index = index or 0
    if index >= values.shape[2]:
        raise InputError(
            f"{path.name}: slice {index} asked for, the volume has {values.shape[2]} (0 is the lowest)"
        )
    return np.ascontiguousarray(values[::-1, ::-1, index].T), spacing


def _rows_by_columns(values: NDArray[np.generic]) -> str:
    return f"{values.shape[0]}x{values.shape[1]}"
