"""Numbers computed from a picture and the mask of a nodule: size, shape, grey levels, texture, surroundings.

They are what a reader could measure by hand and what radiomics standardised; definitions.py says how each is
defined. No network is involved, and nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.measured.definitions import DEFINITIONS, IN_GREY, NAMES
from dgfnet.measured.foci import foci_of
from dgfnet.measured.intensity import intensity_of, texture_of
from dgfnet.measured.margin import margin_of, posterior_of
from dgfnet.measured.outline import shape_of
from dgfnet.measured.region import region_of
from dgfnet.measured.surroundings import BAND_MM, bodies_of, growth_of
from dgfnet.vocabulary import Modality

PARTS = {
    "us": (shape_of, intensity_of, texture_of, margin_of, posterior_of, foci_of),
    "ct": (shape_of, intensity_of, texture_of, margin_of, growth_of, bodies_of),
}


def measure(
    picture: NDArray[np.generic],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float] | None,
    modality: Modality,
) -> dict[str, float]:
    """Measures a nodule on one picture.

    The picture may be whole or a crop: the nodule's box and its neighbourhood (1.5 equivalent radii, on CT at
    least 15 mm) are cut out, and what lies further away does not matter.

    Args:
        picture: (H, W) grey levels 0 to 255, or HU; not resized.
        mask: (H, W) the nodule.
        spacing_mm: height and width of a pixel, or None when unknown.
        modality: decides which features are measured.

    Returns:
        The features NAMES[modality], in that order. NaN means that a feature does not exist: lengths and
        areas in mm where the spacing is unknown, differences where the picture shows nothing on one side of
        the border, texture where no two pixels of the nodule touch.

    Raises:
        InputError: when shapes differ, the mask is empty, the spacing is not positive, or a pixel is no
            number.
    """
    region = region_of(picture, mask, spacing_mm, BAND_MM if modality == "ct" else 0.0)
    found = {name: value for part in PARTS[modality] for name, value in part(region).items()}
    return {name: float(found[name]) for name in NAMES[modality]}


def comparable(modality: Modality, values: Sequence[float], same_unit: bool) -> NDArray[np.float64]:
    """Returns a nodule's features NAMES[modality]; in another unit of pixels those in such units are NaN.

    Args:
        modality: of the pictures.
        values: of the features, in their order.
        same_unit: its pixels are all in the unit, grey levels or HU, that the numbers are compared with.
    """
    in_grey = {entry.name for entry in DEFINITIONS if entry.unit in IN_GREY}
    kept = [same_unit or name not in in_grey for name in NAMES[modality]]
    return np.where(kept, np.asarray(values, dtype=np.float64), np.nan)


def measure_nodule(pictures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the median over a nodule's pictures of each feature that exists in any; NaN for the others.

    Raises:
        InputError: when there is no picture, or the pictures are not of one modality.
    """
    if not pictures:
        raise InputError("measured features: a nodule without pictures; give one at least")
    names = list(pictures[0])
    if any(list(picture) != names for picture in pictures):
        raise InputError(
            "measured features: pictures of different modalities; combine those of one at a time"
        )
    table = np.array([[picture[name] for name in names] for picture in pictures], dtype=np.float64)
    medians = {}
    for name, column in zip(names, table.T, strict=True):
        known = column[np.isfinite(column)]
        medians[name] = float(np.median(known)) if known.size else float("nan")
    return medians
