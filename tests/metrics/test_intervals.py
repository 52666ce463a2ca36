from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import (
    Difference,
    auc_difference,
    auc_interval,
    bootstrap_interval,
    corrected_resampled_t,
    holm,
    share_difference,
    wilson,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 15)), min_size=2, max_size=40)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def limits(interval):
    return interval.estimate, interval.low, interval.high


@given(rows)
def test_area_interval_sees_order_only_contains_its_estimate_and_flips_with_the_labels(data):
    label, score, who = (np.array(column) for column in zip(*data, strict=True))
    found = auc_interval(label, score, who, 0.9)
    assert limits(auc_interval(label, 2.0**score - 7, who, 0.9)) == pytest.approx(limits(found), nan_ok=True)
    flipped = auc_interval(1 - label, score, who, 0.9)
    mirror = (1 - found.estimate, 1 - found.high, 1 - found.low)
    assert limits(flipped) == pytest.approx(mirror, nan_ok=True, abs=1e-9)
    if not math.isnan(found.low):
        assert 0 <= found.low <= found.estimate + 1e-12
        assert found.estimate - 1e-12 <= found.high <= 1
        assert found.high > found.low


def test_a_perfect_area_is_not_a_certain_one():
    # Newcombe's limit with two patients a side: 1 - t = z^2 t (1 + (1 - t) / (2 - t) + t / (1 + t)) / 4;
    # t = 1/2 solves it when z^2 = 12/5, that is at a confidence of erf(sqrt(6/5))
    confidence = math.erf(math.sqrt(6 / 5))
    found = auc_interval([1, 1, 0, 0], [4, 3, 2, 1], [1, 2, 3, 4], confidence)
    assert limits(found) == pytest.approx((1, 0.5, 1))
    worst = auc_interval([0, 0, 1, 1], [4, 3, 2, 1], [1, 2, 3, 4], confidence)
    assert limits(worst) == pytest.approx((0, 0, 0.5))


def test_a_perfect_area_counts_patients_not_rows():
    label, score = [1, 1, 0, 0] * 50, [4, 3, 2, 1] * 50
    confidence = math.erf(math.sqrt(6 / 5))
    assert auc_interval(label, score, [1, 2, 3, 4] * 50, confidence).low == pytest.approx(0.5)
    assert auc_interval(label, score, np.arange(200), confidence).low > 0.9


def test_a_constant_score_has_a_wide_interval_around_one_half():
    # t = 1/4 solves (1/2 - t)^2 = z^2 t (1 - t) (1 + 3/7 + 1/5) / 4
    z = math.sqrt((1 / 16) / (3 / 16 * (1 + 3 / 7 + 1 / 5) / 4))
    found = auc_interval([1, 1, 0, 0], [0.3] * 4, [1, 2, 3, 4], math.erf(z / math.sqrt(2)))
    assert limits(found) == pytest.approx((0.5, 0.25, 0.75))


def test_too_few_patients_have_an_area_without_limits():
    label, score = [1, 1, 0, 0, 0], [5, 2, 3, 1, 0]
    assert limits(auc_interval(label, score, ["a", "a", "b", "c", "d"], 0.95)) == pytest.approx(
        (5 / 6, math.nan, math.nan), nan_ok=True
    )
    difference = auc_difference(label, score, [0] * 5, ["a", "a", "b", "c", "d"], 0.95)
    assert difference.estimate == pytest.approx(5 / 6 - 1 / 2)
    assert math.isnan(difference.p)
    assert math.isnan(difference.low)
    assert not math.isnan(auc_interval(label, score, ["a", "b", "b", "c", "d"], 0.95).low)
    assert math.isnan(auc_interval([1, 1], [1, 2], ["a", "b"], 0.95).estimate)
    assert math.isnan(auc_difference([0, 0], [1, 2], [2, 1], ["a", "b"], 0.95).estimate)


