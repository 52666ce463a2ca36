from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dgfnet.cohort.readers import Pixels
from dgfnet.cohort.records import Image
from dgfnet.preprocess.windowing import apply_window, to_grey


def image(level=None, width=None):
    return Image("N1", "ct", "axial", Path("a.nii"), Path("m.nii"), 0.5, 0, level, width, False)


@pytest.mark.parametrize(
    ("hu", "expected"),
    [
        (-3000, 0),
        (-126, 0),
        (-125, 0),  # 50 - 175
        (-124, 1),  # 255 / 350 = 0.73
        (50, 128),  # 127.5, the even neighbour
        (120, 178),  # 245 * 255 / 350 = 178.5, the even neighbour
        (121, 179),  # 179.23
        (224, 254),  # 254.27
        (225, 255),  # 50 + 175
        (4000, 255),
    ],
)
def test_window_by_hand(hu, expected):
    assert apply_window(np.array([hu], dtype=np.float32), 50.0, 350.0)[0] == expected


@pytest.mark.parametrize(
    ("level", "width", "expected"),
    [
        (None, None, [0, 128, 255]),  # the settings' 50, 350: -125, 50, 225
        (50.0, 700.0, [64, 128, 191]),  # 63.75, 127.5, 191.25
        (225.0, None, [0, 0, 128]),  # only the level is the image's: 50 .. 400
        (None, 100.0, [0, 128, 255]),  # only the width: 0 .. 100
    ],
)
def test_the_images_own_window_wins(settings, level, width, expected):
    pixels = Pixels(np.array([[-125, 50, 225]], dtype=np.float32), "HU", None)
    np.testing.assert_array_equal(to_grey(pixels, image(level, width), settings), [expected])


def test_grey_passes_as_it_is(settings):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_grey(Pixels(values, "grey", None), image(50.0, 10.0), settings), values)
