"""Patients, nodules and their images, as read from a cohort folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dgfnet.imaging.boxes import Box
from dgfnet.vocabulary import Modality, Site

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

View = Literal["transverse", "longitudinal", "axial"]
Source = Literal["main", "external"]

NODULES, IMAGES = "nodules.csv", "images.csv"  # the two tables of a cohort folder


@dataclass(frozen=True)
class Image:
    """One US image or one CT slice of a nodule, with the mask of the nodule or a box around it.

    Attributes:
        image: absolute path of a picture (PNG, JPEG, TIFF), DICOM file or volume (NIfTI, NRRD, MetaImage).
        mask: absolute path of the mask; kinds and meaning of values are in the room `imaging`. Where there is
            a box instead, the path of the image.
        spacing_mm: side of a pixel in the image plane, mm; None when unknown.
        slice: of the image: of a volume, along the axial axis, inferior to superior; of DICOM frames and
            TIFF pages, as stored; of a mask only where the image is one picture without a place. From 0.
        window_level: centre of the CT window, HU; None uses the settings' window.
        window_width: width of the CT window, HU.
        measurement_lines: calipers or measurement lines are drawn in the picture.
        segment: which region of the mask is the nodule: number, name or code; None when it has one only.
        resample: lay a mask on another grid by the nearest pixel instead of refusing it.
        box: around the nodule, instead of a mask; only of images that are scored, not trained on.
        held: the data set of a DICOM image that is in memory alone; `image` is then a name, and no file.
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
    segment: str | None = None
    resample: bool = False
    box: Box | None = None
    held: Dataset | None = field(default=None, repr=False, compare=False)


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
