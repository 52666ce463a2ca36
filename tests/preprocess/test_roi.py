from __future__ import annotations

import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from masks import PLACES, box, grey, masks

from dgfnet.errors import InputError
from dgfnet.preprocess.roi import Square, crop, find_square, resize_image, resize_mask


def assert_same_roi(mask, dilations):
    square = find_square(mask, dilations)
    image = grey(mask.shape, 0)
    expected = literal.square_of(literal.dilated(mask, dilations))
    assert (square.top, square.left, square.side) == expected
    np.testing.assert_array_equal(crop(image, square), literal.cropped(image, *expected))
    np.testing.assert_array_equal(crop(mask, square), literal.cropped(mask, *expected))


@pytest.mark.parametrize("dilations", [0, 1, 25, 40])
@pytest.mark.parametrize("place", PLACES)
def test_equals_the_literal_roi(place, dilations):
    assert_same_roi(PLACES[place], dilations)


@tries(max_examples=150, deadline=None)
@given(masks(), st.integers(0, 45))
def test_equals_the_literal_roi_anywhere(mask, dilations):
    assert_same_roi(mask, dilations)


def test_square_by_hand():
    # rows 30-49, columns 60-69; 10 dilations: rows 20-59 (40), columns 50-79 (30); 5 more left and right
    assert find_square(box((100, 200), 30, 50, 60, 70), 10) == Square(20, 45, 40)
    # columns 60-70 make 31, 9 are spare: 4 to the left, 5 to the right
    assert find_square(box((100, 200), 30, 50, 60, 71), 10) == Square(20, 46, 40)
    # columns 0-9, clipped: 0-19 (20); 20 are spare, 10 of them outside the image
    assert find_square(box((100, 200), 30, 50, 0, 10), 10) == Square(20, -10, 40)


def test_zeros_outside_the_image():
    image = np.full((4, 4), 9, dtype=np.uint8)
    np.testing.assert_array_equal(crop(image, Square(-1, 2, 3)), [[0, 0, 0], [9, 9, 0], [9, 9, 0]])
    assert not crop(image, Square(7, 0, 3)).any()


def test_widened_by_hand():
    assert Square(10, -3, 40).widened(5) == Square(5, -8, 50)


def test_empty_mask_is_refused():
    with pytest.raises(InputError, match="empty"):
        find_square(np.zeros((5, 5), dtype=np.uint8), 3)


@tries(max_examples=60, deadline=None)
@given(masks(largest=90), st.integers(1, 128))
def test_resizing_equals_the_literal(mask, size):
    square = find_square(mask, 5)
    image_, mask_ = crop(grey(mask.shape, 1), square), crop(mask, square)
    np.testing.assert_array_equal(resize_image(image_, size), literal.resized(image_, size))
    np.testing.assert_array_equal(resize_mask(mask_, size), literal.resized_mask(mask_, size))


def test_resizing_by_hand():
    checks = np.array([[0, 40], [80, 120]], dtype=np.uint8)
    assert resize_image(checks, 1) == 60  # the mean
    quarters = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    # shares of the four 2x2 blocks: 4/4, 2/4, 1/4, 0/4
    np.testing.assert_array_equal(resize_mask(quarters, 2), [[1, 1], [0, 0]])
    np.testing.assert_array_equal(
        resize_mask(np.eye(2, dtype=np.uint8), 4), np.kron(np.eye(2), np.ones((2, 2)))
    )


@pytest.mark.parametrize("size", [81, 82, 96, 121, 288])
def test_no_pixel_is_lost_when_enlarging(size):
    mask = np.random.default_rng(0).integers(0, 2, (81, 81), dtype=np.uint8)
    back = np.rint((np.arange(81) + 0.5) * size / 81 - 0.5).astype(int)
    np.testing.assert_array_equal(resize_mask(mask, size)[np.ix_(back, back)], mask)
