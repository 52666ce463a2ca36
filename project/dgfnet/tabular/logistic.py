"""Logistic regression on a table: numbers and categories, with gaps, as plain numbers that anybody can score.

    log odds = intercept + sum over terms of coefficient * (value - centre) / scale

The terms are those of `tabular/terms.py`, from the training rows alone, as everything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from dgfnet.tabular.terms import Term, design, terms_of

Array = NDArray[np.float64]
STRENGTHS = tuple(float(value) for value in np.logspace(-3, 2, 11))  # tried where the data choose
INNER = 5  # parts that the training rows are cut into for that
TOLERANCE = 1e-10  # of the gradient's largest entry, of the mean loss


@dataclass(frozen=True)
class Logistic:
    """A fitted model.

    Attributes:
        terms: columns of its design matrix.
        coefficients: log odds per unit of each term.
        intercept: log odds where every term is 0.
        strength: C, the inverse of the weight of the penalty: sum of the losses + |coefficients|^2 / (2 C).
    """

    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    intercept: float
    strength: float

    def log_odds(self, table: pd.DataFrame) -> Array:
        """Returns the log odds of every row, (n,)."""
        odds: Array = design(self.terms, table) @ np.array(self.coefficients) + self.intercept
        return odds

    def probability(self, table: pd.DataFrame) -> Array:
        """Returns the probability of every row, (n,)."""
        probability: Array = expit(self.log_odds(table))
        return probability

    def plain(self) -> dict[str, Any]:
        """Returns the model as JSON takes it: `terms` with their coefficients, `intercept`, `strength`."""
        terms = [
            asdict(term) | {"coefficient": coefficient}
            for term, coefficient in zip(self.terms, self.coefficients, strict=True)
        ]
        return {"terms": terms, "intercept": self.intercept, "strength": self.strength}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Logistic:
        """Makes the model of what `plain` returned."""
        terms = [
            Term(**{name: value for name, value in term.items() if name != "coefficient"})
            for term in plain["terms"]
        ]
        coefficients = tuple(float(term["coefficient"]) for term in plain["terms"])
        return cls(tuple(terms), coefficients, float(plain["intercept"]), float(plain["strength"]))


def fit(table: pd.DataFrame, label: Array, strength: float = 1.0) -> Logistic:
    """Fits the regression by penalised maximum likelihood; terms are standardised, so one C suits all.

    Args:
        table: training rows.
        label: (n,) 0 or 1, both present.
        strength: C.
    """
    terms = terms_of(table)
    coefficients, intercept = _solve(design(terms, table), label, strength)
    return Logistic(terms, coefficients, intercept, strength)


def fit_chosen(table: pd.DataFrame, label: Array, groups: NDArray[Any]) -> Logistic:
    """Fits the regression with the C of STRENGTHS that predicts best inside the training rows.

    They are cut into parts of whole groups, each predicted by a model of the others; the smallest C of equal
    log losses is taken, the strongest penalty.

    Args:
        table: training rows.
        label: (n,) 0 or 1, both present.
        groups: (n,) patient of each row.
    """
    from sklearn.model_selection import GroupKFold  # a second, and only some baselines choose

    parts = min(INNER, len(np.unique(groups)))
    losses = np.zeros(len(STRENGTHS))
    for train, held in GroupKFold(parts).split(label, label, groups) if parts > 1 else ():
        if len(np.unique(label[train])) < 2:
            continue
        terms = terms_of(table.iloc[train])
        matrix, other = design(terms, table.iloc[train]), design(terms, table.iloc[held])
        for place, strength in enumerate(STRENGTHS):
            coefficients, intercept = _solve(matrix, label[train], strength)
            losses[place] += _loss(other @ np.array(coefficients) + intercept, label[held])
    return fit(table, label, STRENGTHS[int(np.argmin(losses))])


def fit_nonnegative(table: pd.DataFrame, label: Array, strength: float = 1.0) -> Logistic:
    """Fits the regression with coefficients that are not negative: no network is taken for its opposite.

    The penalised loss is convex, so its minimum over such coefficients is that of the free fit on the terms
    that are not 0 there; every subset of the terms is tried, which for a few networks is quick and exact.

    Args:
        table: training rows, a few columns of numbers without gaps.
        label: (n,) 0 or 1, both present.
        strength: C.
    """
    terms = terms_of(table)
    matrix = design(terms, table)
    best: tuple[float, tuple[float, ...], float] | None = None
    for count in range(len(terms), -1, -1):
        for chosen in combinations(range(len(terms)), count):
            free, intercept = _solve(matrix[:, chosen], label, strength)
            if min(free, default=0.0) < 0:
                continue
            weights = np.zeros(len(terms))
            weights[list(chosen)] = free
            loss = _loss(matrix @ weights + intercept, label) + float(weights @ weights) / (2 * strength)
            if best is None or loss < best[0]:
                best = loss, tuple(weights.tolist()), intercept
    assert best is not None  # no term at all is a subset too
    return Logistic(terms, best[1], best[2], strength)


def _solve(matrix: Array, label: Array, strength: float) -> tuple[tuple[float, ...], float]:
    """Returns coefficients and intercept of the penalised maximum; the intercept is not penalised."""
    if not matrix.shape[1]:
        share = float(label.mean())
        return (), math.log(share / (1 - share))
    from sklearn.linear_model import LogisticRegression  # a second, and only cross-validation fits

    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=TOLERANCE, max_iter=200)
    model.fit(matrix, label)
    return tuple(model.coef_[0].tolist()), float(model.intercept_[0])


def _loss(odds: Array, label: Array) -> float:
    """Returns the sum of the log losses."""
    return float((np.logaddexp(0.0, odds) - label * odds).sum())
