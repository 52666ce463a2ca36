"""The fast clustered variance against the published formulas, written out pair by pair."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm

from dgfnet.metrics.intervals import auc_difference, auc_interval

Z = norm.ppf(0.975)


@st.composite
def clustered(draw):
    """Labels, two scores with ties and patients, with two patients on either side."""
    n = draw(st.integers(4, 24))
    column = lambda high: np.array(draw(st.lists(st.integers(0, high), min_size=n, max_size=n)))  # noqa: E731
    label, a, b, cluster = column(1), column(6), column(6), column(n)
    assume(min(len(set(cluster[label == 1])), len(set(cluster[label == 0]))) >= 2)
    return label, a, b, cluster


def placements(label, score):
    """V10 of each positive, V01 of each negative, over all pairs (DeLong 1988, eq. 4-5)."""
    pairs = np.array([[(x > y) + 0.5 * (x == y) for y in score[label == 0]] for x in score[label == 1]])
    return pairs.mean(axis=1), pairs.mean(axis=0)


def plain_covariance(label, *scores):
    """DeLong 1988, eq. 6: S10 / m + S01 / n over models."""
    v10, v01 = zip(*(placements(label, score) for score in scores), strict=True)
    return np.atleast_2d(np.cov(v10)) / len(v10[0]) + np.atleast_2d(np.cov(v01)) / len(v01[0])


def clustered_covariance(label, first, second, cluster):
    """Obuchowski 1997, section 2: S10 / M + S01 / N + (S11 + S11') / (M N), patient by patient."""
    big_m, big_n = (label == 1).sum(), (label == 0).sum()
    i10, i01 = len(set(cluster[label == 1])), len(set(cluster[label == 0]))
    patients = sorted(set(cluster))
    x, y = [], []
    for score in (first, second):
        v10, v01 = placements(label, score)
        area = v10.mean()
        of_positive, of_negative = cluster[label == 1], cluster[label == 0]
        x.append(np.array([(v10[of_positive == who] - area).sum() for who in patients]))
        y.append(np.array([(v01[of_negative == who] - area).sum() for who in patients]))
    s10 = i10 / ((i10 - 1) * big_m) * (x[0] * x[1]).sum()
    s01 = i01 / ((i01 - 1) * big_n) * (y[0] * y[1]).sum()
    s11 = len(patients) / (len(patients) - 1) * ((x[0] * y[1]).sum() + (x[1] * y[0]).sum())
    return s10 / big_m + s01 / big_n + s11 / (big_m * big_n)


def logit_limits(area, variance):
    half = Z * math.sqrt(variance) / (area * (1 - area))
    return expit(logit(area) - half), expit(logit(area) + half)


def implied_error(interval):
    """The standard error of the area behind a logit interval."""
    half = (logit(interval.high) - logit(interval.low)) / 2
    return half * interval.estimate * (1 - interval.estimate) / Z


@given(clustered())
def test_one_row_per_patient_is_plain_delong(data):
    label, a, b, _ = data
    each = np.arange(label.size)
    covariance = plain_covariance(label, a, b)
    area = placements(label, a)[0].mean()
    assume(covariance[0, 0] > 1e-12)
    found = auc_interval(label, a, each, 0.95)
    assert found.estimate == pytest.approx(area)
    assert (found.low, found.high) == pytest.approx(logit_limits(area, covariance[0, 0]))
    spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assume(spread > 1e-12)
    difference = auc_difference(label, a, b, each, 0.95)
    gap = area - placements(label, b)[0].mean()
    assert difference.estimate == pytest.approx(gap, abs=1e-12)
    assert difference.p == pytest.approx(2 * norm.sf(abs(gap) / math.sqrt(spread)), rel=1e-6)
    assert difference.low == pytest.approx(max(-1, gap - Z * math.sqrt(spread)))
    assert difference.high == pytest.approx(min(1, gap + Z * math.sqrt(spread)))


@given(clustered())
def test_several_rows_per_patient_are_obuchowski(data):
    label, a, b, cluster = data
    var_a = clustered_covariance(label, a, a, cluster)
    area = placements(label, a)[0].mean()
    assume(var_a > 1e-12)
    found = auc_interval(label, a, cluster, 0.95)
    assert (found.low, found.high) == pytest.approx(logit_limits(area, var_a))
    spread = var_a + clustered_covariance(label, b, b, cluster)
    spread -= 2 * clustered_covariance(label, a, b, cluster)
    assume(spread > 1e-12)
    difference = auc_difference(label, a, b, cluster, 0.95)
    gap = area - placements(label, b)[0].mean()
    assert difference.p == pytest.approx(2 * norm.sf(abs(gap) / math.sqrt(spread)), rel=1e-6)


def test_four_rows_by_hand():
    # V10 = (1, 1/2), V01 = (1/2, 1), area 3/4; both variances 1/8, so the area's is 1/16 + 1/16 = 1/8
    found = auc_interval([1, 1, 0, 0], [0.8, 0.4, 0.6, 0.2], ["a", "b", "c", "d"], 0.95)
    half = 1.959964 * math.sqrt(1 / 8) / (3 / 16)
    assert found.estimate == 0.75
    assert found.low == pytest.approx(1 / (1 + math.exp(half) / 3), rel=1e-5)  # odds 3 exp(-half)
    assert found.high == pytest.approx(1 / (1 + math.exp(-half) / 3), rel=1e-5)


def test_copies_of_a_patients_nodule_add_nothing():
    # Two copies: V sums, m and M double, so S10 doubles and S10 / M is what it was. Taken as independent,
    # the same copies shrink the sum of squares over m (m - 1) by (m - 1) / (2 m - 1).
    generator = np.random.default_rng(3)
    label = np.repeat([1, 0], 20)
    score = label + generator.normal(size=40)
    who = np.arange(40)
    once = auc_interval(label, score, who, 0.95)
    label, score, who = (np.tile(column, 2) for column in (label, score, who))
    twice = auc_interval(label, score, who, 0.95)
    assert (twice.estimate, twice.low, twice.high) == pytest.approx((once.estimate, once.low, once.high))
    naive = auc_interval(label, score, np.arange(80), 0.95)
    assert implied_error(naive) / implied_error(twice) == pytest.approx(math.sqrt(19 / 39))


def simulate(generator, patients, shift):
    """Patients with one to three nodules, alike within a patient, and two equally good scores."""
    who = np.repeat(np.arange(patients), generator.integers(1, 4, size=patients))
    ill = generator.random(patients) < 0.4
    label = np.where(generator.random(who.size) < 0.85, ill[who], ~ill[who]).astype(int)
    scores = []
    for _ in range(2):
        shared, own = generator.normal(size=patients), generator.normal(size=who.size)
        scores.append(shift * label + math.sqrt(0.6) * shared[who] + math.sqrt(0.4) * own)
    return label, scores[0], scores[1], who


def test_coverage_and_false_alarms_on_simulated_patients():
    # binormal with unit variances: the area is Phi(shift / sqrt 2)
    generator = np.random.default_rng(11)
    truth = norm.cdf(1.2 / math.sqrt(2))
    covered, covered_naive, alarms = 0, 0, 0
    for _ in range(400):
        label, a, b, who = simulate(generator, 100, 1.2)
        found = auc_interval(label, a, who, 0.95)
        naive = auc_interval(label, a, np.arange(label.size), 0.95)
        covered += found.low <= truth <= found.high
        covered_naive += naive.low <= truth <= naive.high
        alarms += auc_difference(label, a, b, who, 0.95).p < 0.05
    assert 0.92 <= covered / 400 <= 0.98
    assert covered_naive <= covered - 8  # two points: why patients are clustered at all
    assert 0.02 <= alarms / 400 <= 0.08


def test_large_cohorts_are_quick():
    # all pairs would be 1e10 comparisons: minutes and gigabytes
    generator = np.random.default_rng(5)
    label = generator.integers(0, 2, size=200_000)
    score = label + generator.normal(size=label.size)
    started = time.perf_counter()
    found = auc_interval(label, score, np.arange(label.size) // 2, 0.95)
    assert time.perf_counter() - started < 5
    assert found.low < norm.cdf(1 / math.sqrt(2)) < found.high
    assert found.high - found.low < 0.01
