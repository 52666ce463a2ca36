"""Generated masks: every kind of place and form a nodule can have in an image."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import strategies as st


@st.composite
def masks(draw, largest=150):
    """(height, width) of 0 and 1, not empty: one to three blobs or boxes, also cut by the image's edge."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        up, along = draw(st.integers(0, height // 2)), draw(st.integers(0, width // 2))
        if draw(st.booleans()):
            cv2.ellipse(mask, (column, row), (along, up), draw(st.integers(0, 90)), 0, 360, 1, -1)
        else:
            mask[max(0, row - up) : row + up + 1, max(0, column - along) : column + along + 1] = 1
        mask[row, column] = 1
    return mask


def box(shape, top, bottom, left, right):
    """A mask of `shape` with the rows top..bottom-1 and columns left..right-1 set."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def grey(shape, seed):
    """A smooth random picture with strong and weak edges, 8 bit."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


# name: mask; the places where implementations of a region of interest differ
PLACES = {
    "middle": box((120, 160), 50, 70, 60, 90),
    "left edge": box((120, 160), 50, 70, 0, 12),
    "right edge": box((120, 160), 50, 70, 140, 160),
    "top-left corner": box((120, 160), 0, 9, 0, 14),
    "bottom-right corner": box((120, 160), 110, 120, 150, 160),
    "one pixel": box((120, 160), 60, 61, 80, 81),
    "one pixel in the corner": box((120, 160), 119, 120, 159, 160),
    "whole image": box((120, 160), 0, 120, 0, 160),
    "tall image": box((200, 30), 90, 120, 5, 20),
    "flat image": box((20, 300), 3, 12, 100, 180),
    "two components": box((120, 160), 5, 20, 5, 20) | box((120, 160), 90, 110, 130, 155),
    "hole": box((120, 160), 30, 90, 40, 110) & (1 - box((120, 160), 55, 65, 70, 80)),
    "image of one pixel": box((1, 1), 0, 1, 0, 1),
}
