"""Kinds of file by their endings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dgfnet.errors import InputError

Kind = Literal["picture", "nifti", "itk", "dicom", "annotation"]

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".mha", ".mhd")
VOLUMES = (*NIFTI, *ITK)
ANNOTATIONS = (".json", ".xml")
DICOM = (".dcm", ".dicom", ".ima", "")


def kind_of(path: Path) -> Kind:
    """Returns the kind of a file.

    Raises:
        InputError: for an ending that no kind has.
    """
    name, ending = path.name.lower(), path.suffix.lower()
    if ending in PICTURES:
        return "picture"
    if name.endswith(NIFTI):
        return "nifti"
    if ending in ITK:
        return "itk"
    if ending in ANNOTATIONS:
        return "annotation"
    if ending in DICOM or ending[1:].isdigit():
        return "dicom"  # many archives number their files instead of naming them
    raise InputError(
        f"{path.name}: unknown kind of file; expected PNG, JPEG, TIFF, BMP, DICOM (.dcm), NIfTI (.nii, "
        f".nii.gz), NRRD (.nrrd) or MetaImage (.mha, .mhd), and for a mask also an annotation (.json, .xml)"
    )


def ending_of(path: Path) -> str:
    """Returns the ending of a file in small letters, `.nii.gz` and `.seg.nrrd` whole."""
    name = path.name.lower()
    return next((double for double in (".nii.gz", ".seg.nrrd") if name.endswith(double)), path.suffix.lower())
