from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from dgfnet.metrics.calibration import (
    HOTTEST,
    brier,
    calibration_slope_intercept,
    cooled,
    reliability,
    shift_prevalence,
    temperature,
)

shares = st.floats(0.01, 0.99)
probabilities = st.floats(0.001, 0.999)


def two_groups():
    """20 rows at 0.2 of which 6 are positive, 10 rows at 0.7 of which 9 are."""
    probability = np.repeat([0.2, 0.7], [20, 10])
    label = np.repeat([1, 0, 1, 0], [6, 14, 9, 1])
    return label, probability


def test_undersampling_is_undone():
    # Of 10 positives and 90 negatives, 3 and 6 look alike: one in three. Every third negative kept makes it
    # 3 and 2, 0.6, at a prevalence of 10 / 40.
    assert shift_prevalence(0.6, 0.25, 0.1) == pytest.approx(1 / 3)
    assert shift_prevalence(0.5, 0.5, 0.1) == pytest.approx(0.1)


def test_certainties_stay_certain():
    assert shift_prevalence([0.0, 1.0], 0.5, 0.1).tolist() == [0.0, 1.0]


@given(probabilities, shares, shares)
def test_shift_moves_the_logit_goes_back_and_is_nothing_at_the_same_prevalence(p, here, there):
    moved = shift_prevalence(p, here, there)
    assert logit(moved) == pytest.approx(logit(p) + logit(there) - logit(here), abs=1e-9)
    assert shift_prevalence(moved, there, here) == pytest.approx(p)
    assert shift_prevalence(p, here, here) == pytest.approx(p)


def test_shift_keeps_the_shape_and_order():
    p = np.linspace(0.0, 1.0, 12).reshape(3, 4)
    moved = shift_prevalence(p, 0.5, 0.2)
    assert moved.shape == (3, 4)
    assert (np.diff(moved.ravel()) > 0).all()


@pytest.mark.parametrize(
    ("p", "here", "there", "message"),
    [
        (1.1, 0.5, 0.5, r"probabilities must be in 0\.\.1"),
        (math.nan, 0.5, 0.5, r"probabilities must be in 0\.\.1"),
        (0.5, 0.0, 0.5, "from_prevalence must be strictly"),
        (0.5, 0.5, 1.0, "to_prevalence must be strictly"),
    ],
)
def test_shift_refuses_what_has_no_odds(p, here, there, message):
    with pytest.raises(ValueError, match=message):
        shift_prevalence(p, here, there)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_brier_is_scikit_learns(data):
    label, p = (np.array(column) for column in zip(*data, strict=True))
    assert brier(label, p) == pytest.approx(brier_score_loss(label, p, pos_label=1))


def test_brier_by_hand():
    assert brier([1, 0], [0.7, 0.4]) == pytest.approx((0.09 + 0.16) / 2)
    assert brier([1, 0], [0.0, 1.0]) == 1.0
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        brier([1, 0], [2.0, 0.0])


def test_two_groups_fix_the_line():
    # two points and two parameters: the line goes through the observed shares, 6/20 and 9/10
    found = calibration_slope_intercept(*two_groups())
    slope = (logit(0.9) - logit(0.3)) / (logit(0.7) - logit(0.2))
    assert found.slope == pytest.approx(slope, rel=1e-6)
    assert found.intercept == pytest.approx(logit(0.3) - slope * logit(0.2), rel=1e-6)


def test_in_the_large_matches_the_number_of_positives():
    assert calibration_slope_intercept([1, 1, 1, 0], [0.5] * 4).in_the_large == pytest.approx(math.log(3))
    label, p = two_groups()
    offset = calibration_slope_intercept(label, p).in_the_large
    assert expit(logit(p) + offset).sum() == pytest.approx(15)


def test_observed_shares_as_predicted_are_perfect():
    found = calibration_slope_intercept(
        np.repeat([1, 0, 1, 0], [5, 15, 6, 2]), np.repeat([0.25, 0.75], [20, 8])
    )
    assert (found.slope, found.intercept, found.in_the_large) == pytest.approx((1, 0, 0), abs=1e-7)


@given(st.floats(-2, 2), st.floats(0.2, 4))
def test_distorted_logits_are_found_out(shift, stretch):
    label, p = two_groups()
    base = calibration_slope_intercept(label, p)
    found = calibration_slope_intercept(label, expit(shift + stretch * logit(p)))
    assert found.slope == pytest.approx(base.slope / stretch, rel=1e-5)
    assert found.intercept == pytest.approx(base.intercept - shift * base.slope / stretch, abs=1e-5)


