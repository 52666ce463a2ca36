"""Growth of the nodule beyond its border, and bodies near it that may be lymph nodes, on CT.

Extension beyond the gland, and nodes that enhance, or have a cystic or necrotic core within an enhancing rim,
are what radiologists look for (P. Som et al., AJNR 15:1123, 1994).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from dgfnet.measured.region import Mask, NoduleRegion

BAND_MM = 15.0  # from the nodule's border: where bodies are looked for
GROWTH = 0.8  # the band in which growth is looked for, equivalent radii
TOLERANCE = 2.0  # grey levels of the growth: within so many robust standard deviations of the nodule's median
MAD = 1.4826  # median absolute deviation to standard deviation of a normal distribution
SMOOTHING_RADII = (
    0.03  # standard deviation before growing, equivalent radii: single noisy pixels do not stop it
)
SECTORS = 36
REACH = 0.1  # a direction counts as grown when it reaches this far, equivalent radii
LEVELS = 16  # thresholds between the median and the 99th percentile of the neighbourhood
CORE_MM2 = (4.0, 80.0)  # areas of a dark core; diameters of about 2 to 10 mm
BODY_MM2 = (12.0, 200.0)  # areas of a bright body; diameters of about 4 to 16 mm
FILL = 0.6  # least share of its box that a bright body fills; a disc fills 0.79
SMOOTHING_MM = 0.45


def growth_of(region: NoduleRegion) -> dict[str, float]:
    """Measures tissue beyond the border that is connected to the nodule and as dense as it.

    NoduleRegion growing from the nodule, kept to a band around it; shares of the nodule's area and of the
    directions. The difference is that of the tissue next to the border from the nodule; NaN where the picture
    shows none.
    """
    smooth = region.smoothed(SMOOTHING_RADII * region.radius)
    median = float(np.median(region.values))
    spread = max(MAD * float(np.median(np.abs(region.values - median))), 1e-6)
    near = region.distance <= GROWTH * region.radius
    alike = near & (np.abs(smooth - median) <= TOLERANCE * spread)
    count, labels = cv2.connectedComponents((region.inside | alike).astype(np.uint8), connectivity=4)
    joined = np.zeros(count, dtype=bool)
    joined[labels[region.inside]] = True
    grown = joined[labels] & ~region.inside
    reach = np.zeros(SECTORS)
    np.maximum.at(reach, region.sectors(grown, SECTORS), region.distance[grown] / region.radius)
    beside = smooth[region.around(0.05, 0.3)]
    return {
        "growth_area_share": float(grown.sum() / region.inside.sum()),
        "growth_sectors_share": float((reach > REACH).mean()),
        "growth_difference": float(np.median(beside)) - median if beside.size else float("nan"),
    }


def bodies_of(region: NoduleRegion) -> dict[str, float]:
    """Measures bodies in the neighbourhood: dark cores enclosed by a brighter rim, and bright round ones.

    A body is counted at every one of LEVELS thresholds at which it stands alone, so that none is chosen;
    depth and areas are means over the thresholds, the number that of places where any threshold finds a core.
    """
    square = region.millimetre**2
    smooth = region.smoothed(SMOOTHING_MM * region.millimetre)
    near = ~region.inside & (region.distance <= BAND_MM * region.millimetre)
    dark, bright = (np.zeros(smooth.shape) for _ in range(2))
    depth = 0.0
    if near.any():
        low, high = np.percentile(smooth[near], (50, 99))
        for level in np.linspace(low, high, LEVELS, endpoint=False):
            cores = _bodies(region, smooth <= level, near, [limit * square for limit in CORE_MM2], 0.0)
            dark += cores
            bright += _bodies(region, smooth > level, near, [limit * square for limit in BODY_MM2], FILL)
    pixel = region.spacing[0] * region.spacing[1]
    labels, count = ndimage.label(dark)
    if count:
        depth = float(np.sum(ndimage.maximum(dark, labels, range(1, count + 1)))) / LEVELS
    return {
        "cores_count": float(count),
        "cores_depth": depth,
        "cores_area_mm2": float(dark.sum()) / LEVELS * pixel * region.known,
        "bodies_area_mm2": float(bright.sum()) / LEVELS * pixel * region.known,
    }


def _bodies(region: NoduleRegion, chosen: Mask, near: Mask, areas: list[float], fill: float) -> Mask:
    """Returns the connected parts of a size that touch neither the nodule nor the edge of the region."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(chosen.astype(np.uint8), connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA] * region.spacing[0] * region.spacing[1]
    box = stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]
    right = (area >= areas[0]) & (area <= areas[1]) & (stats[:, cv2.CC_STAT_AREA] >= fill * box)
    right[0] = False
    right[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    right[labels[region.inside]] = False
    return np.asarray(right[labels] & near)
