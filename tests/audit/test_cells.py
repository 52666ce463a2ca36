"""Cells of descriptors: one level is the nearest centre, two levels go down one branch."""

from __future__ import annotations

import numpy as np
import pytest

from dgfnet.audit import cells
from dgfnet.audit.cells import COARSE_ORDERS, ORDERS, Cells, assign, coarse, learn


def descriptors(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 128), dtype=np.uint8)


def axis(*places):
    return np.eye(32, dtype=np.float32)[list(places)]


def test_two_levels_number_the_leaves_through_and_look_into_one_branch():
    tree = Cells(axis(0, 1), [axis(0, 2), axis(3, 4, 1)])
    assert tree.count == 5
    asked = np.zeros((4, 32), dtype=np.float32)
    asked[0, [0, 2]] = 0.9, 0.4  # branch 0, leaf 0
    asked[1, [0, 2]] = 0.5, 0.8  # branch 0, leaf 1
    asked[2, [1, 4]] = 0.5, 0.8  # branch 1, its second leaf
    asked[3, [1, 0, 2]] = 0.6, 0.5, 0.6  # branch 1, though a leaf of branch 0 is as near
    assert tree.of(asked).tolist() == [0, 1, 3, 4]


def test_one_level_is_the_nearest_centre():
    units = coarse(descriptors(50))
    flat = Cells(np.zeros((0, 32), dtype=np.float32), [units])
    assert flat.of(units).tolist() == list(range(50))


@pytest.mark.parametrize("flat", [2048, 2])
def test_cells_hold_what_they_are_to_hold_on_average(monkeypatch, flat):
    monkeypatch.setattr(cells, "FLAT", flat)
    monkeypatch.setattr(cells, "PER_CELL", 100)
    points = descriptors(9000)
    learnt = learn(points)
    assert len(learnt.top) == (0 if flat == 2048 else 9)  # the root of 90
    assert 80 <= learnt.count <= 100  # branches round down or up to one
    cell = assign(points, learnt)
    assert cell.shape == (9000, 4)
    assert cell.min() >= 0
    assert cell.max() < learnt.count
    for one, other in zip(learn(points).leaves, learnt.leaves, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("flat", [2048, 2])
@pytest.mark.parametrize("order", range(4))
def test_a_point_asks_in_the_cell_of_its_changed_copy(monkeypatch, flat, order):
    monkeypatch.setattr(cells, "FLAT", flat)
    monkeypatch.setattr(cells, "PER_CELL", 100)
    points = descriptors(3000)
    learnt = learn(points)
    changed = points[:, ORDERS[order]]  # as the points of a mirrored, inverted picture are
    assert (
        np.mean(assign(changed, learnt)[:, 0] == assign(points, learnt)[:, order]) > 0.999
    )  # but for rounding
    again = assign(changed, learnt)[:, order]  # done twice, it is undone
    assert np.mean(again == assign(points, learnt)[:, 0]) > 0.999


def test_orders_of_coarse_descriptors_are_those_of_fine_ones():
    points = descriptors(20)
    for fine, small in zip(ORDERS, COARSE_ORDERS, strict=True):
        assert np.array_equal(coarse(points[:, fine]), coarse(points)[:, small])
