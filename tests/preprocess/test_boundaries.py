from __future__ import annotations

import cv2
import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from masks import PLACES, box, grey, masks

from dgfnet.preprocess.boundaries import boundary_iterations, nodule_boundary, tissue_boundary


@pytest.mark.parametrize("iterations", [1, 2, 9, 30])
@pytest.mark.parametrize("place", PLACES)
def test_rim_equals_the_literal(place, iterations):
    mask = PLACES[place]
    np.testing.assert_array_equal(nodule_boundary(mask, iterations), literal.rim(mask, 2 * iterations))


@tries(max_examples=150, deadline=None)
@given(masks(), st.integers(1, 25))
def test_rim_equals_the_literal_anywhere(mask, iterations):
    np.testing.assert_array_equal(nodule_boundary(mask, iterations), literal.rim(mask, 2 * iterations))


def test_rim_by_hand():
    boundary = nodule_boundary(box((20, 20), 5, 15, 5, 15), 2)
    np.testing.assert_array_equal(boundary, box((20, 20), 3, 17, 3, 17) - box((20, 20), 7, 13, 7, 13))


def test_no_rim_where_the_image_cuts_the_nodule():
    boundary = nodule_boundary(box((20, 30), 0, 10, 0, 30), 2)
    np.testing.assert_array_equal(boundary, box((20, 30), 8, 12, 0, 30))
    assert not nodule_boundary(np.ones((9, 9), dtype=np.uint8), 3).any()


@pytest.mark.parametrize(
    ("side", "expected"), [(1, 1), (12, 1), (37, 1), (38, 2), (100, 4), (288, 12), (300, 12)]
)
def test_iterations_by_hand(side, expected):
    assert boundary_iterations(side, 0.08) == expected  # 0.04 x side: 0.04, 0.48, 1.48, 1.52, 4, 11.52, 12


@pytest.mark.parametrize("seed", range(5))
def test_edges_equal_the_literal(settings, seed):
    image = grey((96, 96), seed)
    boundary = tissue_boundary(image, settings)
    assert set(np.unique(boundary)) == {0, 1}
    np.testing.assert_array_equal(boundary, literal.edges(image))


def test_edge_of_a_step_is_one_line(settings):
    step = np.zeros((40, 40), dtype=np.uint8)
    step[:, 20:] = 250
    columns = np.flatnonzero(tissue_boundary(step, settings).any(axis=0))
    assert len(columns) == 1
    assert columns[0] in (19, 20)
    assert tissue_boundary(step, settings)[:, columns[0]].all()


def test_a_flat_image_has_no_edge_in_spite_of_the_negative_threshold(settings):
    assert not tissue_boundary(np.full((40, 40), 130, dtype=np.uint8), settings).any()


def test_negative_lower_threshold_acts_as_zero():
    for seed in range(5):
        image = grey((96, 96), seed)
        np.testing.assert_array_equal(cv2.Canny(image, -100, 200), cv2.Canny(image, 0, 200))
        assert (cv2.Canny(image, -100, 200) != cv2.Canny(image, 100, 200)).any()
