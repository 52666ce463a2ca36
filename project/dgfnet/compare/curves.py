"""The numbers that `dvc metrics` and `dvc plots` show of a site: they compare experiments with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.metrics.calibration import reliability
from dgfnet.metrics.delong import index_of
from dgfnet.metrics.discrimination import checked, roc_curve

GRID = np.linspace(0, 1, 101)  # false positive rates of a ROC curve
ROUNDING = 1e-9  # 57 of 100 are not quite 0.57
BINS = 8  # of a calibration curve, of about equal numbers


def metrics(results: dict[str, dict[str, Any]], calibration: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns per variant what experiments are compared by, out of fold and pooled.

    Args:
        results: metrics.json per variant and baseline.
        calibration: of `usefulness.calibration`.

    Returns:
        Per variant auc; sensitivity and specificity at the folds' own thresholds; brier and calibration_slope
        of the probabilities as predicted. NaN where undefined.
    """
    predicted = calibration[calibration["stage"] == "predicted"].set_index("variant")
    return {
        name: {
            **{score: result["pooled"][score] for score in ("auc", "sensitivity", "specificity")},
            "brier": float(predicted["brier"][name]),
            "calibration_slope": float(predicted["slope"][name]),
        }
        for name, result in results.items()
    }


def roc(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns the pooled ROC curves: columns variant, false_positive_rate (of GRID), sensitivity."""
    rows = []
    for name, table in tables.items():
        false_positive, true_positive = roc_curve(table["label"], table["probability"])
        # one rate has many sensitivities where the curve rises: the highest, as a step is read
        at = np.searchsorted(false_positive, GRID + ROUNDING, side="right") - 1
        points = {"false_positive_rate": GRID.round(2), "sensitivity": true_positive[at]}
        rows.append(pd.DataFrame(points).assign(variant=name))
    return pd.concat(rows, ignore_index=True)[["variant", "false_positive_rate", "sensitivity"]]


def band(
    table: pd.DataFrame, confidence: float, replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstraps patients: limits of the sensitivity at each false positive rate of GRID, (101,) each, 0..1.

    Rows are sorted once, and counted as often as their patient is drawn: a replicate takes linear time.

    Args:
        table: columns patient_id, label (0 or 1), probability, both classes.
        confidence: of the limits at each rate, 0 to 1.
        replicates: samples of patients; those with one class are left out.
        seed: of the samples.
    """
    positive, score = checked(table["label"], table["probability"])
    patient, count = index_of(table["patient_id"])
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)  # last row of each group of ties
    positive, patient = positive[order], patient[order]
    generator, curves = np.random.default_rng(seed), []
    for _ in range(replicates):
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)[patient]
        called, right = (np.cumsum(rows)[ends] for rows in (drawn, drawn * positive))
        rates = [np.append(0, number) for number in (called - right, right)]
        if all(rate[-1] for rate in rates):
            across, up = (rate / rate[-1] for rate in rates)
            curves.append(np.interp(GRID, across, up))
    low, high = np.quantile(curves, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def calibration(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns the calibration curves: columns variant, predicted, observed (share of metastasis), n."""
    rows = []
    for name, table in tables.items():
        points = reliability(table["label"], table["probability"], BINS)
        values = {"predicted": points.predicted, "observed": points.observed, "n": points.count}
        rows.append(pd.DataFrame(values).assign(variant=name))
    return pd.concat(rows, ignore_index=True)[["variant", "predicted", "observed", "n"]]
