"""Calibration of the probabilities, and decision curves: the net benefit of acting on them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from dgfnet.metrics.calibration import (
    brier,
    calibration_slope_intercept,
    cooled,
    shift_prevalence,
    temperature,
)
from dgfnet.metrics.netbenefit import decision_curve

THRESHOLDS = tuple(np.round(np.arange(0.02, 0.99, 0.02), 2))
BALANCED = 0.5  # prevalence that undersampling trains at


def calibration(tables: dict[str, pd.DataFrame], balanced: Collection[str]) -> pd.DataFrame:
    """Measures calibration of each variant: predicted, before the correction for prevalence, after scaling.

    With `train_only` the networks learn at a prevalence of 0.5 and their probabilities are moved to that of
    the training folds, which is each fold's frozen threshold; `before` undoes it. The temperature of a fold
    is fitted on the other folds.

    Args:
        tables: out-of-fold table per variant and baseline.
        balanced: those that learnt at a prevalence of 0.5; the others have no `before`.

    Returns:
        Columns variant, stage (`before`, `predicted`, `scaled`), brier, slope, intercept, in_the_large,
        temperature (mean over folds, of `scaled`).
    """
    rows = []
    for name, table in tables.items():
        label = table["label"].to_numpy()
        stages = {"predicted": table["probability"].to_numpy()}
        if name in balanced:
            stages = {"before": _uncorrected(table), **stages}
        stages["scaled"], heat = _scaled(table)
        for stage, probability in stages.items():
            fitted = calibration_slope_intercept(label, probability)
            row = {"variant": name, "stage": stage, "brier": brier(label, probability), **vars(fitted)}
            rows.append(row | {"temperature": heat if stage == "scaled" else np.nan})
    return pd.DataFrame(rows)


def decisions(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Computes net benefit: columns variant, threshold, net_benefit; `everyone` stands as a variant."""
    rows: list[dict[str, object]] = []
    for name, table in tables.items():
        curve = decision_curve(table["label"], table["probability"], THRESHOLDS)
        if not rows:
            rows += _curve("everyone", curve.threshold, curve.everyone)
        rows += _curve(name, curve.threshold, curve.model)
    return pd.DataFrame(rows, columns=["variant", "threshold", "net_benefit"])


def _curve(name: str, threshold: np.ndarray, benefit: np.ndarray) -> list[dict[str, object]]:
    return [
        {"variant": name, "threshold": at, "net_benefit": value}
        for at, value in zip(threshold, benefit, strict=True)
    ]


def _uncorrected(table: pd.DataFrame) -> np.ndarray:
    """Probabilities as the balanced network gave them."""
    before = np.empty(len(table))
    for threshold, part in table.groupby("threshold"):
        rows = part.index.to_numpy()
        before[rows] = shift_prevalence(part["probability"], float(str(threshold)), BALANCED)
    return before


def _scaled(table: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Probabilities cooled by the temperature of the other folds, and its mean."""
    scaled, heats = np.full(len(table), np.nan), []
    for fold, part in table.groupby("fold"):
        others = table[table["fold"] != fold]
        heat = temperature(others["label"], others["probability"])
        heats.append(heat)
        scaled[part.index.to_numpy()] = (
            part["probability"] if np.isnan(heat) else cooled(part["probability"], heat)
        )
    return scaled, float(np.mean(heats))
