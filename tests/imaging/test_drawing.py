"""A pixel is inside an outline when its centre is: squares, convex and any polygons, holes, ellipses."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import matplotlib.path
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.imaging import drawing
from dgfnet.imaging.drawing import CENTRES, CORNERS, ellipse, polygons

SHAPE = (24, 32)
FIRST = st.sampled_from([CORNERS, CENTRES])
QUARTERS = st.integers(-20, 150).map(lambda number: number / 4)  # exact in floating point
POINT = st.tuples(QUARTERS, QUARTERS)


def ring(*points):
    return np.array(points, dtype=np.float64)


def centres(first):
    columns, rows = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    return columns + first[0], rows + first[1]


@given(FIRST, POINT, POINT, st.permutations(range(4)))
def test_of_a_rectangle_the_centres_between_its_sides_are_inside(first, one, other, order):
    (left, top), (right, bottom) = np.minimum(one, other), np.maximum(one, other)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    turned = corners[order[0] :] + corners[: order[0]]
    mask = polygons([ring(*(turned[::-1] if order[1] > 1 else turned))], SHAPE, first)
    x, y = centres(first)
    np.testing.assert_array_equal(mask, (x >= left) & (x < right) & (y >= top) & (y < bottom))


@given(FIRST, st.lists(POINT, min_size=3, max_size=3))
def test_of_a_triangle_the_centres_on_one_side_of_all_three_lines_are_inside(first, points):
    """In fractions, and away from the lines, where a rule decides."""
    mask = polygons([ring(*points)], SHAPE, first)
    corners = [tuple(Fraction(value) for value in point) for point in points]
    sides = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for row in range(SHAPE[0]):
        for column in range(SHAPE[1]):
            x, y = Fraction(column) + Fraction(first[0]), Fraction(row) + Fraction(first[1])
            turns = [
                (to_x - at_x) * (y - at_y) - (to_y - at_y) * (x - at_x)
                for (at_x, at_y), (to_x, to_y) in sides
            ]
            if 0 not in turns:
                assert mask[row, column] == (len({turn > 0 for turn in turns}) == 1)


@given(st.lists(st.lists(POINT, min_size=1, max_size=9), min_size=1, max_size=4))
def test_inside_is_what_an_odd_number_of_rings_surrounds(rings):
    """Each ring by matplotlib, moved off the quarters so that no centre lies on a side."""
    moved = [np.add(ring(*points), (0.0371, 0.0113)) for points in rings]
    x, y = centres(CORNERS)
    expected = np.zeros(SHAPE, dtype=bool)
    for points in moved:
        path = matplotlib.path.Path(np.concatenate([points, points[:1]]))
        expected ^= path.contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(SHAPE)
    np.testing.assert_array_equal(polygons(moved, SHAPE, CORNERS), expected)


@given(st.lists(POINT, min_size=3, max_size=9), st.integers(-9, 9), st.integers(-9, 9))
def test_an_outline_that_is_moved_by_whole_pixels_moves_its_mask(points, right, down):
    wide = (SHAPE[0] + 60, SHAPE[1] + 60)
    middle = np.add(ring(*points), (30, 30))
    moved = polygons([np.add(middle, (right, down))], wide, CORNERS)
    np.testing.assert_array_equal(moved, np.roll(polygons([middle], wide, CORNERS), (down, right), (0, 1)))


@given(FIRST, POINT, st.lists(POINT, min_size=3, max_size=8))
def test_a_fan_of_triangles_covers_what_its_outline_does_and_no_centre_twice(first, tip, points):
    """Ties included: sides are shared, and each centre on one belongs to one neighbour."""
    fan = np.zeros(SHAPE, dtype=int)
    for at, to in zip(points, points[1:] + points[:1], strict=True):
        fan += polygons([ring(tip, at, to)], SHAPE, first)
    np.testing.assert_array_equal(fan % 2 == 1, polygons([ring(*points)], SHAPE, first))


def test_holes_and_keyholes_are_left_out():
    outer = [(2, 2), (20, 2), (20, 20), (2, 20)]
    inner = [(6, 8), (6, 15), (14, 15), (14, 8)]
    expected = np.zeros(SHAPE, dtype=bool)
    expected[2:20, 2:20] = True
    expected[8:15, 6:14] = False
    np.testing.assert_array_equal(polygons([ring(*outer), ring(*inner)], SHAPE, CORNERS), expected)
    keyhole = ring(*outer, outer[0], *inner, inner[0])  # out and back along one line
    np.testing.assert_array_equal(polygons([keyhole], SHAPE, CORNERS), expected)


def test_on_request_the_centres_on_an_outline_are_inside():
    """A contour along the centres of a region's outer pixels, as OpenCV finds it, gives the region back."""
    contour = ring((10, 8), (19, 8), (19, 13), (10, 13))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[8:14, 10:20] = True
    np.testing.assert_array_equal(polygons([contour], SHAPE, CENTRES, outline=True), expected)
    noisy = contour + np.array([[0.004, -0.006], [-0.007, 0.003], [-0.002, -0.004], [0.005, 0.002]])
    np.testing.assert_array_equal(polygons([noisy], SHAPE, CENTRES, outline=True), expected)
    for points, pixels in (
        ([(5, 7)], [(7, 5)]),
        ([(5, 7), (8, 7)], [(7, 5), (7, 6), (7, 7), (7, 8)]),
        ([(5, 7), (5, 9)], [(7, 5), (8, 5), (9, 5)]),
        ([(5, 7), (7, 9)], [(7, 5), (8, 6), (9, 7)]),
        ([(5.5, 7), (5.5, 9)], []),
        ([(-3, 7), (1, 7)], [(7, 0), (7, 1)]),
        ([(31, 30), (31, 22)], [(22, 31), (23, 31)]),
    ):
        found = np.argwhere(polygons([ring(*points)], SHAPE, CENTRES, outline=True))
        assert [tuple(pixel) for pixel in found] == pixels


