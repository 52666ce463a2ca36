"""Random effects over studies: values derived by hand, limiting cases, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import t as student

from dgfnet.metrics.heterogeneity import random_effects

FINITE = st.floats(-3, 3)
VARIANCES = st.floats(0.01, 2)
STUDIES = st.lists(st.tuples(FINITE, VARIANCES), min_size=2, max_size=8)


def test_two_studies_of_one_variance_by_hand():
    """REML of two equally exact studies is d^2 / 2 - v: 0.5 - 0.1, and the mean is their mean."""
    found = random_effects([0.0, 1.0], [0.1, 0.1], 0.95)
    assert found.estimate == pytest.approx(0.5)
    assert found.between == pytest.approx(math.sqrt(0.4))
    # every study has variance 0.5 then, the mean 0.25, and Q / (k - 1) is 1
    half = student.ppf(0.975, 1) * 0.5
    assert (found.low, found.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    assert math.isnan(found.predicted_low)  # no degree of freedom is left
    assert found.inconsistency == pytest.approx(0.8)  # Q = 2 x 0.25 / 0.1 = 5, (5 - 1) / 5


def test_three_studies_of_one_variance_by_hand():
    """The restricted variance is that of the effects, 1, less 0.25."""
    found = random_effects([-1.0, 0.0, 1.0], [0.25] * 3, 0.9)
    assert (found.estimate, found.between) == (pytest.approx(0.0), pytest.approx(math.sqrt(0.75)))
    half = student.ppf(0.95, 2) * math.sqrt(1 / 3)
    assert found.high == pytest.approx(half)
    further = student.ppf(0.95, 1) * math.sqrt(0.75 + 1 / 3)
    assert found.predicted_high == pytest.approx(further)


def test_equal_effects_do_not_differ_and_limits_are_not_narrower_than_chance():
    found = random_effects([0.7] * 4, [0.2, 0.1, 0.3, 0.2], 0.95)
    assert (found.estimate, found.between, found.inconsistency) == (pytest.approx(0.7), 0.0, 0.0)
    weight = 1 / 0.2 + 1 / 0.1 + 1 / 0.3 + 1 / 0.2
    assert found.high - 0.7 == pytest.approx(student.ppf(0.975, 3) / math.sqrt(weight))


def test_one_study_says_nothing_of_others():
    found = random_effects([0.4], [0.1], 0.95)
    assert (found.studies, found.estimate) == (1, 0.4)
    assert all(math.isnan(value) for value in list(vars(found).values())[2:])


@given(STUDIES, st.floats(-5, 5), st.permutations(range(8)))
def test_order_and_origin_do_not_matter(studies, shift, order):
    y, v = np.array(studies).T
    found = random_effects(y, v, 0.95)
    moved = random_effects(y + shift, v, 0.95)
    order = [index for index in order if index < len(y)]
    mixed = random_effects(y[order], v[order], 0.95)
    assert moved.estimate == pytest.approx(found.estimate + shift, abs=1e-6)
    assert moved.between == pytest.approx(found.between, abs=1e-4)
    assert mixed.estimate == pytest.approx(found.estimate, abs=1e-6)
    assert found.low <= found.estimate <= found.high
    assert min(y) - 1e-9 <= found.estimate <= max(y) + 1e-9
    assert found.between >= 0
    assert 0 <= found.inconsistency <= 1


@given(STUDIES)
@example([(3.0, 1.5), (-1.0, 0.25), (-1.0, 0.0625), (-1.0, 0.0625)])  # has two maxima, at 0 the higher one
def test_the_restricted_likelihood_is_largest_there(studies):
    y, v = np.array(studies).T

    def likelihood(between):
        weight = 1 / (v + between)
        mean = weight @ y / weight.sum()
        terms = np.log(v + between).sum() + math.log(weight.sum()) + weight @ np.square(y - mean)
        return -0.5 * float(terms)

    best = random_effects(y, v, 0.95).between ** 2
    top = likelihood(best)
    for other in (0.0, best / 2, best * 2, best + 0.05, best + 1.0, *np.geomspace(1e-4, 100, 50)):
        assert likelihood(other) <= top + 1e-6


@pytest.mark.parametrize(
    ("effects", "variances", "confidence"),
    [
        ([], [], 0.95),
        ([0.1], [0.1, 0.2], 0.95),
        ([0.1, math.nan], [0.1, 0.2], 0.95),
        ([0.1, 0.2], [0.1, 0.0], 0.95),
        ([0.1, 0.2], [0.1, math.inf], 0.95),
        ([0.1, 0.2], [0.1, 0.2], 1.0),
    ],
)
def test_what_has_no_answer_is_refused(effects, variances, confidence):
    with pytest.raises(ValueError, match=r"expected \(k,\)|finite|confidence"):
        random_effects(effects, variances, confidence)
