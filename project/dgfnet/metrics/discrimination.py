"""Discrimination: counts at a threshold, ROC curve and its area, averages over folds.

Undefined numbers are nan, never 0: a fold without positives has no sensitivity, and 0 would be averaged as if
it had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORES: tuple[str, ...] = ("accuracy", "auc", "sensitivity", "specificity", "precision", "f1")


@dataclass(frozen=True)
class Confusion:
    """Counts of a two by two table."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


def checked(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Checks labels and scores, and returns them as booleans and float64.

    Args:
        label: (n,) 0 or 1 (numbers or booleans), n >= 1.
        probability: (n,) finite scores; larger means more likely positive.

    Raises:
        ValueError: for another shape, no rows, a label that is neither 0 nor 1, or a score that is not
            finite.
    """
    truth = np.asarray(label, dtype=np.float64)
    score = np.asarray(probability, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise ValueError(f"labels and probabilities must be two (n,) arrays: {truth.shape}, {score.shape}")
    if truth.size == 0:
        raise ValueError("no labels: a metric needs at least one row")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1; leave out rows whose label is unknown")
    if not np.isfinite(score).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(score))} of {score.size} probabilities are not finite"
        )
    return truth == 1.0, score


def midranks(score: ArrayLike) -> NDArray[np.float64]:
    """Ranks scores from 1, tied scores sharing the mean of their ranks; O(n log n).

    Equals scipy.stats.rankdata, whose import takes a second.

    Args:
        score: (n,) finite.

    Returns:
        (n,) whole numbers and halves.
    """
    _, index, count = np.unique(np.asarray(score), return_inverse=True, return_counts=True)
    last = np.cumsum(count)  # rank of the last member of each group of ties
    ranks: NDArray[np.float64] = (last - (count - 1) / 2)[index]
    return ranks


def auc(label: ArrayLike, probability: ArrayLike) -> float:
    """Computes the area under the ROC curve, 0..1: the share of ordered pairs, ties at half.

    Pairs are (positive, negative). The Mann-Whitney statistic by midranks, O(n log n): Hanley & McNeil 1982,
    Radiology 143:29-36. It equals sklearn.metrics.roc_auc_score at a fraction of its time, which counts
    inside a bootstrap.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) finite scores; any increasing transform gives the same area.

    Returns:
        nan when only one class is present.

    Raises:
        ValueError: as for `checked`.
    """
    positive, score = checked(label, probability)
    positives = int(positive.sum())
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return math.nan
    above = float(midranks(score)[positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def roc_curve(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes the corners of the ROC curve from (0, 0) to (1, 1), as sklearn.metrics.roc_curve gives them.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) finite scores.

    Returns:
        False and true positive rates, (k,) each, 0..1, not decreasing. A rate whose class is missing is nan.

    Raises:
        ValueError: as for `checked`.
    """
    positive, score = checked(label, probability)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)  # last row of each group of ties
    true_positive = np.cumsum(positive[order])[ends]
    false_positive = ends + 1 - true_positive
    corner = np.ones(ends.size, dtype=bool)
    corner[1:-1] = (np.diff(false_positive, 2) != 0) | (np.diff(true_positive, 2) != 0)
    rates = [np.append(0, count[corner]) for count in (false_positive, true_positive)]
    across, up = (rate / rate[-1] if rate[-1] else np.full(rate.size, math.nan) for rate in rates)
    return across, up


def confusion(label: ArrayLike, probability: ArrayLike, threshold: float) -> Confusion:
    """Counts right and wrong calls; a row is called positive when its probability >= threshold.

    The comparison is made in float64, so a float32 0.7 (0.69999999) is below a threshold of 0.7.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) finite.
        threshold: on the scale of `probability`; not nan.

    Raises:
        ValueError: as for `checked`, or for a threshold of nan.
    """
    positive, score = checked(label, probability)
    if math.isnan(threshold):
        raise ValueError("the threshold is nan")
    called = score >= threshold
    return Confusion(
        true_positive=int((called & positive).sum()),
        false_positive=int((called & ~positive).sum()),
        true_negative=int((~called & ~positive).sum()),
        false_negative=int((~called & positive).sum()),
    )


def scores(label: ArrayLike, probability: ArrayLike, threshold: float) -> dict[str, float]:
    """Computes the six numbers of the paper's tables 1-4, 0..1.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) finite.
        threshold: positive when probability >= threshold.

    Returns:
        The keys of SCORES. nan where undefined: auc with one class, sensitivity without positives,
        specificity without negatives, precision without positive calls, f1 without positives and without
        positive calls. f1 is 2 TP / (2 TP + FP + FN), hence 0, not nan, when positives exist and none is
        called.

    Raises:
        ValueError: as for `confusion`.
    """
    table = confusion(label, probability, threshold)
    tp, fp = table.true_positive, table.false_positive
    tn, fn = table.true_negative, table.false_negative
    return {
        "accuracy": _share(tp + tn, tp + fp + tn + fn),
        "auc": auc(label, probability),
        "sensitivity": _share(tp, tp + fn),
        "specificity": _share(tn, tn + fp),
        "precision": _share(tp, tp + fp),
        "f1": _share(2 * tp, 2 * tp + fp + fn),
    }


def average(folds: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Averages over folds; each key ignores the folds where it is nan.

    Args:
        folds: one `scores` result per fold, all with the same keys.

    Returns:
        (mean, sd). The mean is nan when no fold defines the key; sd (n - 1 in the denominator) is nan below
        two.

    Raises:
        ValueError: for no folds, or folds with different keys.
    """
    if not folds:
        raise ValueError("no folds to average")
    if any(fold.keys() != folds[0].keys() for fold in folds):
        raise ValueError("folds report different metrics and cannot be averaged")
    mean: dict[str, float] = {}
    sd: dict[str, float] = {}
    for key in folds[0]:
        defined = np.array([fold[key] for fold in folds if not math.isnan(fold[key])])
        mean[key] = float(defined.mean()) if defined.size else math.nan
        sd[key] = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    return mean, sd


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
