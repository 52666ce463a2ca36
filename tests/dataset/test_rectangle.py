from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.dataset.rectangle import Rectangle


def crop(left, top, width, height, side=64):
    """Grey 200 inside the nodule and 100 outside."""
    planes = np.zeros((3, side, side), dtype=np.uint8)
    planes[0] = 100
    planes[:, top : top + height, left : left + width] = np.array([200, 1, 1])[:, None, None]
    return planes


def test_a_square_nodule_without_margin_fills_the_picture():
    (seen,) = Rectangle(40, 1.0)(crop(10, 20, 20, 20)[None])
    assert (seen[1] == 1).all()
    assert (seen[0, 1:-1, 1:-1] == 200).all()


def test_a_wide_nodule_is_padded_with_zeros_above_and_below():
    """40 x 20 at 80 pixels: two output pixels to one, so the nodule is 80 x 40 between two bands of 20."""
    (seen,) = Rectangle(80, 1.0)(crop(10, 20, 40, 20)[None])
    assert (seen[:, :20] == 0).all()
    assert (seen[:, 60:] == 0).all()
    assert (seen[1, 20:60] == 1).all()


def test_the_box_shows_five_percent_more():
    """A nodule of 40 in a box of 42: at 84 pixels it takes 80, and two on each side are its surroundings."""
    (seen,) = Rectangle(84, 1.05)(crop(12, 12, 40, 40)[None])
    assert seen[1].sum() == 80 * 80
    assert (seen[0] > 0).all()
    assert seen[0, 42, 0] == 100


def test_what_is_outside_the_region_of_interest_is_zero():
    (seen,) = Rectangle(50, 2.0)(crop(0, 0, 20, 20)[None])
    assert (seen[0, :10] == 0).all()
    assert seen[0, -1, -1] == 100


def test_without_a_nodule_the_whole_is_shown():
    blank = np.full((1, 3, 64, 64), 7, dtype=np.uint8)
    blank[:, 1:] = 0
    assert (Rectangle(75, 1.05)(blank)[0, 0, 4:-4, 4:-4] == 7).all()


@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(1, 24), st.integers(1, 24), st.sampled_from([75, 96])
)
def test_targets_stay_targets_and_the_nodule_is_found(left, top, width, height, size):
    seen = Rectangle(size, 1.05)(crop(left, top, width, height)[None])
    assert seen.shape == (1, 3, size, size)
    assert seen.dtype == np.uint8
    assert set(np.unique(seen[:, 1:])) <= {0, 1}
    share = width * height / (1.05 * max(width, height)) ** 2
    assert seen[0, 1].mean() == pytest.approx(share, abs=4 / size)
