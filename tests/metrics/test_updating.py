"""Recalibration at a new site, against likelihoods and formulas by hand."""

import numpy as np
import pytest
from scipy.special import expit, logit

from dgfnet.metrics.updating import needed_cases, update_line

NOISE = np.random.default_rng(4)


def drawn(count, intercept, slope):
    x = NOISE.normal(-0.5, 1.5, count)
    return (NOISE.random(count) < expit(intercept + slope * x)).astype(int), x


@pytest.mark.parametrize(
    ("intercept", "slope", "update"),
    [(0, 1, "none"), (1.5, 1, "intercept"), (0.5, 0.4, "intercept and slope")],
)
def test_what_is_wrong_is_mended_and_no_more(intercept, slope, update):
    line = update_line(*drawn(3000, intercept, slope))
    assert line.update == update
    assert line.intercept == pytest.approx(intercept, abs=0.2)
    assert line.slope == pytest.approx(slope, abs=0.1)


def test_the_tests_by_hand():
    """100 cases at log odds 0, 70 positive, beside 100 at 1, 80 positive: a line goes through both."""
    x = np.repeat([0.0, 1.0], 100)
    label = np.concatenate([np.arange(100) < 70, np.arange(100) < 80]).astype(int)
    line = update_line(label, x)

    def likelihood(first, second):
        return 70 * np.log(first) + 30 * np.log(1 - first) + 80 * np.log(second) + 20 * np.log(1 - second)

    both, original = likelihood(0.7, 0.8), likelihood(0.5, expit(1))
    assert line.p_original == pytest.approx(np.exp(-(both - original)))  # chi2 of 2 degrees: exp(-x / 2)
    # slope 0.539 is not needed: its p is above 5 %, and one intercept moves both
    assert line.update == "intercept"
    assert expit(line.intercept) * 100 + expit(line.intercept + 1) * 100 == pytest.approx(150)
    assert line.p_intercept > 0.05


def test_few_cases_change_nothing_without_proof():
    """Four of ten where five are expected."""
    assert update_line([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [0.1, -0.1] * 5).update == "none"


@pytest.mark.parametrize("label", [[1, 1, 1, 1], [0, 0, 1, 1]])
def test_one_class_or_separated_ones_have_no_line(label):
    with pytest.raises(ValueError, match="no line can be fitted"):
        update_line(label, [-2.0, -1.0, 1.0, 2.0])


def test_needed_cases_by_hand():
    """Half the cases at probability 0.2, half at 0.8: weights 0.16, log odds -+ln 4."""
    x = logit([0.2, 0.8])
    needed = needed_cases(0.5, x, 0.8)
    assert needed["mean"] == 385  # 1 / 0.051^2 = 384.47
    # the information of the slope is 0.16 (ln 4)^2 a case: intercept and slope do not touch
    assert needed["slope"] == np.ceil(1 / ((0.1 / 1.959964) ** 2 * 0.16 * np.log(4) ** 2))
    n = needed["auc"]
    # variance of an AUC of 0.8 with n cases, half of them positive (Newcombe's method 4)
    variance = [0.16 * (1 + (m / 2 - 1) * (0.2 / 1.2 + 0.8 / 1.8)) / (m**2 * 0.25) for m in (n - 1, n)]
    assert variance[1] <= (0.05 / 1.959964) ** 2 < variance[0]


def test_rare_outcomes_need_more():
    x = NOISE.normal(-2, 1, 500)
    assert needed_cases(0.1, x, 0.8)["mean"] == 3461  # 9 / 0.051^2 = 3460.2
    assert needed_cases(0.1, x, 0.8)["auc"] > needed_cases(0.5, x, 0.8)["auc"]


@pytest.mark.parametrize(
    ("prevalence", "auc", "x"), [(0, 0.8, [0, 1]), (0.5, 0.5, [0, 1]), (0.5, 0.8, [1, 1])]
)
def test_numbers_out_of_range(prevalence, auc, x):
    with pytest.raises(ValueError, match=r"expected 0 to 1|no calibration slope"):
        needed_cases(prevalence, x, auc)


def test_an_auc_near_one_needs_two_of_the_rarer_class():
    """Where the smallest cohort measures it well enough."""
    assert needed_cases(0.1, [-3.0, 3.0], 0.996)["auc"] == 20
