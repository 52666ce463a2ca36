"""Class-conditional conformal prediction sets of a binary outcome (Vovk 2005; Sadinle 2019, JASA).

Of nodules of either class, the set holds the true class at least as often as the coverage says, as long as
new nodules come from where those of the calibration came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

PredictionSet = Literal["negative", "positive", "either", "neither"]
SETS: tuple[tuple[PredictionSet, PredictionSet], ...] = (("neither", "positive"), ("negative", "either"))


@dataclass(frozen=True)
class SetLimits:
    """Probabilities that decide which classes a set holds.

    Attributes:
        negative: a set holds `negative` at or below it.
        positive: a set holds `positive` at or above it.
    """

    negative: float
    positive: float


def set_limits(label: ArrayLike, probability: ArrayLike, coverage: float) -> SetLimits:
    """Returns the limits from held-out predictions.

    A class is left out when at most floor(alpha (n + 1)) - 1 of the n calibration nodules of that class are
    as unlike it or more, which is a p-value of at most alpha = 1 - coverage. With fewer than 1 / alpha - 1
    nodules nothing can be left out.

    Args:
        label: (n,), 0 or 1.
        probability: (n,) of the positive class, held out.
        coverage: above 0, below 1.
    """
    labels, values = np.asarray(label), np.asarray(probability, dtype=np.float64)
    positive = np.sort(values[labels == 1])
    negative = np.sort(values[labels == 0])[::-1]
    return SetLimits(_limit(negative, coverage, 1.0), _limit(positive, coverage, 0.0))


def _limit(from_unlike: NDArray[np.float64], coverage: float, never: float) -> float:
    """Returns the value at the rank that the coverage asks for, of values from the most unlike on."""
    rank = math.floor(round((1 - coverage) * (len(from_unlike) + 1), 9))
    return float(from_unlike[rank - 1]) if rank else never


def prediction_sets(probability: ArrayLike, limits: SetLimits) -> list[PredictionSet]:
    """Returns the set of each probability, in words: one class, `either` or `neither`."""
    values = np.asarray(probability, dtype=np.float64)
    pairs = zip(values <= limits.negative, values >= limits.positive, strict=True)
    return [SETS[int(negative)][int(positive)] for negative, positive in pairs]


def held_out_sets(
    label: ArrayLike, probability: ArrayLike, folds: ArrayLike, coverage: float
) -> list[PredictionSet]:
    """Returns the sets of cross-validated nodules, each by limits of the other folds."""
    labels, values, fold = np.asarray(label), np.asarray(probability, dtype=np.float64), np.asarray(folds)
    sets: list[PredictionSet] = ["either"] * len(values)
    for held in np.unique(fold):
        others = fold != held
        own = np.flatnonzero(~others)
        limits = set_limits(labels[others], values[others], coverage)
        for place, found in zip(own, prediction_sets(values[own], limits), strict=True):
            sets[place] = found
    return sets


def set_shares(label: ArrayLike, sets: list[PredictionSet]) -> dict[str, float | None]:
    """Returns how often sets hold the true class, per class, and the shares that decide nothing.

    Returns:
        `negative` and `positive`: share of the nodules of that class whose set holds it, None without any;
        `either` and `neither`: share of all.
    """
    found, labels = np.array(sets, dtype=object), np.asarray(label)
    shares: dict[str, float | None] = {}
    for value, name in enumerate(("negative", "positive")):
        own = found[labels == value]
        shares[name] = float(np.isin(own, [name, "either"]).mean()) if len(own) else None
    return shares | {name: float((found == name).mean()) for name in ("either", "neither")}
