"""The boundary targets: the rim of the nodule (US), edges of the tissue around it (CT); paper section 2."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.sections.data import Preprocess


def boundary_iterations(side: int, fraction: float) -> int:
    """Returns the 3x3 dilations, and erosions, that make the US boundary: half of d = fraction x side.

    Args:
        side: side of the square region of interest before resizing, pixels.
        fraction: 0.08 in the paper.

    Returns:
        round(0.5 * fraction * side) (an exact half goes to the even neighbour, which 0.08 never meets), but 1
        for squares so small that no boundary would be left.
    """
    return max(1, round(0.5 * fraction * side))


def nodule_boundary(mask: NDArray[np.uint8], iterations: int) -> NDArray[np.uint8]:
    """Returns the US boundary: the mask dilated minus the mask eroded, by `iterations` of a 3x3 kernel.

    The result is that of OpenCV on the whole image, where pixels beyond the image neither dilate nor erode: a
    nodule cut by the image's edge has no boundary along the cut. n steps by 3x3 are one by (2n+1)x(2n+1), and
    nothing changes further than n pixels from the mask's bounding box, so only that part of the image is
    worked on. Its own edges do not show: beyond them, the whole image is empty as far as the kernel reaches.

    Args:
        mask: (height, width) of 0 and 1, not empty.
        iterations: n, at least 1; also half the thickness of the boundary in pixels.

    Returns:
        (height, width) of 0 and 1.
    """
    left, top, width, height = cv2.boundingRect(mask)
    rows = slice(max(0, top - iterations), top + height + iterations)
    columns = slice(max(0, left - iterations), left + width + iterations)
    kernel = np.ones((2 * iterations + 1, 2 * iterations + 1), dtype=np.uint8)
    near = mask[rows, columns]
    boundary = np.zeros_like(mask)
    boundary[rows, columns] = cv2.subtract(cv2.dilate(near, kernel), cv2.erode(near, kernel))
    return boundary


def tissue_boundary(image: NDArray[np.uint8], settings: Preprocess) -> NDArray[np.uint8]:
    """Returns the CT boundary of the surrounding tissue: a bilateral filter, then Canny.

    The paper does not say at which size it is run. Choice: on the region of interest at the network's input
    size, where an edge one pixel wide stays one pixel wide. The lower threshold -100 of the paper acts as 0
    (OpenCV compares gradient magnitudes, which are never negative, with it): every ridge that touches a
    strong edge is kept.

    Args:
        image: (S, S), 8-bit grey.
        settings: bilateral diameter (7) and sigma (100, of colour and of space), Canny thresholds (-100 and
            200).

    Returns:
        (S, S) of 0 and 1.
    """
    sigma = settings.bilateral_sigma
    smooth = cv2.bilateralFilter(image, settings.bilateral_diameter, sigma, sigma)
    return (np.asarray(cv2.Canny(smooth, settings.canny_low, settings.canny_high)) > 0).astype(np.uint8)