@given(st.lists(POINT, min_size=1, max_size=6))
def test_pixels_on_an_outline_are_those_that_a_side_passes(points):
    """Against the distance of every centre from every side."""
    added = polygons([ring(*points)], SHAPE, CORNERS, outline=True) & ~polygons(
        [ring(*points)], SHAPE, CORNERS
    )
    x, y = centres(CORNERS)
    near, far = np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)
    for (at_x, at_y), (to_x, to_y) in zip(points, points[1:] + points[:1], strict=True):
        run = (to_x - at_x) ** 2 + (to_y - at_y) ** 2
        share = np.clip(((x - at_x) * (to_x - at_x) + (y - at_y) * (to_y - at_y)) / (run or 1), 0, 1)
        distance = np.hypot(x - at_x - share * (to_x - at_x), y - at_y - share * (to_y - at_y))
        near |= distance == 0
        far &= distance > 2 * drawing.NEAR
    assert not (added & far).any()
    assert (polygons([ring(*points)], SHAPE, CORNERS, outline=True) >= near).all()


@given(FIRST, POINT, st.floats(0.3, 30), st.floats(0.3, 30), st.floats(-7, 7))
def test_an_ellipse_holds_the_centres_whose_distances_from_its_foci_add_up_to_less(
    first, centre, a, b, angle
):
    mask = ellipse(centre, (a, b), angle, SHAPE, first)
    long, short = max(a, b), min(a, b)
    turned = angle if a >= b else angle + np.pi / 2
    reach = np.sqrt(long**2 - short**2)
    x, y = centres(first)
    sum_of_both = sum(
        np.hypot(x - centre[0] - sign * reach * np.cos(turned), y - centre[1] - sign * reach * np.sin(turned))
        for sign in (-1, 1)
    )
    clear = abs(sum_of_both - 2 * long) > 1e-6
    np.testing.assert_array_equal(mask[clear], (sum_of_both < 2 * long)[clear])


def test_an_ellipse_is_turned_clockwise():
    mask = ellipse((16, 12), (10, 2), np.pi / 6, SHAPE, CORNERS)
    assert mask[int(12 + 8 * np.sin(np.pi / 6)), int(16 + 8 * np.cos(np.pi / 6))]  # right and down
    assert not mask[int(12 - 8 * np.sin(np.pi / 6)), int(16 + 8 * np.cos(np.pi / 6))]
    assert not ellipse((16, 12), (0, 2), 0, SHAPE, CORNERS).any()


def test_nothing_and_what_lies_outside_draw_nothing():
    assert not polygons([], SHAPE, CORNERS).any()
    assert not polygons([np.zeros((0, 2))], SHAPE, CORNERS).any()
    assert not polygons([ring((-9, -9), (-2, -9), (-2, -2))], SHAPE, CORNERS, outline=True).any()
    assert not polygons([ring((90, 90), (99, 90), (99, 99))], SHAPE, CORNERS, outline=True).any()
    assert polygons([ring((-900, -900), (9000, -900), (9000, 900), (-900, 900))], SHAPE, CORNERS).all()


def test_memory_is_that_of_the_rectangle_around_an_outline_and_the_mask():
    contour = ring((3000, 3000), (3100, 3010), (3050, 3100))
    zigzag = np.column_stack([np.arange(4000) % 200, np.arange(4000) % 2 * 6000.0])
    tracemalloc.start()
    mask = polygons([contour], (6000, 6000), CORNERS)
    small = tracemalloc.get_traced_memory()[1] - mask.nbytes
    tracemalloc.reset_peak()
    polygons([zigzag], (6000, 6000), CORNERS)  # 24 million crossings
    large = tracemalloc.get_traced_memory()[1] - 2 * mask.nbytes
    tracemalloc.stop()
    assert small < 2**20
    assert large < 250 * 2**20


def test_outlines_that_would_take_minutes_are_refused(monkeypatch):
    monkeypatch.setattr(drawing, "MOST", 40)
    polygons([ring((1, 1), (9, 1), (9, 20), (1, 20))], SHAPE, CORNERS)
    with pytest.raises(ValueError, match="cross 46 rows of pixels; expected at most 40"):
        polygons([ring((1, 1), (9, 1), (9, 24), (1, 24))], SHAPE, CORNERS)


def test_long_outlines_are_drawn_in_parts(monkeypatch):
    angles = np.linspace(0, 2 * np.pi, 100)
    circle = np.column_stack([15 + 11 * np.cos(angles), 12 + 9 * np.sin(angles)])
    whole = polygons([circle], SHAPE, CORNERS, outline=True)
    monkeypatch.setattr(drawing, "AT_ONCE", 5)
    np.testing.assert_array_equal(polygons([circle], SHAPE, CORNERS, outline=True), whole)
