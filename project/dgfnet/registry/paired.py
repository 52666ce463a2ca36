"""Compares a version with the champion, on the nodules that both were validated on."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dgfnet.metrics.intervals import Difference, auc_difference


@dataclass(frozen=True)
class Comparison:
    """A version beside the champion.

    Attributes:
        difference: AUC of the version less the champion's on the nodules they share; None when they were not
            compared.
        account: on how many nodules, and how many were left out; or why they were not compared.
        trusted: False when they were not compared because a table may not be the one that was registered.
    """

    difference: Difference | None
    account: str
    trusted: bool = True


def compare(new: pd.DataFrame, old: pd.DataFrame, minimum: int, confidence: float) -> Comparison:
    """Compares two out-of-fold tables on the nodules that stand in both with one label.

    The folds may differ: both probabilities come from networks that never saw the nodule's patient.

    Args:
        new: of the version: nodule_id, patient_id, label, probability; one row per nodule.
        old: of the champion.
        minimum: nodules of each class that are needed.
        confidence: of the interval.
    """
    both = new.merge(old, on="nodule_id", suffixes=("", "_old"))
    if both.empty:
        return Comparison(
            None,
            "not compared: the two were validated on no common nodule; on one cohort that means that the ids "
            "were hashed with two keys (id.key was lost, or DGFNET_ID_KEY is another)",
        )
    same = both[both["label"] == both["label_old"]]
    positive = int((same["label"] == 1).sum())
    negative = len(same) - positive
    account = (
        f"{len(same)} shared nodules, {positive} positive; left out: {len(new) - len(both)} of this version "
        f"alone, {len(old) - len(both)} of the champion alone, {len(both) - len(same)} labelled differently"
    )
    if min(positive, negative) < minimum:
        return Comparison(None, f"not compared: fewer than {minimum} of each class ({account})")
    difference = auc_difference(
        same["label"], same["probability"], same["probability_old"], same["patient_id"], confidence
    )
    return Comparison(difference, account)
