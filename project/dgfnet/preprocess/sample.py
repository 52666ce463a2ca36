"""One image of the cohort, from its files to its planes in the archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image, Nodule, View
from dgfnet.errors import InputError
from dgfnet.imaging.masks import Match
from dgfnet.measured.measure import measure
from dgfnet.preprocess.crops import stored_crop
from dgfnet.preprocess.windowing import to_grey
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import Modality


@dataclass(frozen=True, eq=False)
class Sample:
    """An image as the archive holds it.

    Attributes:
        planes: (3, S, S) uint8: image 0-255, nodule mask 0/1, boundary 0/1.
        area_px: nodule pixels in the image as it was read.
        spacing_mm: side of those pixels, mm; None when neither the manifest nor the file says.
        side_px: side of the region of interest before resizing, pixels.
        match: how the mask was laid on the image.
        label: the nodule's value in a mask file that has no name for it, other than 1 and the largest.
        unit: of the pixels as they were read: `grey` or `hu`.
        measured: features of the nodule on the picture as it was read; None where nobody asked for them.
    """

    nodule_id: str
    patient_id: str
    modality: Modality
    view: View
    planes: NDArray[np.uint8]
    area_px: int
    spacing_mm: float | None
    side_px: int
    match: Match = "pixels"
    label: int | None = None
    unit: str = "grey"
    measured: Mapping[str, float] | None = None


# of an image, its grey values and the mask that was drawn, (height, width) each: the mask to take instead
Redraw = Callable[[Image, NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]


def load_sample(
    image: Image,
    patient_id: str,
    settings: Preprocess,
    measuring: bool = False,
    redraw: Redraw | None = None,
) -> Sample:
    """Reads an image and its mask and makes the planes.

    Args:
        image: with its mask.
        patient_id: whose.
        settings: sizes and margin.
        measuring: measure the nodule, too.
        redraw: makes another mask of the one that was drawn.

    Raises:
        InputError: naming the file, when it cannot be read, its mask is empty, or the two differ in size.
    """
    pixels, mask = read_pair(image)
    grey = to_grey(pixels, image, settings)
    if redraw is not None:
        mask = redraw(image, grey, mask)
    planes, square = stored_crop(grey, mask, image.modality, settings)
    spacing = image.spacing_mm or pixels.spacing_mm or None
    found = None
    if measuring:
        found = measure(pixels.values, mask > 0, (spacing, spacing) if spacing else None, image.modality)
    return Sample(
        nodule_id=image.nodule_id,
        patient_id=patient_id,
        modality=image.modality,
        view=image.view,
        planes=planes,
        area_px=int(np.count_nonzero(mask)),
        spacing_mm=spacing,
        side_px=square.side,
        match=pixels.match,
        label=pixels.label,
        unit=pixels.unit,
        measured=found,
    )


def load_nodule(
    nodule: Nodule, settings: Preprocess, measuring: bool = False, redraw: Redraw | None = None
) -> tuple[list[Sample], list[str]]:
    """Reads the images of a nodule, in their order, and a line for each image that cannot be used."""
    samples, faults = [], []
    for image in nodule.images:
        try:
            samples.append(load_sample(image, nodule.patient_id, settings, measuring, redraw))
        except (InputError, OSError) as error:
            at = "" if image.slice is None else f" slice {image.slice}"
            faults.append(f"nodule {nodule.nodule_id}, {image.modality} {image.image}{at}: {error}")
    return samples, faults
