"""The numbers that `dvc metrics` and `dvc plots` show of a site: they compare experiments with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dgfnet.metrics.calibration import reliability
from dgfnet.metrics.discrimination import roc_curve

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


def calibration(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns the calibration curves: columns variant, predicted, observed (share of metastasis), n."""
    rows = []
    for name, table in tables.items():
        points = reliability(table["label"], table["probability"], BINS)
        values = {"predicted": points.predicted, "observed": points.observed, "n": points.count}
        rows.append(pd.DataFrame(values).assign(variant=name))
    return pd.concat(rows, ignore_index=True)[["variant", "predicted", "observed", "n"]]
