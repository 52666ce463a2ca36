"""The square region of interest around a nodule (paper section 2).

The paper dilates the mask with a 3x3 kernel n times, takes the bounding rectangle, makes it a square of side
max(height, width) around the same centre, crops with zeros outside the image, and resizes. The dilated mask
is used for nothing but its bounding rectangle, and n dilations by 3x3 move each edge of that rectangle
outwards by n pixels until it meets the image's edge: so the rectangle is computed and the dilation never run.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError


@dataclass(frozen=True)
class Square:
    """A square of pixels; it may reach beyond the image, and `top` and `left` may be negative.

    Attributes:
        top: row of its first pixel in the image.
        left: column of its first pixel in the image.
        side: rows, and columns, in pixels.
    """

    top: int
    left: int
    side: int

    def widened(self, ring: int) -> Square:
        """Returns the square with `ring` more pixels on each of its four sides."""
        return Square(self.top - ring, self.left - ring, self.side + 2 * ring)


def find_square(mask: NDArray[np.uint8], dilations: int) -> Square:
    """Returns the paper's square around the nodule.

    A square has no exact centre in common with a rectangle whose sides differ by an odd number of pixels.
    Convention: the spare pixel goes below, or to the right.

    Args:
        mask: (height, width), nonzero on the nodule.
        dilations: 3x3 dilations before the bounding rectangle is taken; 40 for US and 25 for CT in the paper.

    Raises:
        InputError: when the mask is empty.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        raise InputError("the mask is empty; expected nonzero pixels on the nodule")
    rows, columns = mask.shape
    right, bottom = min(columns, left + width + dilations), min(rows, top + height + dilations)
    left, top = max(0, left - dilations), max(0, top - dilations)
    width, height = right - left, bottom - top
    side = max(width, height)
    return Square(top - (side - height) // 2, left - (side - width) // 2, side)


def crop(image: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """Cuts the pixels of the square, (side, side), with zeros where it reaches beyond the image."""
    rows, columns = image.shape
    top, left = max(0, square.top), max(0, square.left)
    bottom, right = min(rows, square.top + square.side), min(columns, square.left + square.side)
    cropped = np.zeros((square.side, square.side), dtype=np.uint8)
    if bottom > top and right > left:
        inside = image[top:bottom, left:right]
        cropped[top - square.top : bottom - square.top, left - square.left : right - square.left] = inside
    return cropped


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes a square image to size x size.

    The paper names no interpolation. Choice: the mean of the covered area when shrinking, which does not
    alias, and bilinear when enlarging.
    """
    method = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=np.uint8)


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes a square mask of 0 and 1 to size x size, again 0 and 1.

    Choice (the paper names none): when shrinking, a pixel is set when at least half of its area was, so that
    thin structures neither break nor drift as under nearest neighbour; a speck of less than half a target
    pixel vanishes. When enlarging, nearest neighbour with exact pixel centres, so that every pixel survives.
    """
    if size >= mask.shape[0]:
        enlarged = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(enlarged, dtype=np.uint8)
    shares = cv2.resize(mask * np.uint8(255), (size, size), interpolation=cv2.INTER_AREA)
    return (np.asarray(shares) > 127).astype(np.uint8)
