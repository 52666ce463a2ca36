"""The largest diameter of a mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

CORNERS = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)])


def maximum_diameter(mask: NDArray[Any]) -> float:
    """Computes the largest distance between two points of a mask, its maximum Feret diameter.

    Two points that lie so far apart are corners of the convex hull; pixels are squares.

    Args:
        mask: (H, W), not 0 inside.

    Returns:
        Pixels; 0 of an empty mask.
    """
    inside = np.argwhere(mask)
    if not len(inside):
        return 0.0
    hull = cv2.convexHull(inside.astype(np.float32))[:, 0]
    corners = (hull[:, None] + CORNERS).reshape(-1, 2)
    return float(pdist(corners).max())
