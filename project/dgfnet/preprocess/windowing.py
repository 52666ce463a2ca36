"""Hounsfield units to 8 bit, so that the CT filters and their thresholds see what a radiologist sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.readers import Pixels
from dgfnet.cohort.records import Image
from dgfnet.sections.data import Preprocess


def to_grey(pixels: Pixels, image: Image, settings: Preprocess) -> NDArray[np.uint8]:
    """Returns the pixels of an image as 8-bit grey, (height, width).

    Hounsfield units pass through the image's own window where the manifest gives one (level and width each on
    their own), else through the settings'. Grey pictures were windowed when they were exported and pass as
    they are.
    """
    if pixels.unit == "grey":
        return np.ascontiguousarray(pixels.values, dtype=np.uint8)
    level = settings.window_level if image.window_level is None else image.window_level
    width = settings.window_width if image.window_width is None else image.window_width
    return apply_window(pixels.values, level, width)


def apply_window(values: NDArray[Any], level: float, width: float) -> NDArray[np.uint8]:
    """Applies a linear, saturating window: level - width/2 becomes 0 and level + width/2 becomes 255.

    This is DICOM's LINEAR_EXACT function (PS3.3 C.11.2.1.3). Values between are rounded to the nearest grey
    level, exact halves to the even one: the centre of the window, 127.5, becomes 128.

    Args:
        values: Hounsfield units, any shape.
        level: centre of the window, HU.
        width: width of the window, HU, above 0.
    """
    grey = (values.astype(np.float32) - np.float32(level - width / 2)) * np.float32(255) / np.float32(width)
    return np.asarray(np.rint(np.clip(grey, 0, 255)), dtype=np.uint8)
