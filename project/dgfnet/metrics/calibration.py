"""Calibration of probabilities: prevalence correction, Brier score, recalibration, reliability curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from dgfnet.metrics.discrimination import checked

# A float32 sigmoid reaches exactly 0 or 1; the logit is then taken at the last probability float32 can tell
# from 1.
NEAREST = 2.0**-24
HOTTEST = 100.0  # temperatures are looked for up to this, and down to its inverse


@dataclass(frozen=True)
class Recalibration:
    """Logistic recalibration of log-odds; a perfect model has slope 1, intercept 0, in_the_large 0.

    Attributes:
        slope: of the logistic regression of the label on logit(probability); below 1 the predictions are too
            extreme.
        intercept: of the same regression, log-odds.
        in_the_large: intercept with the slope held at 1, log-odds; above 0 the predictions are too low on
            average.
    """

    slope: float
    intercept: float
    in_the_large: float


@dataclass(frozen=True)
class Reliability:
    """Points of the calibration curve, from low to high probability; all arrays (k,), k <= bins.

    Attributes:
        predicted: mean probability of the rows of the bin, 0..1.
        observed: share of positives among them, 0..1.
        positives: number of positives.
        count: number of rows, at least 1; with `positives` the input of `intervals.wilson`.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    positives: NDArray[np.intp]
    count: NDArray[np.intp]


def shift_prevalence(
    probability: ArrayLike, from_prevalence: float, to_prevalence: float
) -> NDArray[np.float64]:
    """Moves probabilities of a model trained at one prevalence to another: logit p + logit to - logit from.

    Exact when only the class shares differ, as after undersampling: Saerens, Latinne & Decaestecker 2002
    (Neural Comput 14:21-41, eq. 2.4); the prior correction of King & Zeng 2001 (Polit Anal 9:137-163).
    Written without logits, so 0 stays 0 and 1 stays 1. The order of nodules, hence the AUC, does not change.

    Args:
        probability: any shape, 0..1.
        from_prevalence: share of positives the model was trained on, strictly between 0 and 1.
        to_prevalence: share of positives where it is used, strictly between 0 and 1.

    Raises:
        ValueError: for a number outside these ranges.
    """
    p = np.asarray(probability, dtype=np.float64)
    _within_unit(p)
    for name, share in (("from_prevalence", from_prevalence), ("to_prevalence", to_prevalence)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must be strictly between 0 and 1, found {share}")
    positive = p * (to_prevalence * (1.0 - from_prevalence))
    negative = (1.0 - p) * (from_prevalence * (1.0 - to_prevalence))
    shifted: NDArray[np.float64] = positive / (positive + negative)
    return shifted


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Computes the mean squared distance of probability and label, 0 (perfect) .. 1.

    Brier 1950, Mon Weather Rev 78:1-3.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) 0..1.

    Raises:
        ValueError: as for `discrimination.checked`, or for a probability out of range.
    """
    positive, p = checked(label, probability)
    _within_unit(p)
    return float(np.square(p - positive).mean())


def calibration_slope_intercept(label: ArrayLike, probability: ArrayLike) -> Recalibration:
    """Fits the logistic recalibration by maximum likelihood, unpenalised (Cox 1958, Biometrika 45:562-565).

    Args:
        label: (n,) 0 or 1.
        probability: (n,) 0..1; exactly 0 and 1 are read as NEAREST and 1 - NEAREST.

    Returns:
        All nan with one class. Slope and intercept nan where the likelihood has no maximum: the probabilities
        separate the classes completely, in either direction (ties at the border included), or are all equal.

    Raises:
        ValueError: as for `brier`.
    """
    from scipy.optimize import brentq  # slow to import, and a fit needs `shift_prevalence` only

    positive, p = checked(label, probability)
    _within_unit(p)
    if positive.all() or not positive.any():
        return Recalibration(math.nan, math.nan, math.nan)
    x = logit(np.clip(p, NEAREST, 1.0 - NEAREST))
    reach = 2.0 * float(logit(1.0 - NEAREST)) + math.log(
        positive.size
    )  # beyond it every row is surely 0, or 1
    large = float(brentq(lambda a: float((expit(a + x) - positive).sum()), -reach, reach, xtol=1e-12))
    if x[positive].min() >= x[~positive].max() or x[positive].max() <= x[~positive].min():
        return Recalibration(math.nan, math.nan, large)
    slope, intercept = _fit_line(x, positive)
    return Recalibration(slope, intercept, large)


def temperature(label: ArrayLike, probability: ArrayLike) -> float:
    """Fits the temperature that log-odds are divided by, by likelihood (Guo et al. 2017, arXiv 1706.04599).

    Args:
        label: (n,) 0 or 1.
        probability: (n,) 0..1, of rows the model was not trained on; 0 and 1 are read as in
            `calibration_slope_intercept`.

    Returns:
        Above 1 when predictions are too extreme; between 1/HOTTEST and HOTTEST. nan with one class.

    Raises:
        ValueError: as for `brier`.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    positive, p = checked(label, probability)
    _within_unit(p)
    if positive.all() or not positive.any():
        return math.nan
    x = logit(np.clip(p, NEAREST, 1.0 - NEAREST))

    def loss(log_temperature: float) -> float:
        eta = x * math.exp(-log_temperature)
        return float((np.logaddexp(0.0, eta) - positive * eta).mean())

    reach = math.log(HOTTEST)
    optimum = minimize_scalar(loss, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-8})
    return math.exp(float(optimum.x))


