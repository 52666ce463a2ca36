"""Every centre of the main cohort by itself, and how much a variant differs between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.special import expit, logit, ndtri

from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.metrics.discrimination import scores
from dgfnet.metrics.heterogeneity import random_effects
from dgfnet.metrics.intervals import auc_interval

FILE, HETEROGENEITY = "centres.csv", "heterogeneity.csv"  # of the stage compare
COLUMNS = [
    *("variant", "centre", "n", "positives", "auc", "low", "high", "sensitivity", "specificity"),
    *("slope", "in_the_large"),
]
SUMMARY = [
    *("variant", "centres", "left_out", "auc", "low", "high", "predicted_low", "predicted_high"),
    *("between", "inconsistency"),
]


def table(tables: Mapping[str, pd.DataFrame], centre: pd.Series, confidence: float) -> pd.DataFrame:
    """Measures every variant at every centre, on nodules that its networks had not seen.

    Args:
        tables: out-of-fold table per variant.
        centre: of each nodule, by nodule_id.
        confidence: of the intervals.

    Returns:
        Columns COLUMNS: clustered DeLong limits of the AUC; sensitivity and specificity at the thresholds of
        the folds; slope and intercept-in-the-large of the recalibrated log odds. NaN where a centre has one
        class alone.
    """
    rows = []
    for variant, own in tables.items():
        for name, part in own.groupby(own["nodule_id"].map(centre), sort=True):
            label, probability = part["label"], part["probability"]
            area = auc_interval(label, probability, part["patient_id"], confidence)
            calls = scores(label, (probability >= part["threshold"]).astype(float), 0.5)
            both = label.nunique() == 2
            line = calibration_slope_intercept(label, probability) if both else None
            rows.append(
                {
                    **{"variant": variant, "centre": name, "n": len(part), "positives": int(label.sum())},
                    **{"auc": area.estimate, "low": area.low, "high": area.high},
                    **{measure: calls[measure] for measure in ("sensitivity", "specificity")},
                    "slope": line.slope if line else math.nan,
                    "in_the_large": line.in_the_large if line else math.nan,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(frame: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Combines the AUCs of the centres by random effects, on the logit scale.

    Args:
        frame: of `table`.
        confidence: of its intervals, and of these.

    Returns:
        Columns SUMMARY, a row per variant: mean AUC with limits, the limits of a further centre's AUC, the
        standard deviation between centres (log odds) and I2. Centres whose AUC has no limits, or is 0 or 1,
        are left out and counted.
    """
    z, rows = float(ndtri(0.5 + confidence / 2)), []
    for variant, own in frame.groupby("variant", sort=False):
        used = own[own["low"].notna() & own["auc"].between(0, 1, inclusive="neither")]
        if used.empty:
            continue
        error = (logit(used["high"]) - logit(used["low"])) / (2 * z)
        found = random_effects(logit(used["auc"]), error**2, confidence)
        areas = ("estimate", "low", "high", "predicted_low", "predicted_high")
        plain = {name: float(expit(getattr(found, name))) for name in areas}
        rows.append(
            {
                **{"variant": variant, "centres": found.studies, "left_out": len(own) - len(used)},
                **{"auc" if name == "estimate" else name: value for name, value in plain.items()},
                **{"between": found.between, "inconsistency": found.inconsistency},
            }
        )
    return pd.DataFrame(rows, columns=SUMMARY)


def sentence(row: Mapping[Any, Any]) -> str:
    """Says what a row of the summary means."""
    said = f"{row['variant']}: AUC {row['auc']:.3f} over {row['centres']} centres"
    if row["centres"] < 2:
        return f"{said}; with one centre nothing is known of others."
    said += f" ({row['low']:.3f}-{row['high']:.3f})"
    if not math.isnan(row["predicted_low"]):
        said += f", at a further centre {row['predicted_low']:.3f}-{row['predicted_high']:.3f}"
    return f"{said}; {100 * row['inconsistency']:.0f} % of the variance between centres is not chance."
