"""The space of a search, in Optuna's words and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.sections.fits import Range
from dgfnet.sweep.space import decoded, distributions, encoded, every_point, size, within

BRANCHES = (["dimension"], ["dimension", "modality"])
SPACE = {
    "training.learning_rate": Range(low=1e-4, high=1e-2, log=True),
    "training.batch": Range(low=8, high=32),
    "network.dgf.combiner": Range(choices=("sum", "product")),
    "network.dgf.branches": Range(choices=BRANCHES),
}
PRESENT = {
    **{"training.learning_rate": 1e-3, "training.batch": 30, "network.dgf.combiner": "product"},
    "network.dgf.branches": ["dimension", "modality", "nodule"],
}
FINITE = {name: SPACE[name] for name in ("network.dgf.combiner", "network.dgf.branches")}


def test_a_whole_number_is_searched_among_whole_numbers():
    made = distributions(SPACE, PRESENT)
    rate, batch = made["training.learning_rate"], made["training.batch"]
    assert (type(rate).__name__, rate.low, rate.high, rate.log) == ("FloatDistribution", 1e-4, 1e-2, True)
    assert (type(batch).__name__, batch.low, batch.high) == ("IntDistribution", 8, 32)
    assert made["network.dgf.combiner"].choices == ("sum", "product")


def test_whole_limits_of_a_setting_that_is_none_are_real():
    made = distributions({"network.dropout": Range(low=0, high=1)}, {"network.dropout": 0.1})
    assert type(made["network.dropout"]).__name__ == "FloatDistribution"


@given(st.sampled_from(BRANCHES), st.sampled_from(["sum", "product"]), st.integers(8, 32))
def test_a_point_comes_back_from_optunas_words(branches, combiner, batch):
    point = {
        **{"training.learning_rate": 1e-3, "training.batch": batch},
        **{"network.dgf.combiner": combiner, "network.dgf.branches": branches},
    }
    words = encoded(point)
    assert all(isinstance(value, str | int | float) for value in words.values())
    made = distributions(SPACE, PRESENT)
    assert all(made[name]._contains(made[name].to_internal_repr(value)) for name, value in words.items())
    assert decoded(words | {"make": None}, SPACE) == point


def test_points_in_and_out_of_a_space_with_lists():
    inside = PRESENT | {"network.dgf.branches": ["dimension"]}
    assert within(inside, SPACE)
    assert not within(PRESENT, SPACE)  # all three branches are no choice
    assert not within(inside | {"training.batch": 33}, SPACE)


def test_finite_spaces_are_counted_and_listed():
    assert size(SPACE, PRESENT) == math.inf
    assert size(FINITE, PRESENT) == 4
    assert size({"training.batch": Range(low=8, high=32)}, PRESENT) == 25
    assert size({"network.dgf.combiner": Range(choices=("sum", "sum"))}, PRESENT) == 1
    points = list(every_point(FINITE, PRESENT))
    assert len(points) == 4
    assert all(within(point, FINITE) for point in points)
    assert {(point["network.dgf.combiner"], len(point["network.dgf.branches"])) for point in points} == {
        *(("sum", 1), ("sum", 2), ("product", 1), ("product", 2))
    }


@pytest.mark.parametrize("present", [True, False])
def test_a_switch_is_no_whole_number(present):
    assert not Range(low=0, high=1).whole(present)
