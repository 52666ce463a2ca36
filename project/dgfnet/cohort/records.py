"""Patients, nodules and their images, as read from a cohort folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dgfnet.vocabulary import Modality, Site

View = Literal["transverse", "longitudinal", "axial"]
Source = Literal["main", "external"]


@dataclass(frozen=True)
class Image:
    """One US image or one CT slice of a nodule, with the mask of the nodule.

    Attributes:
        image: absolute path of a picture (PNG, JPEG, TIFF), DICOM file or NIfTI volume.
        mask: absolute path of the mask; nonzero is nodule.
        spacing_mm: side of a pixel in the image plane, mm; None when unknown.
        slice: of a volume, along the axial axis, inferior to superior; of a clip or a TIFF with pages, its
            frame or page; None for files that are one picture.
        window_level: centre of the CT window, HU; None uses the settings' window.
        window_width: width of the CT window, HU.
        measurement_lines: calipers or measurement lines are drawn in the picture.
    """

    nodule_id: str
    modality: Modality
    view: View
    image: Path
    mask: Path
    spacing_mm: float | None
    slice: int | None
    window_level: float | None
    window_width: float | None
    measurement_lines: bool


@dataclass(frozen=True)
class Nodule:
    """The unit of analysis: one nodule with all its images.

    Attributes:
        labels: metastasis per site: 1 yes, 0 no, None unknown.
        n_malignant_nodules: malignant nodules of the patient; None when unknown.
        attributes: every other column of nodules.csv, as text; empty cells are absent.
    """

    nodule_id: str
    patient_id: str
    cohort: Source
    labels: Mapping[Site, int | None]
    n_malignant_nodules: int | None
    attributes: Mapping[str, str]
    images: tuple[Image, ...]

    def of(self, modality: Modality) -> tuple[Image, ...]:
        """Returns the images of a modality."""
        return tuple(image for image in self.images if image.modality == modality)


@dataclass(frozen=True)
class Cohort:
    """A cohort folder: its nodules in the order of nodules.csv."""

    root: Path
    nodules: tuple[Nodule, ...]
