"""The paper's preprocessing (section 2) word by word in OpenCV: whole images, one dilation after another.

The package's faster forms are tested, bit by bit, and timed against these.
"""

from __future__ import annotations

import cv2
import numpy as np

KERNEL = np.ones((3, 3), dtype=np.uint8)


def dilated(mask, iterations):
    """Dilated by 3x3, `iterations` times."""
    for _ in range(iterations):
        mask = cv2.dilate(mask, KERNEL)
    return mask


def eroded(mask, iterations):
    """Eroded by 3x3, `iterations` times."""
    for _ in range(iterations):
        mask = cv2.erode(mask, KERNEL)
    return mask


def square_of(wide_mask):
    """Top, left and side of the square around the bounding rectangle of the dilated mask."""
    x, y, w, h = cv2.boundingRect(wide_mask)
    side = max(w, h)
    return y - (side - h) // 2, x - (side - w) // 2, side


def cropped(image, top, left, side):
    """The square, from the image padded with zeros as far as the square reaches beyond it."""
    rows, columns = image.shape
    above, below = max(0, -top), max(0, top + side - rows)
    before, after = max(0, -left), max(0, left + side - columns)
    padded = cv2.copyMakeBorder(image, above, below, before, after, cv2.BORDER_CONSTANT, value=0)
    return padded[top + above : top + above + side, left + before : left + before + side]


def resized(image, size):
    """8-bit grey at size x size."""
    shrinks = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resized_mask(mask, size):
    """0 and 1 at size x size: half of the area when it shrinks, nearest when it grows."""
    if size < mask.shape[0]:
        return np.uint8(cv2.resize(mask * np.uint8(255), (size, size), interpolation=cv2.INTER_AREA) > 127)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def rim(mask, d):
    """The US boundary, on the whole image: d is 0.08 of the side of the square."""
    iterations = max(1, round(0.5 * d))
    return dilated(mask, iterations) - eroded(mask, iterations)


def edges(image):
    """The CT boundary of the surrounding tissue."""
    return np.uint8(cv2.Canny(cv2.bilateralFilter(image, 7, 100, 100), -100, 200) > 0)


def us(image, mask, size, iterations=40, fraction=0.08):
    """Image, nodule and boundary, (3, size, size), of a US image."""
    square = square_of(dilated(mask, iterations))
    boundary = rim(mask, fraction * square[2])
    image, mask, boundary = (cropped(plane, *square) for plane in (image, mask, boundary))
    return np.stack([resized(image, size), resized_mask(mask, size), resized_mask(boundary, size)])


def ct(image, mask, size, iterations=25):
    """Image, nodule and boundary, (3, size, size), of a CT slice in 8 bit."""
    square = square_of(dilated(mask, iterations))
    small = resized(cropped(image, *square), size)
    return np.stack([small, resized_mask(cropped(mask, *square), size), edges(small)])
