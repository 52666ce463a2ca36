"""Places: a lattice is found in any order of storage, and nothing else is taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dgfnet.imaging.geometry import Grid, Plane, cut, direction, is_cut_off, nearest, same_grid, take
from dgfnet.imaging.volumes import Volume, shown

SHAPE = (7, 6, 5)
ORDERS = st.permutations([0, 1, 2])
FLIPS = st.lists(st.booleans(), min_size=3, max_size=3)


def rotation(angles):
    """A rotation about all three axes, from angles in radians."""
    a, b, c = angles
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def grid(angles=(0, 0, 0), spacing=(0.5, 0.7, 2.0), origin=(10.0, -20.0, 30.0), shape=SHAPE):
    return Grid(np.array(origin), rotation(angles) @ np.diag(spacing), shape)


def stored_otherwise(values, place, axes, flips):
    """The same voxels at the same places, in another order of storage."""
    values, steps, origin = values.transpose(axes), place.steps[list(axes)].copy(), place.origin.copy()
    for axis, flip in enumerate(flips):
        if flip:
            origin += steps[axis] * (values.shape[axis] - 1)
            steps[axis] *= -1
            values = np.flip(values, axis)
    return values, Grid(origin, steps, values.shape)


def plane_of(place, k):
    """Slice k along the third axis: rows along the second, columns along the first."""
    return Plane(
        place.origin + k * place.steps[2], place.steps[1], place.steps[0], (place.shape[1], place.shape[0])
    )


@given(
    values=arrays(np.int16, SHAPE, elements=st.integers(1, 99)), axes=ORDERS, flips=FLIPS,
    k=st.integers(0, 4), angles=st.tuples(*[st.floats(-0.4, 0.4)] * 3),
)  # fmt: skip
def test_a_slice_is_found_in_any_order_of_storage(values, axes, flips, k, angles):
    place = grid(angles)
    other, elsewhere = stored_otherwise(values, place, axes, flips)
    plane = plane_of(place, k)
    where = cut(elsewhere, plane)
    assert where is not None
    np.testing.assert_array_equal(take(other, where, plane.shape), values[:, :, k].T)
    np.testing.assert_array_equal(nearest(other, elsewhere, plane), values[:, :, k].T)


@given(
    low=st.tuples(*[st.integers(0, 2)] * 3), size=st.tuples(*[st.integers(1, 4)] * 3), k=st.integers(0, 4),
    values=arrays(np.int16, SHAPE, elements=st.integers(1, 99)),
)  # fmt: skip
def test_a_cropped_volume_is_the_whole_one_with_zeros_around(low, size, k, values):
    place = grid()
    part = tuple(slice(start, start + count) for start, count in zip(low, size, strict=True))
    cropped = values[part]
    whole = np.zeros_like(values)
    whole[part] = cropped
    elsewhere = Grid(place.origin + np.array(low) @ place.steps, place.steps, cropped.shape)
    plane = plane_of(place, k)
    where = cut(elsewhere, plane)
    assert where is not None
    np.testing.assert_array_equal(take(cropped, where, plane.shape), whole[:, :, k].T)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": (10.25, -20.0, 30.0)},  # half a pixel
        {"origin": (10.0, -20.0, 31.0)},  # half a slice
        {"spacing": (0.51, 0.7, 2.0)},  # 2 % of seven pixels
        {"spacing": (1.0, 1.4, 2.0)},
        {"angles": (0.0, 0.0, 0.05)},
        {"angles": (0.05, 0.0, 0.0)},  # gantry tilt that one of the two files does not say
    ],
)
def test_another_lattice_is_not_taken_for_the_same(change):
    assert cut(grid(**change), plane_of(grid(), 2)) is None


@pytest.mark.parametrize("change", [{"origin": (10.01, -20.01, 30.05)}, {"spacing": (0.5001, 0.7, 2.001)}])
def test_rounding_of_headers_is_no_other_lattice(change):
    assert cut(grid(**change), plane_of(grid(), 2)) is not None
    assert same_grid(grid(**change), grid())


def test_a_tilted_gantry_is_a_sheared_grid():
    tilt = np.radians(20)
    steps = np.array([[0.5, 0, 0], [0, 0.5 * np.cos(tilt), 0.5 * np.sin(tilt)], [0, 0, 2.0]])
    place = Grid(np.zeros(3), steps, SHAPE)
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    slice_3 = Plane(np.array([0, 0, 6.0]), steps[1], steps[0], (6, 7))
    where = cut(place, slice_3)
    assert where is not None
    np.testing.assert_array_equal(take(values, where, (6, 7)), values[:, :, 3].T)


def test_nearest_of_a_coarse_mask_is_each_voxel_four_times():
    coarse = Grid(np.array([0.5, 0.5, 0.0]), np.diag([2.0, 2.0, 1.0]), (3, 2, 1))
    values = np.arange(1, 7).reshape(3, 2, 1)
    fine = Plane(np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), (4, 6))
    np.testing.assert_array_equal(
        nearest(values, coarse, fine), np.kron(values[:, :, 0].T, np.ones((2, 2), int))
    )


def test_what_ends_at_the_edge_of_a_moved_grid_may_be_cut_off():
    image = grid(spacing=(1, 1, 1), origin=(0, 0, 0))
    moved = grid(spacing=(1, 1, 1), origin=(3, 0, 0))
    plane = plane_of(image, 0)
    where = cut(moved, plane)
    for column, said in ((3, True), (4, False)):  # the first column of the mask's grid, and the next
        drawn = np.zeros(plane.shape, bool)
        drawn[2, column] = True
        assert is_cut_off(drawn, where, moved.shape) is said
    drawn[2, 0] = True
    assert not is_cut_off(drawn, cut(image, plane), image.shape)  # the edge of the image itself


@given(axes=ORDERS, flips=FLIPS)
def test_a_volume_is_shown_alike_in_any_order_of_storage(axes, flips):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    other, place = stored_otherwise(values, grid(), axes, flips)
    spacing = tuple(np.linalg.norm(place.steps, axis=1))
    picture, plane, sides = shown(Volume(other, spacing, place), 1)
    np.testing.assert_array_equal(picture, values[:, :, 1].T)
    assert (direction(plane.down), direction(plane.right)) == ("posterior", "left")
    assert sides == pytest.approx((0.7, 0.5))
    np.testing.assert_allclose(plane.origin, grid().origin + grid().steps[2])