def test_recalibration_is_scikit_learns_without_penalty():
    generator = np.random.default_rng(6)
    x = generator.normal(-1, 2, size=300)
    label = (generator.random(300) < expit(0.3 + 0.6 * x)).astype(int)
    model = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x[:, None], label)
    found = calibration_slope_intercept(label, expit(x))
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(model.intercept_[0], abs=1e-4)


@pytest.mark.parametrize(
    ("label", "probability"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),
        ([0, 1, 1, 0], [0.4, 0.4, 0.4, 0.4]),
    ],
)
def test_no_slope_when_the_likelihood_has_no_maximum(label, probability):
    found = calibration_slope_intercept(label, probability)
    assert math.isnan(found.slope)
    assert math.isnan(found.intercept)
    assert expit(logit(np.array(probability)) + found.in_the_large).sum() == pytest.approx(2)


def test_one_class_has_no_calibration():
    found = calibration_slope_intercept([1, 1], [0.4, 0.6])
    assert all(math.isnan(value) for value in (found.slope, found.intercept, found.in_the_large))


def test_probabilities_of_zero_and_one_are_survived():
    found = calibration_slope_intercept([0, 1, 0, 1, 1, 0], [0.0, 0.0, 0.3, 0.6, 1.0, 1.0])
    assert math.isfinite(found.slope)
    assert math.isfinite(found.intercept)
    assert 0 < found.slope < 0.5  # far too extreme predictions
    wrong = calibration_slope_intercept([1, 0], [0.0, 0.0])
    assert wrong.in_the_large == pytest.approx(
        24 * math.log(2), rel=1e-6
    )  # half are positive: undo the logit


def test_curve_by_hand():
    found = reliability([0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.8], 2)
    assert found.predicted == pytest.approx([0.2, 0.7])
    assert found.observed == pytest.approx([1 / 3, 1])
    assert found.positives.tolist() == [1, 3]
    assert found.count.tolist() == [3, 3]


def test_curve_is_scikit_learns():
    generator = np.random.default_rng(9)
    p = generator.random(203)
    label = (generator.random(203) < p).astype(int)
    observed, predicted = calibration_curve(label, p, n_bins=10, strategy="quantile")
    found = reliability(label, p, 10)
    assert found.observed == pytest.approx(observed)
    assert found.predicted == pytest.approx(predicted)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.4, 1.0])), min_size=1, max_size=30),
    st.integers(1, 12),
)
def test_curve_counts_every_row_once_and_parts_no_ties(data, bins):
    label, p = (np.array(column) for column in zip(*data, strict=True))
    found = reliability(label, p, bins)
    assert found.count.sum() == label.size
    assert found.positives.sum() == label.sum()
    assert 1 <= found.count.size <= min(bins, len(set(p)))
    assert (found.predicted * found.count).sum() == pytest.approx(p.sum())
    assert (np.diff(found.predicted) > 0).all()


def test_curve_needs_a_bin():
    with pytest.raises(ValueError, match="at least 1"):
        reliability([0, 1], [0.1, 0.9], 0)


def test_temperature_undoes_a_factor_on_the_log_odds():
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1.5, 40_000)
    label = rng.random(x.size) < expit(x)
    assert temperature(label, expit(x)) == pytest.approx(1.0, abs=0.03)
    assert temperature(label, expit(3 * x)) == pytest.approx(3.0, abs=0.1)
    assert temperature(label, expit(x / 2)) == pytest.approx(0.5, abs=0.02)


def test_temperature_of_limiting_cases():
    assert temperature([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == pytest.approx(
        1 / HOTTEST, rel=1e-3
    )  # separated
    assert temperature([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]) == pytest.approx(
        HOTTEST, rel=1e-3
    )  # wrong way round
    assert math.isnan(temperature([1, 1], [0.2, 0.4]))
    # p = 0.8 twice right of three: the best log-odds are log 2, and log 4 / T = log 2 for T = 2
    assert temperature([1, 1, 0], [0.8, 0.8, 0.8]) == pytest.approx(2.0, abs=1e-5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.05, 20))
def test_cooling_keeps_the_order_and_can_be_undone(p, heat):
    warm = np.array(p)
    cold = cooled(warm, heat)
    order = np.argsort(warm, kind="stable")
    assert (np.diff(cold[order]) >= 0).all()
    inner = (warm > 1e-6) & (warm < 1 - 1e-6) & (cold > 1e-12) & (cold < 1 - 1e-12)
    np.testing.assert_allclose(cooled(cold, 1 / heat)[inner], warm[inner], rtol=1e-2)
    assert cooled([0.0, 0.5, 1.0], heat).tolist() == [0.0, 0.5, 1.0]


def test_a_temperature_is_above_zero():
    with pytest.raises(ValueError, match="temperature must be above 0"):
        cooled([0.5], 0.0)
