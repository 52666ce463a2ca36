"""Net benefit of acting on predictions (Vickers & Elkin 2006, Med Decis Making 26:565)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgfnet.metrics.discrimination import checked


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold probability; all arrays (k,), in true positives per person.

    Attributes:
        threshold: probability at which somebody would act, strictly between 0 and 1.
        model: acting on predictions at or above the threshold.
        everyone: acting on all; nobody gets it where it is below 0, the benefit of acting on none.
    """

    threshold: NDArray[np.float64]
    model: NDArray[np.float64]
    everyone: NDArray[np.float64]


def net_benefit(label: ArrayLike, probability: ArrayLike, threshold: float) -> float:
    """Computes true positives less false positives weighted by the odds of the threshold, per person.

    The comparison is made in float64, as in `discrimination.confusion`.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) 0..1; at or above the threshold somebody acts.
        threshold: strictly between 0 and 1.

    Raises:
        ValueError: as for `discrimination.checked`, or for a threshold out of range.
    """
    positive, p = checked(label, probability)
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold must be strictly between 0 and 1, found {threshold}")
    acted = p >= threshold
    odds = threshold / (1.0 - threshold)
    return float((acted & positive).mean() - odds * (acted & ~positive).mean())


def decision_curve(label: ArrayLike, probability: ArrayLike, thresholds: Sequence[float]) -> DecisionCurve:
    """Computes the net benefit of a model, and of acting on everyone, at several thresholds.

    Raises:
        ValueError: as for `net_benefit`.
    """
    everyone = np.ones(np.shape(label))
    return DecisionCurve(
        np.asarray(thresholds, dtype=np.float64),
        np.array([net_benefit(label, probability, threshold) for threshold in thresholds]),
        np.array([net_benefit(label, everyone, threshold) for threshold in thresholds]),
    )
