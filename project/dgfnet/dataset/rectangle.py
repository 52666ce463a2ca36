"""The rectangle around the nodule, the input of the baseline `us_tlr`."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rectangle:
    """Cuts the nodule's bounding box, widened by `box`, padded with zeros to a square of `size` pixels.

    It is cut from the region of interest of the other variants, so all get the same pixels.
    """

    size: int
    box: float

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(B, 3, S, S) of image, nodule, boundary become (B, 3, size, size); all of it without nodule."""
        return np.stack([self._cut(crop) for crop in crops])

    def _cut(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = crop.shape[-1]
        left, top, width, height = cv2.boundingRect(crop[1]) if crop[1].any() else (0, 0, side, side)
        across, up = self.box * width, self.box * height
        square = max(across, up)
        # output pixel (u, v) shows the crop's (x, y): centres of pixels, equal scale in both directions
        scale = square / self.size
        x0, y0 = left + (width - square) / 2, top + (height - square) / 2
        grid = (np.arange(self.size, dtype=np.float32) + 0.5) * scale - 0.5
        x, y = np.meshgrid(grid + x0, grid + y0)
        inside = (np.abs(x - (left + (width - 1) / 2)) <= across / 2) & (
            np.abs(y - (top + (height - 1) / 2)) <= up / 2
        )
        planes = [cv2.remap(crop[0], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)]
        planes += [cv2.remap(p, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT) for p in crop[1:]]
        return np.stack(planes) * inside.astype(np.uint8)
