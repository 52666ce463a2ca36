"""Updating a model at a new site: which recalibration the data ask for, and how many cases it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import chi2

from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.metrics.discrimination import checked

Update = Literal["none", "intercept", "intercept and slope"]

SIGNIFICANT = 0.05
OE_ERROR = 0.051  # standard error of ln(O/E) for an interval of about 0.9 to 1.1
WIDTHS = {"slope": 0.2, "auc": 0.1}  # of 95 % intervals that Riley 2021 aims at
Z = 1.959964


@dataclass(frozen=True)
class CalibrationUpdate:
    """A recalibration of log odds x: intercept + slope * x.

    Attributes:
        update: what it changes.
        p_original: of the original model against intercept and slope (2 degrees of freedom).
        p_intercept: of the intercept alone against both (1 degree); nan where that was not asked.
    """

    update: Update
    intercept: float
    slope: float
    p_original: float
    p_intercept: float


def update_line(label: ArrayLike, log_odds: ArrayLike) -> CalibrationUpdate:
    """Chooses the recalibration by the closed testing procedure (Vergouwe 2017, Stat Med 36:4529-4539).

    Both likelihood ratio tests are at 5 %: the model is kept as it is unless intercept and slope together fit
    better; then the intercept alone is taken unless the slope is needed, too.

    Args:
        label: (n,) 0 or 1.
        log_odds: (n,) of the model that may be updated, finite.

    Raises:
        ValueError: with one class, or where classes are separated: no finite slope fits best.
    """
    x = np.asarray(log_odds, dtype=np.float64)
    positive, _ = checked(label, expit(x))
    fitted = calibration_slope_intercept(label, expit(x))
    if not math.isfinite(fitted.slope):
        raise ValueError("classes are separated, or there is one class: no line can be fitted")
    likelihoods = [
        _likelihood(positive, line)
        for line in (x, fitted.in_the_large + x, fitted.intercept + fitted.slope * x)
    ]
    original, intercept, both = likelihoods
    p_original = float(chi2.sf(max(0.0, 2 * (both - original)), 2))
    p_intercept = float(chi2.sf(max(0.0, 2 * (both - intercept)), 1))
    if p_original >= SIGNIFICANT:
        return CalibrationUpdate("none", 0.0, 1.0, p_original, math.nan)
    if p_intercept >= SIGNIFICANT:
        return CalibrationUpdate("intercept", fitted.in_the_large, 1.0, p_original, p_intercept)
    return CalibrationUpdate("intercept and slope", fitted.intercept, fitted.slope, p_original, p_intercept)


def _likelihood(positive: NDArray[np.bool_], line: NDArray[np.float64]) -> float:
    return float((positive * line - np.logaddexp(0.0, line)).sum())


def needed_for_mean(prevalence: float) -> int:
    """Returns how many cases measure observed over expected cases to about 10 % (Riley 2021, criterion 1).

    Args:
        prevalence: above 0, below 1.
    """
    return math.ceil((1 - prevalence) / (prevalence * OE_ERROR**2))


def needed_cases(prevalence: float, log_odds: ArrayLike, auc: float) -> dict[str, int]:
    """Returns how many cases measure a calibrated model well (Riley 2021, Stat Med 40:4230-4251).

    Args:
        prevalence: of the outcome where the model is used, above 0, below 1.
        log_odds: of the model's calibrated predictions there, of any number of cases.
        auc: that is expected, above 0.5, below 1.

    Returns:
        Cases by what they measure: `mean`, observed over expected cases to about 10 % (criterion 1); `slope`
        of calibration to 0.1 either way (criterion 2); `auc` to 0.05 either way (criterion 3).

    Raises:
        ValueError: for a number out of range, or equal predictions, which have no slope.
    """
    if not (0 < prevalence < 1 and 0.5 < auc < 1):
        raise ValueError(f"prevalence {prevalence} and AUC {auc}: expected 0 to 1, and 0.5 to 1")
    x = np.asarray(log_odds, dtype=np.float64)
    weight = expit(x) * (1 - expit(x))
    level, cross, square = weight.mean(), (x * weight).mean(), (x**2 * weight).mean()
    information = level * square - cross**2
    if information <= 0 or not np.ptp(x):
        raise ValueError("predictions are all equal; they have no calibration slope")
    errors = {name: width / (2 * Z) for name, width in WIDTHS.items()}
    return {
        "mean": needed_for_mean(prevalence),
        "slope": math.ceil(level / (errors["slope"] ** 2 * information)),
        "auc": _needed_for_auc(prevalence, auc, errors["auc"]),
    }


def _needed_for_auc(prevalence: float, auc: float, error: float) -> int:
    least = 2 / min(prevalence, 1 - prevalence)  # two of the rarer class
    if _auc_error(least, prevalence, auc) <= error:
        return math.ceil(least)
    return math.ceil(float(brentq(lambda count: _auc_error(count, prevalence, auc) - error, least, 1e9)))


def _auc_error(count: float, prevalence: float, auc: float) -> float:
    """Returns the standard error of an AUC (Newcombe 2006, Stat Med 25:559-573, method 4)."""
    half = count / 2 - 1
    spread = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return math.sqrt(auc * (1 - auc) * spread / (count**2 * prevalence * (1 - prevalence)))
