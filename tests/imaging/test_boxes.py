"""Boxes and calipers: by hand, and against the masks that they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dgfnet.errors import InputError
from dgfnet.imaging.boxes import Box, bounding_box, ellipse, read_box, read_calipers
from dgfnet.preprocess.roi import find_square


def test_the_box_of_a_mask_reaches_to_the_far_edge_of_its_pixels():
    mask = np.zeros((8, 10), np.uint8)
    mask[2:5, 3] = mask[4, 3:9] = 1
    assert bounding_box(mask) == Box(3, 2, 9, 5)
    with pytest.raises(InputError, match="the mask is empty"):
        bounding_box(mask * 0)


@given(arrays(np.uint8, (12, 17), elements=st.integers(0, 1)), st.integers(0, 30))
def test_a_mask_and_its_box_give_the_same_square(mask, dilations):
    if mask.any():
        box = bounding_box(mask).filled(mask.shape, "us.png")
        assert find_square(box, dilations) == find_square(mask, dilations)


@pytest.mark.parametrize("value", ["10 20 30 50", "10,20,30,50", [10, 20, 30, 50], (10.0, 20, 30, 50)])
def test_a_box_is_four_numbers_in_any_form(value):
    assert read_box(value, "us_box") == Box(10, 20, 30, 50)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10 20 30", "us_box: found 3 numbers; expected 4 numbers: left, top, right, bottom"),
        ("ten", "us_box: found 'ten'; expected 4 numbers"),
        ([10, 20, 30, True], "us_box: found list; expected"),
        ([10, 20, 30, float("inf")], "us_box: found a number that no pixel has; expected"),
        ({"left": 1}, "us_box: found dict; expected"),
        (7, "us_box: found int; expected"),
        ("30 20 10 50", "us_box: -20 x 30 pixels; expected 4 numbers"),
        ("10 20 12 50", "us_box: 2 x 30 pixels; expected 4 numbers"),
    ],
)
def test_what_is_no_box_is_told(value, message):
    with pytest.raises(InputError) as told:
        read_box(value, "us_box")
    assert str(told.value).startswith(message)


def test_one_line_is_the_diameter_of_a_circle():
    assert read_calipers("10 30 30 30", "") == Box(10, 20, 30, 40)
    box = read_calipers([0, 0, 12, 16], "")  # 20 long, around (6, 8)
    assert box == Box(-4, -2, 16, 18)


def test_two_lines_across_are_the_axes_of_an_ellipse():
    assert read_calipers("10 30 50 30 30 20 30 40", "") == Box(10, 20, 50, 40)
    # the second line was drawn off the middle of the first: the centre lies between theirs
    assert read_calipers("10 30 50 30 34 20 34 40", "") == Box(12, 20, 52, 40)


@given(st.floats(4, 80), st.floats(4, 80), st.floats(0, 2 * math.pi))
def test_the_box_of_a_turned_ellipse_is_the_known_one(long, short, angle):
    """Half of its width is sqrt(a2 cos2 + b2 sin2)."""
    cos, sin = math.cos(angle), math.sin(angle)
    length, width = np.array([cos, sin]) * long, np.array([sin, -cos]) * short
    box = read_calipers([*(100 - length), *(100 + length), *(100 - width), *(100 + width)], "")
    assert box.right - 100 == pytest.approx(math.hypot(long * cos, short * sin))
    assert box.bottom - 100 == pytest.approx(math.hypot(long * sin, short * cos))
    assert box.left + box.right == pytest.approx(200)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10 30 11 30", "calipers: a line of 1 pixels; expected 4 numbers"),
        ("10 30 50 30 10 20 50 30", "calipers: two lines 14 degrees apart; expected them across each other"),
        ("1 2 3 4 5 6", "calipers: found 6 numbers; expected 4 numbers, the ends"),
    ],
)
def test_what_is_no_caliper_is_told(value, message):
    with pytest.raises(InputError) as told:
        read_calipers(value, "calipers")
    assert str(told.value).startswith(message)


def test_a_box_is_filled_to_the_nearest_pixel_and_stays_in_its_picture():
    filled = Box(1.6, -0.4, 4.4, 3.2).filled((5, 6), "us.png")
    assert bounding_box(filled) == Box(2, 0, 4, 3)
    assert filled.sum() == 6
    for box in (Box(-1, 0, 4, 4), Box(0, 0, 7, 4), Box(0, 0, 4, 6.5)):
        with pytest.raises(InputError, match=r"us\.png: the box .* out of the picture of 6 x 5 pixels"):
            box.filled((5, 6), "us.png")


def test_edges_move_by_their_share_of_the_side_at_most():
    box, rng = Box(10, 20, 50, 40), np.random.default_rng(0)
    moved = [box.moved(0.1, rng) for _ in range(200)]
    for edge, most in (("left", 4), ("right", 4), ("top", 2), ("bottom", 2)):
        steps = np.array([getattr(one, edge) - getattr(box, edge) for one in moved])
        assert np.abs(steps).max() <= most
        assert np.abs(steps).max() > 0.9 * most
    assert Box(-2, 3, 9, 12).clipped((10, 8)) == Box(0, 3, 8, 10)


def test_an_ellipse_has_the_area_of_an_ellipse():
    drawn = ellipse((300, 400), Box(50, 40, 350, 240))
    assert drawn.sum() == pytest.approx(math.pi * 150 * 100, rel=2e-3)
    assert bounding_box(drawn) == Box(50, 40, 350, 240)
