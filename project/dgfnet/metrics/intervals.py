"""Confidence intervals and tests that take the nodules of a patient as one cluster.

Areas under the ROC curve use the clustered DeLong variance of `delong`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

from dgfnet.metrics.delong import components, group, index_of, newcombe_low, variance_of
from dgfnet.metrics.discrimination import checked

UNDEFINED_REPLICATES = 0.1  # a bootstrap that cannot compute more than this share is not an interval


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence limits; nan where undefined.

    low <= estimate <= high, but for a bootstrap of a biased statistic.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """First minus second, its confidence limits, two-sided p-value of no difference; nan where undefined."""

    estimate: float
    low: float
    high: float
    p: float


def auc_interval(label: ArrayLike, probability: ArrayLike, cluster: ArrayLike, confidence: float) -> Interval:
    """Computes the area under the ROC curve with its confidence interval.

    Wald on the logit scale (Pepe 2003, section 5.2.4), transformed back, so always inside 0..1. When the
    variance is estimated as zero (area 0 or 1, or a constant score) it says nothing about the truth: the
    limits are then those of Newcombe 2006 (Stat Med 25:559-573), method 5, with patients in the place of
    subjects.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) finite scores.
        cluster: (n,) patient of each row.
        confidence: for example 0.95.

    Returns:
        nan limits with fewer than two patients having a positive row or two having a negative one; a nan
        estimate as well when a class is missing.

    Raises:
        ValueError: as for `discrimination.checked`, for clusters that do not fit the rows, or a confidence
            outside 0..1.
    """
    z = _quantile(confidence)
    positive, score = checked(label, probability)
    clusters = group(positive, cluster)
    if min(clusters.with_positive, clusters.with_negative) == 0:
        return Interval(math.nan, math.nan, math.nan)
    area, deviations = components(positive, score, clusters)
    if not clusters.enough:
        return Interval(area, math.nan, math.nan)
    variance = variance_of(deviations, clusters)
    if variance == 0.0:
        cases, controls = clusters.with_positive, clusters.with_negative
        low = newcombe_low(area, cases, controls, z)
        return Interval(area, low, 1.0 - newcombe_low(1.0 - area, cases, controls, z))
    half = z * math.sqrt(variance) / (area * (1.0 - area))
    return Interval(area, float(expit(logit(area) - half)), float(expit(logit(area) + half)))


def auc_difference(
    label: ArrayLike, a: ArrayLike, b: ArrayLike, cluster: ArrayLike, confidence: float
) -> Difference:
    """Tests the area of `a` minus that of `b`, two scores of the same rows: paired, clustered DeLong test.

    Args:
        label: (n,) 0 or 1.
        a: (n,) finite scores of one model.
        b: (n,) finite scores of the other.
        cluster: (n,) patient of each row.
        confidence: for example 0.95.

    Returns:
        Wald limits cut at -1 and 1, and the normal p-value. When both models order every (positive, negative)
        pair alike: 0, 0..0, p = 1. nan limits and p with too few patients (see `auc_interval`), or when the
        variance is estimated as zero though the areas differ (1 against 0, or against a constant score).

    Raises:
        ValueError: as for `auc_interval`.
    """
    z = _quantile(confidence)
    positive, first = checked(label, a)
    second = checked(label, b)[1]
    clusters = group(positive, cluster)
    if min(clusters.with_positive, clusters.with_negative) == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    area_a, deviations_a = components(positive, first, clusters)
    area_b, deviations_b = components(positive, second, clusters)
    estimate = area_a - area_b
    if not clusters.enough:
        return Difference(estimate, math.nan, math.nan, math.nan)
    deviations = deviations_a - deviations_b  # the variance is a quadratic form: var a + var b - 2 cov
    variance = variance_of(deviations, clusters)
    if variance == 0.0:
        if estimate == 0.0:
            return Difference(0.0, 0.0, 0.0, 1.0)
        return Difference(estimate, math.nan, math.nan, math.nan)
    error = math.sqrt(variance)
    p = 2.0 * float(ndtr(-abs(estimate) / error))
    return Difference(estimate, max(-1.0, estimate - z * error), min(1.0, estimate + z * error), p)


def share_difference(a: ArrayLike, b: ArrayLike, cluster: ArrayLike, confidence: float) -> Difference:
    """Tests the share of ones of `a` minus that of `b`, two answers of the same rows: paired, clustered.

    Obuchowski's test (Stat Med 17:1495-1507, 1998): with d the difference of a patient's ones and K patients,
    (K - 1) / K (sum d)^2 / sum d^2 is chi-squared. With one row per patient that is McNemar's test but for
    (K - 1) / K.

    Args:
        a: (n,) 0 or 1, answers of one model.
        b: (n,) of the other.
        cluster: (n,) patient of each row.
        confidence: for example 0.95.

    Returns:
        Wald limits cut at -1 and 1, and the p-value. 0, 0..0, p = 1 when all answers agree; nan limits and p
        with fewer than two patients.

    Raises:
        ValueError: for no rows, other shapes, answers other than 0 and 1, or an identifier that is nan.
    """
    z = _quantile(confidence)
    first, second = (np.asarray(values, dtype=float) for values in (a, b))
    index, total = index_of(cluster)
    if not first.shape == second.shape == index.shape:
        raise ValueError(f"one answer of each model per row: {first.shape}, {second.shape}, {index.shape}")
    if not np.isin([*first, *second], (0.0, 1.0)).all():
        raise ValueError("answers must be 0 or 1")
    estimate = float(first.mean() - second.mean())
    if total < 2:
        return Difference(estimate, math.nan, math.nan, math.nan)
    gains = np.bincount(index, first - second, total)
    if not gains.any():
        return Difference(0.0, 0.0, 0.0, 1.0)
    rows = np.bincount(index, minlength=total)
    spare = total / (total - 1)
    error = math.sqrt(spare * float(np.square(gains - estimate * rows).sum())) / first.size
    statistic = float(gains.sum()) ** 2 / float(np.square(gains).sum()) / spare
    p = 2.0 * float(ndtr(-math.sqrt(statistic)))
    return Difference(estimate, max(-1.0, estimate - z * error), min(1.0, estimate + z * error), p)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    cluster: ArrayLike,
    confidence: float,
    replicates: int,
    generator: np.random.Generator,
) -> Interval:
    """Bootstraps the percentile interval of any statistic, resampling whole patients.

    Davison & Hinkley 1997, section 3.8.

    Args:
        statistic: rows to number; it is called with the row numbers of a replicate (a patient drawn twice
            brings its rows twice) and may return nan. Give a difference of two models to compare them on the
            same rows.
        cluster: (n,) patient of each row.
        confidence: for example 0.95.
        replicates: resamples; 2000 for limits stable in the second decimal.
        generator: source of randomness; the same state gives the same interval.

    Returns:
        The statistic of all rows, with limits from the replicates where it is defined; nan limits with fewer
        than two patients or when more than UNDEFINED_REPLICATES of them are nan.

    Raises:
        ValueError: for no replicates, a confidence outside 0..1, or clusters that are missing.
    """
    _quantile(confidence)
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, found {replicates}")
    index, total = index_of(cluster)
    estimate = float(statistic(np.arange(index.size)))
    if total < 2:
        return Interval(estimate, math.nan, math.nan)
    order = np.argsort(index, kind="stable")  # rows, patient after patient
    size = np.bincount(index)
    start = np.cumsum(size) - size
    values = np.empty(replicates)
    for replicate in range(replicates):
        drawn = generator.integers(total, size=total)
        length = size[drawn]
        shift = start[drawn] - (np.cumsum(length) - length)
        values[replicate] = statistic(order[np.repeat(shift, length) + np.arange(length.sum())])
    defined = values[~np.isnan(values)]
    if defined.size < (1.0 - UNDEFINED_REPLICATES) * replicates:
        return Interval(estimate, math.nan, math.nan)
    low, high = np.quantile(defined, [(1.0 - confidence) / 2, (1.0 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


def corrected_resampled_t(differences: ArrayLike, test_share: float, confidence: float) -> Difference:
    """Tests the mean difference over folds, with the variance that overlapping training parts ask for.

    Nadeau & Bengio 2003 (Mach Learn 52:239-281): the variance of the mean is (1/k + n_test/n_train) s2, and
    t has k - 1 degrees of freedom. The usual 1/k is too small: folds share most of their training nodules.

    Args:
        differences: (k,) first minus second, a fold each; folds with nan are left out.
        test_share: share of the nodules that a fold holds out, strictly between 0 and 1.
        confidence: for example 0.95.

    Returns:
        nan limits and p with fewer than two folds; p = 1 when all differences are 0, nan when all are equal
        but not 0.

    Raises:
        ValueError: for a share or a confidence outside 0..1.
    """
    _quantile(confidence)
    if not 0.0 < test_share < 1.0:
        raise ValueError(f"test_share must be strictly between 0 and 1, found {test_share}")
    d = np.asarray(differences, dtype=np.float64)
    d = d[~np.isnan(d)]
    if d.size == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    estimate = float(d.mean())
    if d.size < 2:
        return Difference(estimate, math.nan, math.nan, math.nan)
    spread = float(d.var(ddof=1))
    if spread == 0.0:
        return (
            Difference(0.0, 0.0, 0.0, 1.0)
            if estimate == 0.0
            else Difference(estimate, math.nan, math.nan, math.nan)
        )
    error = math.sqrt((1.0 / d.size + test_share / (1.0 - test_share)) * spread)
    half = float(stdtrit(d.size - 1, 0.5 + confidence / 2)) * error
    p = 2.0 * float(stdtr(d.size - 1, -abs(estimate) / error))
    return Difference(estimate, estimate - half, estimate + half, p)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusts p-values to bound the chance of any false finding (Holm 1979, Scand J Stat 6:65-70).

    Args:
        p_values: (m,) 0..1; nan marks a test that could not be made: it stays nan and is not counted.

    Returns:
        (m,) in the order given, each >= its p-value and <= 1.

    Raises:
        ValueError: for another shape or a p-value outside 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    if p.ndim != 1 or (p[tested] < 0).any() or (p[tested] > 1).any():
        raise ValueError("p-values must be an (m,) array of numbers in 0..1 or nan")
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(order.size, 0, -1)
    adjusted = np.full(p.shape, math.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def wilson(successes: int, n: int, confidence: float) -> Interval:
    """Computes the score interval of a proportion (Wilson 1927, JASA 22:209-212), for independent rows.

    Args:
        successes: 0..n.
        n: rows; 0 gives nan.
        confidence: for example 0.95.

    Raises:
        ValueError: for successes outside 0..n or a confidence outside 0..1.
    """
    _quantile(confidence)  # refuses what is no level
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..n, found {successes} of {n}")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    from scipy.stats import binomtest  # a second, and few processes need it

    limits = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    share = successes / n  # at 0 and n one limit is the estimate itself, but for rounding
    return Interval(share, min(share, float(limits.low)), max(share, float(limits.high)))


def _quantile(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, found {confidence}")
    return float(ndtri(0.5 + confidence / 2))
