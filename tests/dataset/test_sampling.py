from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.dataset.sampling import everyone, undersample

labels = st.lists(st.sampled_from([0.0, 1.0, np.nan]), max_size=40).map(lambda v: np.array(v, np.float32))
seeds = st.integers(0, 2**32)


@given(labels, seeds)
def test_undersampling_balances_and_leaves_the_unknown_out(label, seed):
    chosen = undersample(label, np.random.default_rng(seed))
    rarer = min(np.sum(label == 0), np.sum(label == 1))
    assert len(set(chosen.tolist())) == len(chosen) == 2 * rarer
    assert np.sum(label[chosen] == 1) == np.sum(label[chosen] == 0) == rarer


def test_undersampling_keeps_the_rarer_class_and_draws_the_other_anew():
    label = np.array([1] * 3 + [0] * 30, np.float32)
    rng = np.random.default_rng(1)
    draws = [undersample(label, rng) for _ in range(60)]
    assert all({0, 1, 2} <= set(draw.tolist()) for draw in draws)
    assert set(np.concatenate(draws).tolist()) == set(
        range(33)
    )  # (9/10)^60 x 30: fails once in 18 runs of 1000


def test_undersampling_mixes_the_classes():
    label = np.array([1] * 20 + [0] * 20, np.float32)
    orders = [label[undersample(label, np.random.default_rng(seed))] for seed in range(5)]
    assert all(0 < order[:20].sum() < 20 for order in orders)


@given(labels, seeds)
def test_everyone_is_all_the_known_once(label, seed):
    order = everyone(label, np.random.default_rng(seed))
    assert sorted(order.tolist()) == [i for i, value in enumerate(label) if value == value]


@given(labels, seeds)
def test_an_equal_seed_draws_equally(label, seed):
    for draw in (undersample, everyone):
        first, second = (draw(label, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