def cooled(probability: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Divides the log-odds of probabilities by a temperature above 0; their order does not change.

    Raises:
        ValueError: for a temperature or a probability out of range.
    """
    p = np.asarray(probability, dtype=np.float64)
    _within_unit(p)
    if not temperature > 0.0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
    scaled: NDArray[np.float64] = expit(logit(p) / temperature)
    return scaled


def reliability(label: ArrayLike, probability: ArrayLike, bins: int) -> Reliability:
    """Computes the calibration curve: rows sorted by probability and cut into bins of about equal numbers.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) 0..1.
        bins: at most this many; equal probabilities are never parted, so ties can leave fewer.

    Raises:
        ValueError: as for `brier`, or for no bins.
    """
    positive, p = checked(label, probability)
    _within_unit(p)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    edges = np.quantile(p, np.arange(1, bins) / bins)
    used, index = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)
    count = np.bincount(index, minlength=used.size)
    positives = np.bincount(index[positive], minlength=used.size)
    predicted = np.bincount(index, weights=p, minlength=used.size) / count
    return Reliability(predicted, positives / count, positives, count)


def _fit_line(x: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Fits slope and intercept of the logistic regression of `positive` on x; a finite maximum must exist."""
    from scipy.optimize import minimize  # slow to import

    centre, scale = float(x.mean()), float(x.std())
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)  # (n, 2)

    def loss(beta: NDArray[np.float64]) -> float:
        eta = design @ beta
        return float((np.logaddexp(0.0, eta) - positive * eta).mean())

    def gradient(beta: NDArray[np.float64]) -> NDArray[np.float64]:
        slope: NDArray[np.float64] = design.T @ (expit(design @ beta) - positive) / x.size
        return slope

    def curvature(beta: NDArray[np.float64]) -> NDArray[np.float64]:
        p = expit(design @ beta)
        hessian: NDArray[np.float64] = (design * (p * (1.0 - p))[:, None]).T @ design / x.size
        return hessian

    optimum = minimize(loss, np.zeros(2), jac=gradient, hess=curvature, method="trust-exact", tol=1e-10)
    slope = float(optimum.x[0]) / scale
    return slope, float(optimum.x[1]) - slope * centre


def _within_unit(p: NDArray[np.float64]) -> None:
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError("probabilities must be in 0..1")
