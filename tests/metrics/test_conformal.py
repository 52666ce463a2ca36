"""Prediction sets, by hand and by what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.metrics.conformal import SetLimits, held_out_sets, prediction_sets, set_limits, set_shares


def test_limits_by_hand():
    """Nine of each class at a coverage of 0.8: rank floor(0.2 * 10) = 2 from the most unlike end."""
    positive, negative = np.arange(1, 10) / 10, np.arange(1, 10) / 20
    label = np.repeat([1, 0], 9)
    limits = set_limits(label, np.concatenate([positive, negative]), 0.8)
    assert (limits.positive, limits.negative) == (0.2, 0.4)


@pytest.mark.parametrize(("count", "ruled_out"), [(8, False), (9, True)])
def test_with_too_few_nodules_nothing_is_ruled_out(count, ruled_out):
    """At a coverage of 0.9 a p-value of 1 / (n + 1) must be at most 0.1: nine nodules."""
    label = np.repeat([1, 0], count)
    limits = set_limits(label, np.repeat([0.9, 0.1], count), 0.9)
    assert (limits == SetLimits(negative=0.1, positive=0.9)) == ruled_out
    assert (limits == SetLimits(negative=1.0, positive=0.0)) != ruled_out


def test_a_coverage_that_is_no_binary_number_counts_right():
    """1 - 0.9 is a little less than a tenth; of 29 nodules the third is meant."""
    label = np.repeat([1, 0], 29)
    limits = set_limits(label, np.concatenate([np.arange(29) / 100, np.zeros(29)]), 0.9)
    assert limits.positive == 0.02


def test_sets_in_words():
    apart = SetLimits(negative=0.3, positive=0.6)
    assert prediction_sets([0.1, 0.3, 0.45, 0.6, 0.9], apart) == [
        *("negative", "negative", "neither", "positive", "positive")
    ]
    crossed = SetLimits(negative=0.6, positive=0.3)
    assert prediction_sets([0.1, 0.3, 0.6, 0.7], crossed) == ["negative", "either", "either", "positive"]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.8, 0.9, 0.95]), st.integers(5, 60))
def test_the_p_value_decides(seed, coverage, count):
    """The limit against the definition: a class is ruled out where its p-value is at most alpha."""
    noise = np.random.default_rng(seed)
    positive, negative, new = noise.random(count).round(2), noise.random(count).round(2), noise.random(20)
    limits = set_limits(np.repeat([1, 0], count), np.concatenate([positive, negative]), coverage)
    for value, found in zip(new, prediction_sets(new, limits), strict=True):
        p_positive = (1 + (positive <= value).sum()) / (count + 1)
        p_negative = (1 + (negative >= value).sum()) / (count + 1)
        held = {"negative": (True, False), "positive": (False, True)}
        held |= {"either": (True, True), "neither": (False, False)}
        expected = (p_negative > 1 - coverage + 1e-9, p_positive > 1 - coverage + 1e-9)
        assert held[found] == expected


def test_coverage_is_kept_on_held_out_nodules_of_each_class():
    noise = np.random.default_rng(1)
    label = (noise.random(4000) < 0.3).astype(int)
    probability = 1 / (1 + np.exp(-noise.normal(2 * label - 1, 1.5)))
    sets = held_out_sets(label, probability, np.arange(4000) % 4, 0.9)
    shares = set_shares(label, sets)
    assert shares["negative"] == pytest.approx(0.9, abs=0.02)
    assert shares["positive"] == pytest.approx(0.9, abs=0.02)
    assert shares["either"] > 0.2
    assert shares["neither"] == 0


def test_a_fold_has_no_say_in_its_own_limits():
    label = np.tile([0, 1], 40)
    folds = np.repeat([0, 1], 40)
    probability = np.where(folds == 0, 0.5, np.where(label == 1, 0.9, 0.1))
    sets = held_out_sets(label, probability, folds, 0.8)
    assert set(sets[:40]) == {"neither"}  # by limits 0.1 and 0.9 of the other fold
    assert sets[40:] == ["negative", "positive"] * 20  # by limits 0.5 and 0.5


def test_shares_of_a_class_that_is_not_there():
    assert set_shares([1, 1], ["positive", "neither"]) == {
        **{"negative": None, "positive": 0.5, "either": 0.0, "neither": 0.5}
    }
