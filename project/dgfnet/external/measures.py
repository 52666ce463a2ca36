"""A frozen model at another hospital, in numbers, and its calibration before and after recalibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from dgfnet.metrics.calibration import NEAREST, brier, calibration_slope_intercept
from dgfnet.metrics.conformal import set_shares
from dgfnet.metrics.discrimination import auc, confusion, scores
from dgfnet.metrics.intervals import auc_interval, wilson
from dgfnet.metrics.netbenefit import net_benefit


def measure(table: pd.DataFrame, threshold: float, confidence: float) -> dict[str, Any]:
    """Computes every metric of a frozen model and threshold, with intervals.

    Args:
        table: columns label, probability, patient_id.
        threshold: frozen; positive at or above it.
        confidence: of the intervals.

    Returns:
        The paper's six scores; auc_interval; intervals of the shares among them (Wilson); calibration (brier,
        slope, intercept, in_the_large); net_benefit at the threshold; n and positives.
    """
    label, probability = table["label"], table["probability"]
    count = confusion(label, probability, threshold)
    tp, fp, tn, fn = count.true_positive, count.false_positive, count.true_negative, count.false_negative
    shares = {
        "accuracy": (tp + tn, len(table)),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
    }
    area = auc_interval(label, probability, table["patient_id"], confidence)
    return {
        **scores(label, probability, threshold),
        "auc_interval": {**vars(area), "confidence": confidence},
        "intervals": {name: vars(wilson(*pair, confidence)) for name, pair in shares.items()},
        "calibration": {
            "brier": brier(label, probability),
            **vars(calibration_slope_intercept(label, probability)),
        },
        "net_benefit": net_benefit(label, probability, threshold),
        "n": len(table),
        "positives": int(label.sum()),
    }


def recalibrated(table: pd.DataFrame) -> dict[str, float]:
    """Computes calibration after the intercept was moved to the new hospital's prevalence.

    Every patient's shift is fitted on the other patients, so that nobody judges a fit made on them. Only the
    intercept moves: few patients do not carry a slope (Steyerberg 2019, Clinical Prediction Models, ch. 20).

    Returns:
        `brier`, `in_the_large` and the `shift` fitted on all, in log-odds; nan with one class.
    """
    label = table["label"].to_numpy()
    odds = logit(np.clip(table["probability"].to_numpy(dtype=float), NEAREST, 1 - NEAREST))
    patients = table["patient_id"].to_numpy()
    moved = np.full(len(table), np.nan)
    for patient in np.unique(patients):
        held = patients == patient
        moved[held] = odds[held] + calibration_slope_intercept(label[~held], expit(odds[~held])).in_the_large
    whole = calibration_slope_intercept(label, expit(odds)).in_the_large
    if np.isnan(moved).any():
        return {"brier": float("nan"), "in_the_large": float("nan"), "shift": whole}
    after = expit(moved)
    return {
        "brier": brier(label, after),
        "in_the_large": calibration_slope_intercept(label, after).in_the_large,
        "shift": whole,
    }


def level_shares(table: pd.DataFrame) -> dict[str, Any]:
    """Returns the share of nodules at each level, and the AUC of those that are answered."""
    answered = table[table["level"] != "no answer"]
    shares = {level: float((table["level"] == level).mean()) for level in ("caution", "no answer")}
    area = auc(answered["label"], answered["probability"]) if len(answered) else float("nan")
    return {**shares, "auc_answered": area}


def set_coverage(table: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the coverage that prediction sets should have, and what they have; None of older versions."""
    if "sets" not in metadata:
        return None
    shares = set_shares(table["label"], list(table["prediction_set"]))
    return {"coverage": metadata["sets"]["coverage"], **shares}
