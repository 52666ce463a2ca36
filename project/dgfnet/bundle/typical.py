"""Limits of the out-of-distribution checks, from the nodules that were cross-validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.covariance import LedoitWolf

from dgfnet.bundle.novelty import LEAST, Array, Typical, features, judge
from dgfnet.vocabulary import Modality

Images = Sequence[NDArray[np.uint8]]  # per nodule its crops, (K, S, S)
BEYOND = 2.0  # an answer is refused from so many times the limit of caution on


def limits_of(
    images: Mapping[Modality, Images], read: Sequence[Modality], folds: ArrayLike, false_alarms: float
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Describes the training crops, and how far from them held-out nodules are.

    Args:
        images: crops of all nodules of the cohort, per modality.
        read: the modalities that the model reads; by the others it knows what was put in their place.
        folds: of each nodule.
        false_alarms: share of held-out nodules that may be beyond a limit of caution, together over the
            modalities (Bonferroni).

    Returns:
        Per modality a `Typical` as plain values; and the shares of held-out nodules at the levels `caution`
        and `no answer`, each nodule judged by the crops of the other folds.
    """
    fold, quantile = np.asarray(folds), 1 - false_alarms / len(read)
    values = {name: [features(crops) for crops in own] for name, own in images.items()}
    others = {
        name: {held: _spread(own, fold != held) for held in np.unique(fold)} for name, own in values.items()
    }
    plain: dict[str, dict[str, Any]] = {}
    for name, own in values.items():
        distances = [others[name][held].distance(nodule) for nodule, held in zip(own, fold, strict=True)]
        caution = max(1.0, float(np.quantile(distances, quantile, method="higher")))  # 1 is as far as usual
        whole = _spread(own, np.ones(len(own), dtype=bool))
        arrays = {part: getattr(whole, part).tolist() for part in ("mean", "scale", "precision")}
        plain[name] = {**arrays, "caution": caution, "refusal": BEYOND * caution}
    levels = []
    for place, held in enumerate(fold):
        typical = {
            name: replace(own[held], caution=plain[name]["caution"], refusal=plain[name]["refusal"])
            for name, own in others.items()
        }
        levels.append(judge(typical, {name: values[name][place] for name in read}).level)
    return plain, {level: levels.count(level) / len(levels) for level in ("caution", "no answer")}


def _spread(nodules: Sequence[Array], chosen: NDArray[np.bool_]) -> Typical:
    """Describes the crops of the chosen nodules by their features; limits are not known yet."""
    values = np.concatenate([own for own, wanted in zip(nodules, chosen, strict=True) if wanted])
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), LEAST)
    covariance = LedoitWolf(assume_centered=True).fit((values - mean) / scale)
    return Typical(mean, scale, covariance.get_precision(), np.inf, np.inf)