@given(rows)
def test_a_model_does_not_differ_from_itself_and_the_difference_changes_sign(data):
    label, score, who = (np.array(column) for column in zip(*data, strict=True))
    same = auc_difference(label, score, 3.0 * score + 1, who, 0.95)
    if not math.isnan(same.p):
        assert same == Difference(0.0, 0.0, 0.0, 1.0)
    other = (score * 7) % 10
    there, back = (auc_difference(label, *pair, who, 0.95) for pair in ((score, other), (other, score)))
    turned = (-back.estimate, -back.high, -back.low, back.p)
    assert (there.estimate, there.low, there.high, there.p) == pytest.approx(turned, nan_ok=True, abs=1e-12)
    if there.p < 0.049:
        assert there.low > 0 or there.high < 0
    if there.p > 0.051:
        assert there.low <= 0 <= there.high


def test_no_variance_to_judge_a_difference_with():
    found = auc_difference([1, 1, 0, 0], [4, 3, 2, 1], [1, 1, 1, 1], [1, 2, 3, 4], 0.95)
    assert found.estimate == 0.5
    assert math.isnan(found.p)
    assert math.isnan(found.low)


def test_clusters_must_be_named():
    with pytest.raises(ValueError, match="none missing"):
        auc_interval([0, 1], [0, 1], [1.0, math.nan], 0.95)
    with pytest.raises(ValueError, match="one cluster per label"):
        auc_interval([0, 1], [0, 1], ["a"], 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        auc_interval([0, 1], [0, 1], ["a", "b"], confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, confidence)


def test_bootstrap_draws_whole_patients_as_many_as_there_are():
    who = np.array(["b", "a", "b", "c", "b", "c"])
    drawn: list[Counter[str]] = []

    def watch(take):
        times = Counter(take.tolist())
        for name in "abc":
            assert (
                len({times[row] for row in np.flatnonzero(who == name)}) == 1
            )  # all its rows, equally often
        drawn.append(Counter({name: times[int(np.flatnonzero(who == name)[0])] for name in "abc"}))
        return 0.0

    bootstrap_interval(watch, who, 0.95, 300, np.random.default_rng(0))
    assert drawn[0] == Counter(a=1, b=1, c=1)  # the estimate uses every row once
    assert all(times.total() == 3 for times in drawn)
    share = np.mean([times["b"] for times in drawn[1:]])
    assert share == pytest.approx(1, abs=0.2)  # sd of the mean is sqrt(2/3 / 300) = 0.047
    assert max(times["b"] for times in drawn) == 3


def test_bootstrap_of_a_mean_has_the_textbook_width():
    generator = np.random.default_rng(2)
    patients = generator.normal(size=400)
    values, who = np.repeat(patients, 3), np.repeat(np.arange(400), 3)
    found = bootstrap_interval(lambda take: values[take].mean(), who, 0.95, 1000, np.random.default_rng(1))
    assert found.estimate == pytest.approx(patients.mean())
    width = 2 * 1.96 * patients.std() / math.sqrt(400)  # of patients: three copies are no new information
    assert found.high - found.low == pytest.approx(width, rel=0.1)


def test_bootstrap_agrees_with_delong_and_repeats_with_its_generator():
    generator = np.random.default_rng(8)
    who = np.arange(300) // 2
    label = (generator.random(150) < 0.5).astype(int)[who]
    score = label + generator.normal(size=150)[who] + 0.5 * generator.normal(size=300)

    def area(take):
        return auc(label[take], score[take])

    found = bootstrap_interval(area, who, 0.95, 600, np.random.default_rng(4))
    exact = auc_interval(label, score, who, 0.95)
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.15)
    assert found == bootstrap_interval(area, who, 0.95, 600, np.random.default_rng(4))
    assert found != bootstrap_interval(area, who, 0.95, 600, np.random.default_rng(5))


def test_bootstrap_gives_no_limits_when_replicates_are_undefined():
    label, score = np.array([1, 0, 0, 0]), np.array([3, 2, 1, 0])

    def area(take):  # undefined when the only positive is not drawn: (3/4)^4 = 0.32 of the replicates
        return auc(label[take], score[take])

    found = bootstrap_interval(area, [1, 2, 3, 4], 0.95, 200, np.random.default_rng(0))
    assert found.estimate == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    single = bootstrap_interval(lambda take: 5.0, ["a", "a"], 0.95, 10, np.random.default_rng(0))
    assert limits(single) == pytest.approx((5, math.nan, math.nan), nan_ok=True)
    with pytest.raises(ValueError, match="replicates"):
        bootstrap_interval(area, [1, 2, 3, 4], 0.95, 0, np.random.default_rng(0))


