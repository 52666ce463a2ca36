"""The nodule's size and the shape of its outline.

Lengths come from an outline of sub-pixel precision: the polygon around the pixels' edges, smoothed along its
length over about a pixel and scaled to the area of the pixels. Nodules of several parts are described by the
outline of the largest.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from dgfnet.measured.region import Floats, Mask, NoduleRegion

FINE = 4  # sub-pixels a pixel: the polygon runs 1/8 pixel inside the true edge
POINTS = 512  # of the smoothed outline
SMOOTHING = 1.0  # standard deviation along the outline, pixels: takes the steps of the raster away


def outline_of(region: NoduleRegion) -> Floats:
    """Returns (POINTS, 2) x and y of equidistant points on the outline, around its centroid."""
    corners = _polygon(_largest_part(region.inside)) * region.spacing[::-1]
    closed = np.vstack([corners, corners[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, length[-1], POINTS, endpoint=False)
    points = np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], axis=1)
    pixel = np.sqrt(region.spacing[0] * region.spacing[1])
    # shorter outlines than about 20 pixels are smoothed less: they would shrink to a disc
    sigma = min(SMOOTHING * pixel, length[-1] / 20) / length[-1] * POINTS
    points = ndimage.gaussian_filter1d(points, sigma, axis=0, mode="wrap")
    target = _largest_part(region.inside).sum() * region.spacing[0] * region.spacing[1]
    area, centroid = _polygon_area(points)
    return np.asarray((points - centroid) * np.sqrt(target / area), dtype=np.float64)


def shape_of(region: NoduleRegion) -> dict[str, float]:
    """Measures size and shape; lengths and areas are NaN where the spacing is unknown."""
    points = outline_of(region)
    area = _polygon_area(points)[0]
    perimeter = float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())
    hull = points[ConvexHull(points).vertices]
    width, height = np.ptp(points, axis=0)
    radial = np.hypot(*points.T)
    elongation, residual = _against_ellipse(points)
    return {
        "area_mm2": region.area * region.known,
        "equivalent_diameter_mm": 2 * region.radius * region.known,
        "maximum_diameter_mm": float(pdist(hull).max()) * region.known,
        "height_over_width": float(height / width),
        "elongation": elongation,
        "solidity": min(1.0, area / _polygon_area(hull)[0]),
        "circularity": 4 * np.pi * area / perimeter**2,
        "radial_length_sd": float(radial.std() / radial.max()),
        "elliptic_residual": residual,
    }


def _largest_part(inside: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    if count == 2:
        return inside
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), dtype=bool)


def _polygon(inside: Mask) -> Floats:
    """Returns (n, 2) x and y of the outer border of a connected mask, in pixels."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    fine = np.pad(np.repeat(np.repeat(box, FINE, axis=0), FINE, axis=1), 1).astype(np.uint8)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(max(contours, key=len)[:, 0], dtype=np.float64) / FINE


def _polygon_area(points: Floats) -> tuple[float, Floats]:
    """Returns area and centroid of a polygon (shoelace formula)."""
    x, y = points.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    middle = ((points + np.roll(points, -1, axis=0)) * cross[:, None]).sum(axis=0) / (6 * area)
    return float(abs(area)), np.asarray(middle)


def _second_moments(points: Floats) -> Floats:
    """Returns the (2, 2) covariance of a polygon's area around its centroid, here the origin."""
    x, y = points.T
    u, v = np.roll(x, -1), np.roll(y, -1)
    cross = x * v - u * y
    area = cross.sum() / 2
    xx = (cross * (x * x + x * u + u * u)).sum() / 12
    yy = (cross * (y * y + y * v + v * v)).sum() / 12
    xy = (cross * (x * v + 2 * x * y + 2 * u * v + u * y)).sum() / 24
    return np.asarray(np.array([[xx, xy], [xy, yy]]) / area)


def _against_ellipse(points: Floats) -> tuple[float, float]:
    """Returns minor over major axis of the ellipse with the outline's moments, and the distance from it.

    The distance is the standard deviation over the mean of the radial length after the ellipse has been made
    a circle: 0 for every ellipse, whatever its elongation.
    """
    spread, axes = np.linalg.eigh(_second_moments(points))
    minor, major = np.sqrt(spread)
    radial = np.hypot(*((points @ axes) / (minor, major)).T)
    return float(minor / major), float(radial.std() / radial.mean())
