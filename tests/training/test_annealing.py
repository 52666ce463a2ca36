from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.training.annealing import PLAIN, _loss, anneal, head_at

N = 120


@pytest.fixture(scope="module")
def values():
    """2048 values of which one tells the label; 90 nodules train, 30 judge."""
    rng = np.random.default_rng(0)
    labels = (np.arange(N) % 3 == 0).astype(np.float32)
    x = rng.normal(0, 0.1, (N, 2048)).astype(np.float32)
    x[:, 7] = 2 * labels - 1
    return x, labels, np.arange(90), np.arange(90, N)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_every_point_of_the_cube_is_a_head(point):
    head = head_at(np.array(point))
    assert 16 <= head.width <= 256
    assert 1 <= head.depth <= 3
    assert 0 <= head.dropout <= 0.7
    assert 1e-4 * 0.999 <= head.learning_rate <= 1e-2 * 1.001
    assert 1e-6 * 0.999 <= head.weight_decay <= 1e-2 * 1.001


def test_corners_and_middle_of_the_cube_by_hand():
    low, high, middle = head_at(np.zeros(5)), head_at(np.ones(5)), head_at(np.full(5, 0.5))
    assert (low.width, low.depth, low.dropout) == (16, 1, 0.0)
    assert (high.width, high.depth, high.dropout) == (256, 3, 0.7)
    assert (middle.width, middle.depth) == (64, 2)  # the root of 16 times 256
    assert middle.learning_rate == pytest.approx(1e-3)
    assert middle.weight_decay == pytest.approx(1e-4)


def test_the_best_of_what_was_tried_is_taken(values):
    head, tried = anneal(*values, heads=6, seed=3)
    assert len(tried) == 6
    assert {name: tried[0][name] for name in ("width", "depth")} == {
        "width": PLAIN.width,
        "depth": PLAIN.depth,
    }
    best = min(tried, key=lambda trial: trial["loss"])
    assert best["learning_rate"] == head.learning_rate
    assert best["loss"] == pytest.approx(_loss(head, *values, seed=3))
    assert best["loss"] < np.log(2)  # the label can be told


def test_an_equal_seed_repeats_the_search(values):
    assert anneal(*values, heads=4, seed=5) == anneal(*values, heads=4, seed=5)
    assert anneal(*values, heads=4, seed=5)[1] != anneal(*values, heads=4, seed=6)[1]


def test_labels_that_judge_are_not_trained_on(values):
    x, labels, inner, score = values
    other = labels.copy()
    other[score] = 1 - other[score]
    one, flipped = _loss(PLAIN, x, labels, inner, score, 1), _loss(PLAIN, x, other, inner, score, 1)
    assert one < np.log(2) < flipped


def test_one_head_is_the_plain_one(values):
    assert anneal(*values, heads=1, seed=1)[0] == PLAIN