def test_bootstrap_leaves_a_few_undefined_replicates_out():
    values = np.arange(50.0)
    calls = iter(range(1000))
    found = bootstrap_interval(
        lambda take: math.nan if next(calls) % 20 == 1 else values[take].mean(),  # one in twenty
        np.arange(50),
        0.95,
        400,
        np.random.default_rng(0),
    )
    assert found.low < 24.5 < found.high


def test_holm_by_hand():
    # sorted 0.005 0.01 0.03 0.04 times 4 3 2 1 = 0.02 0.03 0.06 0.04, and never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([]).shape == (0,)


def test_holm_does_not_count_tests_that_were_not_made():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([0.5, 1.5])


@given(p_values)
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert holm(p[::-1]) == pytest.approx(adjusted[::-1])


@given(st.integers(1, 200), st.data())
def test_limits_of_wilson_are_where_the_score_test_turns(n, data):
    """A limit p of the score interval lies z standard errors, those of p itself, from the share."""
    successes = data.draw(st.integers(0, n))
    found = wilson(successes, n, 0.9)
    z = NormalDist().inv_cdf(0.95)
    for limit in (found.low, found.high):
        assert abs(limit - successes / n) == pytest.approx(z * math.sqrt(limit * (1 - limit) / n), abs=1e-7)
    assert found.low <= successes / n <= found.high


def test_wilson_at_the_ends():
    z2 = 1.959963985**2
    assert limits(wilson(0, 10, 0.95)) == pytest.approx((0, 0, z2 / (10 + z2)))
    assert limits(wilson(10, 10, 0.95)) == pytest.approx((1, 10 / (10 + z2), 1))
    assert math.isnan(wilson(0, 0, 0.95).estimate)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2, 0.95)


def test_corrected_t_by_hand():
    # mean 0.25, variance 1/60; (1/4 + (1/4)/(3/4)) / 60 = 7/720 is the variance of the mean
    found = corrected_resampled_t([0.1, 0.2, 0.3, 0.4], 0.25, 0.95)
    error = math.sqrt(7 / 720)
    assert found.estimate == pytest.approx(0.25)
    assert found.p == pytest.approx(2 * stats.t.sf(0.25 / error, 3))
    assert found.high - found.estimate == pytest.approx(3.182446 * error, rel=1e-6)  # t table, 3 df, 97.5 %
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)


def test_without_overlap_the_corrected_t_is_the_paired_t_test():
    differences = np.random.default_rng(1).normal(0.1, 0.2, 8)
    assert corrected_resampled_t(differences, 1e-12, 0.95).p == pytest.approx(
        stats.ttest_1samp(differences, 0).pvalue
    )
    assert corrected_resampled_t(differences, 1 / 8, 0.95).p > stats.ttest_1samp(differences, 0).pvalue


@pytest.mark.parametrize(
    ("differences", "estimate", "p"),
    [
        ([0.0, 0.0, 0.0], 0.0, 1.0),
        ([0.1, 0.1], 0.1, math.nan),
        ([0.3], 0.3, math.nan),
        ([], math.nan, math.nan),
    ],
)
def test_corrected_t_of_limiting_cases(differences, estimate, p):
    found = corrected_resampled_t(differences, 0.125, 0.95)
    assert (found.estimate, found.p) == pytest.approx((estimate, p), nan_ok=True)
    assert corrected_resampled_t([*differences, math.nan], 0.125, 0.95).p == pytest.approx(p, nan_ok=True)


