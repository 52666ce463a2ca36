"""Several models as one: the mean of their log odds, and the threshold it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit


def mean_probability(log_odds: ArrayLike) -> NDArray[np.float64]:
    """Returns the probability of the mean log odds of models, (models, n) to (n,)."""
    probability: NDArray[np.float64] = expit(np.mean(np.asarray(log_odds, dtype=np.float64), axis=0))
    return probability


def common_threshold(thresholds: Sequence[float]) -> float:
    """Returns the mean of models' thresholds as log odds: a mean of log odds is compared with it."""
    return float(expit(np.mean(logit(thresholds)))) if len(thresholds) > 1 else thresholds[0]
