"""A nodule's surroundings cut from its picture, with distances from its border."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgfnet.errors import InputError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BAND_RADII = 1.5  # neighbourhood of the nodule in which its surroundings are measured, equivalent radii
# where the spacing is unknown, the nodule is taken for one of 14 mm wherever a filter has a size in mm
TYPICAL_RADIUS_MM = 7.0


@dataclass(frozen=True, eq=False)
class NoduleRegion:
    """The nodule and what lies around it.

    Lengths are in millimetres where the spacing is known, else in pixels.

    Attributes:
        grey: (H, W) grey levels or HU.
        inside: (H, W) pixels of the nodule; at least one.
        spacing: height and width of a pixel; (1, 1) when unknown.
        in_mm: whether the spacing is known.
    """

    grey: Floats
    inside: Mask
    spacing: tuple[float, float]
    in_mm: bool

    @cached_property
    def area(self) -> float:
        """The area of the nodule's pixels."""
        return float(self.inside.sum()) * self.spacing[0] * self.spacing[1]

    @property
    def radius(self) -> float:
        """The radius of the disc that has the nodule's area."""
        return float(np.sqrt(self.area / np.pi))

    @property
    def millimetre(self) -> float:
        """A millimetre in the region's unit of length; an estimate where the spacing is unknown."""
        return 1.0 if self.in_mm else self.radius / TYPICAL_RADIUS_MM

    @property
    def known(self) -> float:
        """The factor of a length or an area in mm: 1, or NaN where the spacing is unknown."""
        return 1.0 if self.in_mm else float("nan")

    @cached_property
    def distance(self) -> Floats:
        """(H, W) distance of a pixel's centre from the nodule's border: positive outside, negative inside.

        The edge of the picture counts as border where the nodule touches it.
        """
        half = float(np.sqrt(self.spacing[0] * self.spacing[1])) / 2
        depth = _to_nearest_zero(np.pad(self.inside, 1), self.spacing)[1:-1, 1:-1]
        if self.inside.all():
            return half - depth
        beyond = _to_nearest_zero(~self.inside, self.spacing)
        return np.asarray(np.where(self.inside, half - depth, beyond - half), dtype=np.float64)

    @cached_property
    def values(self) -> Floats:
        """(n,) grey levels of the nodule's pixels."""
        return self.grey[self.inside]

    def around(self, low: float, high: float) -> Mask:
        """Returns the pixels outside, low to high equivalent radii from the border; a pixel wide at least."""
        near = low * self.radius
        far = max(high * self.radius, near + max(self.spacing))
        return np.asarray(~self.inside & (self.distance > near) & (self.distance <= far))

    def smoothed(self, sigma: float) -> Floats:
        """Returns (H, W) the picture after a Gaussian of a standard deviation, at least 0.3 pixels."""
        height, width = (max(sigma / side, 0.3) for side in self.spacing)
        return np.asarray(cv2.GaussianBlur(self.grey, (0, 0), sigmaX=width, sigmaY=height), dtype=np.float64)

    def disc(self, diameter: float) -> NDArray[np.uint8]:
        """Returns a structuring element; of odd height and width, at least 3 pixels."""
        height, width = (max(2 * round(diameter / side / 2) + 1, 3) for side in self.spacing)
        return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)), dtype=np.uint8)

    def sectors(self, where: Mask, count: int) -> NDArray[np.int64]:
        """Returns the direction, 0 to count - 1, of each chosen pixel from the nodule's centroid."""
        rows, columns = np.nonzero(where)
        middle_row, middle_column = (axis.mean() for axis in np.nonzero(self.inside))
        angle = np.arctan2((rows - middle_row) * self.spacing[0], (columns - middle_column) * self.spacing[1])
        return np.asarray(np.floor((angle + np.pi) / (2 * np.pi) * count).astype(np.int64) % count)


def _to_nearest_zero(mask: Mask, spacing: tuple[float, float]) -> Floats:
    """Returns (H, W) the Euclidean distance to the nearest pixel that is not set."""
    if spacing[0] == spacing[1]:  # OpenCV takes a third of the time, and knows square pixels alone
        pixels = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(pixels, dtype=np.float64) * spacing[0]
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing), dtype=np.float64)


def region_of(
    picture: NDArray[np.generic],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float] | None,
    band_mm: float = 0.0,
) -> NoduleRegion:
    """Cuts the nodule and its neighbourhood from a picture.

    Args:
        picture: (H, W) grey levels or HU.
        mask: (H, W) the nodule.
        spacing_mm: height and width of a pixel, or None when unknown.
        band_mm: least width of the neighbourhood; it is BAND_RADII otherwise.

    Raises:
        InputError: when shapes differ, the mask is empty, the spacing is not positive, or a pixel is no
            number.
    """
    if picture.ndim != 2 or picture.shape != mask.shape:
        raise InputError(
            f"measured features: the picture is {picture.shape}, the mask {mask.shape}; give two arrays"
            " (rows, columns) of one shape"
        )
    if not mask.any():
        raise InputError(
            "measured features: the mask is empty; leave out pictures that do not show the nodule"
        )
    if spacing_mm is not None and not all(np.isfinite(side) and side > 0 for side in spacing_mm):
        raise InputError(
            f"measured features: the pixel spacing is {spacing_mm}; give two lengths in mm above 0, or None"
        )
    spacing = (1.0, 1.0) if spacing_mm is None else (float(spacing_mm[0]), float(spacing_mm[1]))
    inside = mask.astype(bool)
    whole = NoduleRegion(np.empty((0, 0)), inside, spacing, spacing_mm is not None)
    band = max(band_mm * whole.millimetre, BAND_RADII * whole.radius)
    # two pixels more than the band, so that filters see no edge within it
    margins = [int(np.ceil(band / side)) + 2 for side in spacing]
    window = []
    for axis, margin in enumerate(margins):
        filled = np.flatnonzero(inside.any(axis=1 - axis))
        window.append(slice(max(filled[0] - margin, 0), filled[-1] + margin + 1))
    grey = picture[tuple(window)].astype(np.float64)
    if not np.isfinite(grey).all():
        raise InputError("measured features: the picture holds NaN or infinite pixels near the nodule")
    return NoduleRegion(grey, inside[tuple(window)], spacing, spacing_mm is not None)
