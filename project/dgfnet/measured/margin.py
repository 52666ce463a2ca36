"""The nodule against the tissue around it, and the sharpness of the border between them."""

from __future__ import annotations

import numpy as np

from dgfnet.measured.region import Floats, Mask, NoduleRegion

RIM = 0.2  # width of the inner and of the outer rim, equivalent radii
NEAR, FAR = 0.15, 0.75  # the surrounding tissue starts and ends here, equivalent radii from the border
SECTORS = 16  # the step is averaged over directions, whatever part of the border each holds
POSTERIOR = 1.0  # depth of the band behind the nodule, equivalent radii
BESIDE = 1.5  # the tissue beside that band reaches this far from the border, equivalent radii


def margin_of(region: NoduleRegion) -> dict[str, float]:
    """Measures differences across the border; NaN where the picture shows nothing outside of it."""
    width = max(RIM * region.radius, *region.spacing)  # a pixel at least
    inner = region.inside & (region.distance > -width)
    outer = ~region.inside & (region.distance <= width)
    step = _sector_means(region, inner) - _sector_means(region, outer)
    beyond = region.grey[surrounding(region)]
    level = float(np.median(region.values))
    return {
        "surrounding_difference": level - (float(np.median(beyond)) if beyond.size else np.nan),
        "boundary_step": _mean(step[np.isfinite(step)]),
        "rim_difference": _mean(region.grey[inner]) - float(region.values.mean()),
    }


def surrounding(region: NoduleRegion) -> Mask:
    """Returns the pixels of the surrounding tissue; beside the nodule where there are such.

    Grey levels of ultrasound change with depth, so that the same depth is compared.
    """
    band = region.around(NEAR, FAR)
    rows: Mask = np.asarray(region.inside.any(axis=1))
    beside = band & rows[:, None]
    return beside if beside.any() else band


def posterior_of(region: NoduleRegion) -> dict[str, float]:
    """Measures enhancement (positive) or shadow (negative) behind the nodule on ultrasound.

    Grey levels of the band below the nodule, less those of the same depth beside it; NaN where the picture
    ends.
    """
    rows = region.inside.shape[0]
    filled = region.inside.any(axis=0)
    # the border itself and the bright wall behind it belong to neither
    start = (
        rows - np.argmax(region.inside[::-1], axis=0) + int(np.ceil(NEAR * region.radius / region.spacing[0]))
    )
    depth = max(1, int(np.ceil(POSTERIOR * region.radius / region.spacing[0])))
    row = np.arange(rows)[:, None]
    under = filled & (row >= start) & (row < start + depth)
    near = region.distance <= max(BESIDE * region.radius, 3 * max(region.spacing))
    beside = ~filled & under.any(axis=1)[:, None] & near
    return {"posterior_difference": _mean(region.grey[under]) - _mean(region.grey[beside])}


def _sector_means(region: NoduleRegion, where: Mask) -> Floats:
    """Returns (SECTORS,) the mean of the chosen pixels in each direction; NaN where there are none."""
    number = region.sectors(where, SECTORS)
    count = np.bincount(number, minlength=SECTORS)
    total = np.bincount(number, weights=region.grey[where], minlength=SECTORS)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