def test_the_corrected_t_rejects_rarely_when_folds_share_a_training_set():
    """Differences that share a part, as those of folds do, mislead the usual test, and this one not."""
    rng = np.random.default_rng(2)
    usual = corrected = 0
    for _ in range(400):
        shared = rng.normal(0, 1 / math.sqrt(7))  # of what all folds share: n_test / n_train
        differences = rng.normal(0, 1, 8) + shared
        usual += stats.ttest_1samp(differences, 0).pvalue < 0.05
        corrected += corrected_resampled_t(differences, 1 / 8, 0.95).p < 0.05
    assert usual / 400 > 0.10
    assert corrected / 400 < 0.08


def test_one_row_per_patient_gives_mcnemars_test():
    # 30 agree, 9 are right by a alone, 3 by b alone: McNemar's (9 - 3)^2 / (9 + 3) = 3, times (42 - 1) / 42
    a = np.array([1] * 20 + [0] * 10 + [1] * 9 + [0] * 3)
    b = np.array([1] * 20 + [0] * 10 + [0] * 9 + [1] * 3)
    found = share_difference(a, b, np.arange(42), 0.95)
    assert found.estimate == pytest.approx(6 / 42)
    assert found.p == pytest.approx(stats.chi2.sf(3 * 41 / 42, 1))
    # the usual standard error of a paired difference: sd of the row differences over root n
    error = np.std(a - b, ddof=1) / np.sqrt(42)
    z = NormalDist().inv_cdf(0.975)
    assert limits(found) == pytest.approx((6 / 42, 6 / 42 - z * error, 6 / 42 + z * error))


def test_obuchowskis_statistic_on_a_published_example():
    """29 psychiatrists, 135 pairs (Petryshen 1989); unclustered McNemar is 11.85 there, as published."""
    more = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    less = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
    rows = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]
    a, b, who = [], [], []
    for patient, (up, down, count) in enumerate(zip(more, less, rows, strict=True)):
        a += [1] * up + [0] * down + [1] * (count - up - down)
        b += [0] * up + [1] * down + [1] * (count - up - down)
        who += [patient] * count
    gains = np.subtract(more, less)
    statistic = 28 / 29 * gains.sum() ** 2 / np.square(gains).sum()
    assert share_difference(a, b, who, 0.95).p == pytest.approx(stats.chi2.sf(statistic, 1))
    alone = share_difference(a, b, np.arange(len(a)), 0.95).p
    assert stats.chi2.isf(alone, 1) * 135 / 134 == pytest.approx(11.85, abs=0.01)


@given(rows)
def test_a_difference_of_shares_turns_with_the_models_and_with_the_answers(data):
    a, b, who = (np.array(column) for column in zip(*data, strict=True))
    b = b % 2
    found, turned = share_difference(a, b, who, 0.9), share_difference(b, a, who, 0.9)
    mirror = (-found.estimate, -found.high, -found.low, found.p)
    assert (turned.estimate, turned.low, turned.high, turned.p) == pytest.approx(mirror, nan_ok=True)
    answers = share_difference(1 - a, 1 - b, who, 0.9)
    assert (answers.estimate, answers.p) == pytest.approx((-found.estimate, found.p), nan_ok=True)
    if not math.isnan(found.low):
        assert -1 <= found.low <= found.estimate + 1e-12
        assert 0 <= found.p <= 1


def test_equal_answers_and_lone_patients():
    assert share_difference([1, 0], [1, 0], [1, 2], 0.95) == Difference(0.0, 0.0, 0.0, 1.0)
    lone = share_difference([1, 1], [1, 0], [1, 1], 0.95)
    assert lone.estimate == 0.5
    assert math.isnan(lone.p)
    with pytest.raises(ValueError, match="0 or 1"):
        share_difference([2], [1], [1], 0.95)


def test_the_clustered_test_holds_its_level():
    """Two models alike, three rows per patient that go together: 5 % of the tests are below 0.05."""
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(2000):
        who = np.repeat(np.arange(60), 3)
        shared = np.repeat(rng.random((60, 2)), 3, axis=0)
        answers = (0.5 * shared + 0.5 * rng.random((180, 2))) > 0.5
        below += share_difference(answers[:, 0], answers[:, 1], who, 0.95).p < 0.05
    assert below / 2000 == pytest.approx(0.05, abs=0.016)  # three standard errors
