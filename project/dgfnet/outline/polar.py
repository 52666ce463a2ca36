"""A picture around the ellipse in a box: rays by radius, in which an outline is one radius per ray."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.imaging.boxes import Box

RAYS, STEPS = 64, 24
REACH = 1.6  # of a ray, where the ellipse in the box has 1
RADII = (np.arange(STEPS) + 0.5) * REACH / STEPS
_ANGLES = (np.arange(RAYS) + 0.5) * 2 * np.pi / RAYS
_ACROSS, _DOWN = np.outer(np.cos(_ANGLES), RADII), np.outer(np.sin(_ANGLES), RADII)


def polar(plane: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Returns the grey values of a picture along the rays, (RAYS, STEPS), bilinear between pixels.

    Ray 0 points to the right, the next ones turn downwards. Outside the picture its edge goes on.

    Args:
        plane: (height, width).
        box: around the nodule, in pixels of the picture.
    """
    x = (box.left + box.right) / 2 - 0.5 + _ACROSS * (box.right - box.left) / 2
    y = (box.top + box.bottom) / 2 - 0.5 + _DOWN * (box.bottom - box.top) / 2
    values = cv2.remap(
        plane, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(values, dtype=np.uint8)


def within(radius: NDArray[np.floating], box: Box, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Returns the inside of an outline as a mask, (height, width) of 0 and 1: pixels whose centre lies in it.

    Args:
        radius: (RAYS,) where the outline crosses each ray; linear in the angle between them.
        box: whose ellipse has the radius 1.
        shape: of the picture.
    """
    mask = np.zeros(shape[:2], dtype=np.uint8)
    middle = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    half = (box.right - box.left) / 2, (box.bottom - box.top) / 2
    reach = float(radius.max()) + 1  # only where it can lie: a picture may be large
    left, right = (int(middle[0] + side * reach * half[0]) for side in (-1, 1))
    top, bottom = (int(middle[1] + side * reach * half[1]) for side in (-1, 1))
    rows, columns = (
        np.arange(max(0, low - 1), min(limit, high + 2)) + 0.5
        for low, high, limit in ((top, bottom, shape[0]), (left, right, shape[1]))
    )
    across, down = box.scaled(columns[None], rows[:, None])
    ring = np.concatenate([radius, radius[:1]])
    turned = (np.arctan2(down, across) % (2 * np.pi)) * RAYS / (2 * np.pi) - 0.5  # in rays
    limit = np.interp(turned % RAYS, np.arange(RAYS + 1), ring)
    inside = np.hypot(across, down) <= limit
    mask[int(rows[0]) : int(rows[0]) + len(rows), int(columns[0]) : int(columns[0]) + len(columns)] = inside
    return mask
