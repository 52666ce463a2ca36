"""The largest diameter of masks against values found by hand, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dgfnet.extent import maximum_diameter

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1))


def box(height, width):
    mask = np.zeros((20, 20), np.uint8)
    mask[3 : 3 + height, 5 : 5 + width] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "diameter"),
    [
        (np.zeros((4, 4)), 0),
        (box(1, 1), math.sqrt(2)),  # the diagonal of a pixel
        (box(1, 7), math.hypot(1, 7)),
        (box(3, 4), 5),
        (np.eye(6), 6 * math.sqrt(2)),  # along the diagonal; the box around it has a side of 6
    ],
)
def test_by_hand(mask, diameter):
    assert maximum_diameter(mask) == pytest.approx(diameter)


def test_a_disc_has_its_diameter():
    y, x = np.mgrid[:201, :201]
    assert maximum_diameter((x - 100) ** 2 + (y - 100) ** 2 <= 80**2) == pytest.approx(160, abs=1.5)


@given(MASKS)
def test_between_the_side_of_the_box_and_its_diagonal_and_the_same_turned(mask):
    diameter = maximum_diameter(mask)
    rows, columns = np.nonzero(mask)
    if len(rows):
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert max(height, width) - 1e-9 <= diameter <= math.hypot(height, width) + 1e-9
    assert maximum_diameter(np.rot90(mask)) == pytest.approx(diameter)
    assert maximum_diameter(mask[::-1]) == pytest.approx(diameter)
