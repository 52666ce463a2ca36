"""Images and masks of the manifest become pixels of a known scale.

`read_pair` returns what the files hold: 8-bit grey for pictures, Hounsfield units for CT from volumes and
DICOM, and the mask of the nodule on the same pixels. Which kinds of file there are, and how one is laid on
another, is in the room `imaging`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.imaging import dicom, masks, pictures, tomography, ultrasound
from dgfnet.imaging.kinds import kind_of
from dgfnet.imaging.limits import scale_fault
from dgfnet.imaging.masks import Match, load_volume
from dgfnet.imaging.places import Placement, placement
from dgfnet.imaging.volumes import shown, slices

TISSUE_HU = (-1100.0, 3100.0)  # from air to the end of the 12-bit scale


@dataclass(frozen=True)
class Pixels:
    """Pixels of one image.

    Attributes:
        values: (height, width); uint8 when `unit` is grey, float32 when it is HU.
        unit: grey (0-255 as displayed) or HU.
        spacing_mm: side of a pixel as the file says, of US in the region that holds the nodule; None when it
            does not say.
        match: how the mask was laid on the image (`imaging.masks.Mask`); of `read_pair` alone.
        label: the nodule's value in the mask file, as there; of `read_pair` alone.
    """

    values: NDArray[Any]
    unit: Literal["grey", "HU"]
    spacing_mm: float | None
    match: Match = "pixels"
    label: int | None = None


def read_pair(image: Image) -> tuple[Pixels, NDArray[np.uint8]]:
    """Reads an image of the manifest and the mask of its nodule, (height, width), 0 or 1.

    Of an image with a box instead, the mask is the filled box.

    Raises:
        InputError: naming the file, when one of them cannot be used, they do not fit, or HU are no HU.
    """
    pixels, place, data = _open(image)
    if image.box is None:
        mask = masks.read_mask(image.mask, place, image.segment, image.resample)
    else:
        mask = masks.Mask(image.box.filled(pixels.values.shape, image.image.name), "pixels", None)
    _check_scale(image, pixels, mask.values)
    spacing = pixels.spacing_mm
    if data is not None and image.modality == "us":
        x, y, width, height = cv2.boundingRect(mask.values)
        spacing = ultrasound.scale(image.image, data, (x, y, width, height))
    return replace(pixels, spacing_mm=spacing, match=mask.match, label=mask.label), mask.values


def read_image(image: Image) -> Pixels:
    """Reads the pixels of an image of the manifest.

    Raises:
        InputError: naming the file, when it cannot be read, is not what its modality needs, or names a
            person.
    """
    return _open(image)[0]


def read_as_shown(image: Image) -> NDArray[np.uint8]:
    """Reads a US image as displayed: (height, width) grey, or (height, width, 3) where it has colour.

    Raises:
        InputError: naming the file, when it cannot be read or names a person.
    """
    if kind_of(image.image) == "dicom":
        return ultrasound.read_as_shown(image.image, dicom.open_file(image.image), image.slice)
    pixels = pictures.decode(image.image, image.slice)
    return pixels[:, :, :3] if pixels.ndim == 3 else pixels


def read_mask(image: Image) -> NDArray[np.uint8]:
    """Reads the mask of the nodule, (height, width), 0 or 1; of the image only what the mask is laid on.

    Raises:
        InputError: naming the file, when it cannot be used.
    """
    path = image.image
    if kind_of(path) == "picture":
        place = _of_picture(path, pictures.shape_of(path, image.slice), image.slice)
    elif kind_of(path) == "dicom":
        place = _of_dicom(image)[1]
    else:
        place = _of_volume(path, image.slice)[1]
    return masks.read_mask(image.mask, place, image.segment, image.resample).values


def _open(image: Image) -> tuple[Pixels, Placement, Dataset | None]:
    """Reads the pixels of an image, what is known of their place, and of DICOM the data set."""
    path, kind = image.image, kind_of(image.image)
    if kind == "picture":
        grey = pictures.read_grey(path, image.slice)
        return Pixels(grey, "grey", None), _of_picture(path, grey.shape, image.slice), None
    if kind == "dicom":
        data, place = _of_dicom(image)
        if image.modality == "us":
            grey, spacing_mm = ultrasound.read_ultrasound(path, data, _frame(place))
            return Pixels(grey, "grey", spacing_mm), place, data
        units, spacing_mm = tomography.read_tomography(path, data, _frame(place))
        return Pixels(units, "HU", spacing_mm), place, data
    if kind == "annotation":
        raise InputError(f"{path.name}: an annotation, expected an image")
    if image.modality == "us":
        raise InputError(
            f"{path.name}: US images are read from pictures or DICOM, not NIfTI, NRRD or MetaImage"
        )
    return (*_of_volume(path, image.slice), None)


def _of_picture(path: Path, shape: tuple[int, ...], index: int | None) -> Placement:
    return Placement(path.name, (shape[0], shape[1]), None, "", index, pictures.pages_of(path, index))


def _of_dicom(image: Image) -> tuple[Dataset, Placement]:
    path, index = image.image, image.slice
    data = dicom.open_file(path) if image.held is None else image.held
    with dicom.as_input_error(path, "its place cannot be read"):
        if "Rows" not in data or "Columns" not in data:
            raise InputError(f"{path.name}: no pixels in it; expected an image, export or copy it again")
        return data, placement(path.name, data, index)


def _frame(place: Placement) -> int | None:
    """Returns the frame of a file: `slice` names one of the mask beside a file with one frame."""
    return place.frame if place.frames > 1 else None


def _of_volume(path: Path, index: int | None) -> tuple[Pixels, Placement]:
    volume = load_volume(path)
    count = slices(volume)
    if index is None and count > 1:
        raise InputError(f"{path.name}: {count} slices; name one in the column slice of images.csv")
    if (index or 0) >= count:
        raise InputError(f"{path.name}: slice {index} asked for, the volume has {count} (0 is the lowest)")
    if volume.values.ndim != 3:
        raise InputError(
            f"{path.name}: voxels of {volume.values.shape[3]} numbers each; expected one HU each"
        )
    values, plane, (height, width) = shown(volume, index or 0)
    fault = scale_fault(height, width)
    if fault:
        raise InputError(f"{path.name}: {fault}")
    units = np.ascontiguousarray(values, dtype=np.float32)
    place = Placement(path.name, units.shape, plane, "", index, count, volume)
    return Pixels(units, "HU", width), place


def _check_scale(image: Image, pixels: Pixels, mask: NDArray[np.uint8]) -> None:
    """Refuses CT whose nodule has values that no tissue has: slope or intercept were lost on the way."""
    if pixels.unit != "HU":
        return
    median = float(np.median(pixels.values[mask > 0]))
    if not TISSUE_HU[0] <= median <= TISSUE_HU[1]:
        at = "" if image.slice is None else f" slice {image.slice}"
        raise InputError(
            f"{image.image.name}{at}: {median:g} HU in the middle of the nodule, expected "
            f"{TISSUE_HU[0]:g} to {TISSUE_HU[1]:g}; check the slope and intercept of the export"
        )
