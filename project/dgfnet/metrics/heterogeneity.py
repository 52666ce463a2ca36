"""Meta-analysis by random effects: one number over centres, and how much it differs between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import stdtrit

PLACES, FINEST, CLOSE = 400, 1e-3, 1e-12  # of the search for the variance between studies
TINY = 1e-200  # effects whose squared difference is less are equal


@dataclass(frozen=True)
class RandomEffects:
    """Mean over studies and what lies between them; nan where undefined.

    Attributes:
        studies: number of them.
        estimate: mean effect.
        low: lower confidence limit of the mean.
        high: upper confidence limit.
        predicted_low: lower limit of the effect that a further study would have.
        predicted_high: upper limit of it.
        between: standard deviation of the effects between studies, tau.
        inconsistency: share of the variance that is not chance, I2, 0..1.
    """

    studies: int
    estimate: float
    low: float
    high: float
    predicted_low: float
    predicted_high: float
    between: float
    inconsistency: float


def random_effects(effects: ArrayLike, variances: ArrayLike, confidence: float) -> RandomEffects:
    """Combines effects by restricted maximum likelihood, with limits by Hartung, Knapp, Sidik and Jonkman.

    The limits use Student's t with k - 1 degrees of freedom, and are never narrower than without a variance
    between studies (Roever, Knapp & Friede 2015, BMC Med Res Methodol 15:99). Those of a further study have
    k - 2 degrees of freedom (Higgins, Thompson & Spiegelhalter 2009, J R Stat Soc A 172:137-159). I2 is that
    of Higgins & Thompson 2002 (Stat Med 21:1539-1558), from Cochran's Q.

    Args:
        effects: (k,) finite; of areas under the curve their logits (Debray 2017, BMJ 356:i6460).
        variances: (k,) of the effects, above 0.
        confidence: for example 0.95.

    Returns:
        With one study its effect and nan for all else; limits of a further study with three or more.

    Raises:
        ValueError: for no study, other shapes, an effect that is not finite, a variance that is not above 0,
            or a confidence outside 0..1.
    """
    y, v = (np.asarray(values, dtype=np.float64) for values in (effects, variances))
    if y.ndim != 1 or y.size == 0 or y.shape != v.shape:
        raise ValueError(f"expected (k,) effects and variances, k >= 1, found {y.shape} and {v.shape}")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError("effects must be finite, and variances finite and above 0")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, found {confidence}")
    k = y.size
    if k == 1:
        return RandomEffects(1, float(y[0]), *[math.nan] * 6)
    between = _between(y, v)
    weight = 1.0 / (v + between)
    mean = float(weight @ y / weight.sum())
    spread = max(1.0, float(weight @ np.square(y - mean)) / (k - 1))
    error = math.sqrt(spread / weight.sum())
    half = float(stdtrit(k - 1, 0.5 + confidence / 2)) * error
    further = math.nan
    if k >= 3:
        further = float(stdtrit(k - 2, 0.5 + confidence / 2)) * math.sqrt(between + error**2)
    fixed = 1.0 / v
    q = float(fixed @ np.square(y - fixed @ y / fixed.sum()))
    share = max(0.0, (q - (k - 1)) / q) if q > 0 else 0.0
    limits = (mean - half, mean + half, mean - further, mean + further)
    return RandomEffects(k, mean, *limits, math.sqrt(between), share)


def _between(y: NDArray[np.float64], v: NDArray[np.float64]) -> float:
    """Returns the variance between studies at which the restricted likelihood is largest.

    There can be several maxima: scoring from one place may end at a lower one. So it is looked at on a grid,
    and refined between the neighbours of the best place.
    """

    def loss(between: NDArray[np.float64]) -> NDArray[np.float64]:
        total = v + np.asarray(between)[..., None]
        weight = 1.0 / total
        mean = weight @ y / weight.sum(axis=-1)
        squares = (weight * np.square(y - mean[..., None])).sum(axis=-1)
        return np.asarray(np.log(total).sum(axis=-1) + np.log(weight.sum(axis=-1)) + squares)

    widest = float(np.ptp(y)) ** 2  # beyond it the likelihood falls
    if widest < TINY:
        return 0.0
    places = np.append(0.0, np.geomspace(FINEST * min(widest, float(v.min())), 2 * widest, PLACES))
    best = int(np.argmin(loss(places)))
    bounds = places[max(0, best - 1)], places[min(len(places) - 1, best + 1)]
    close = {"xatol": CLOSE * widest}
    refined = float(minimize_scalar(loss, bounds=bounds, method="bounded", options=close).x)
    return min((refined, float(places[best])), key=lambda between: float(loss(np.array(between))))
