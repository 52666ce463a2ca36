"""How much US and CT say in the multimodal prediction of each nodule (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dgfnet.attribution.baselines import UNDECIDED
from dgfnet.attribution.gradients import Images, Score, log_odds
from dgfnet.metrics.intervals import bootstrap_interval, wilson

COLUMNS = (
    *("nodule_id", "us", "ct", "baseline_probability", "completeness_error"),
    *("us_correct", "ct_correct", "correct", "label"),
    *("patient_id", "fold", "log_odds", "shapley_us", "shapley_ct", "gradients", "partner"),
)


def shapley(
    score: Score, images: Images, baselines: Images, patients: torch.Tensor, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact Shapley values of the two players US and CT, (N,) each, log odds.

    The value of a coalition is F of its pictures with the baseline in the place of the others'. With two
    players the average over both orders is the whole formula (Shapley 1953).
    """
    nothing, both = (log_odds(score, each, patients, rows) for each in (baselines, images))
    only_us = log_odds(score, {"us": images["us"], "ct": baselines["ct"]}, patients, rows)
    only_ct = log_odds(score, {"us": baselines["us"], "ct": images["ct"]}, patients, rows)
    us = ((only_us - nothing) + (both - only_ct)) / 2
    ct = ((only_ct - nothing) + (both - only_us)) / 2
    return us, ct


def towards_truth(values: NDArray[np.float64], label: NDArray[Any]) -> NDArray[np.float64]:
    """Attributions to metastasis become attributions to the correct answer: those of label 0 change sign."""
    return np.where(np.asarray(label) == 1, values, -values)


def correct(table: pd.DataFrame) -> NDArray[np.int64]:
    """1 where an out-of-fold table is right at its own frozen thresholds."""
    called = table["probability"] >= table["threshold"]
    return np.asarray(called.astype(int) == table["label"].astype(int), dtype=np.int64)


def share_us_above_ct(
    table: pd.DataFrame, confidence: float, replicates: int, seed: int, prefix: str = ""
) -> dict[str, float]:
    """Share of nodules in which US says more for the correct answer than CT, with two intervals.

    Args:
        table: columns us, ct (with the prefix) and patient_id; at least one row.
        confidence: of the intervals.
        replicates: of the bootstrap over patients.
        seed: of the bootstrap.
        prefix: of the columns, for example `shapley_`.

    Returns:
        n, estimate, low and high (whole patients resampled), wilson_low and wilson_high (nodules as if
        independent).
    """
    above = (table[f"{prefix}us"] > table[f"{prefix}ct"]).to_numpy(dtype=float)
    interval = bootstrap_interval(
        lambda rows: float(above[rows].mean()),
        table["patient_id"].to_numpy(),
        confidence,
        replicates,
        np.random.default_rng(seed),
    )
    score = wilson(int(above.sum()), len(above), confidence)
    return {
        "n": len(above),
        **{"estimate": interval.estimate, "low": interval.low, "high": interval.high},
        **{"wilson_low": score.low, "wilson_high": score.high},
    }


def summary(
    table: pd.DataFrame, others: pd.DataFrame, tolerance: float, confidence: float, replicates: int, seed: int
) -> dict[str, Any]:
    """What is told of a site.

    Args:
        table: contributions.csv.
        others: stability.csv, the same columns us and ct from each baseline in the column `baseline`.
        tolerance: of the completeness error, log odds.
        confidence: of the intervals.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    how = (confidence, replicates, seed)
    above = table["us"] > table["ct"]
    return {
        "us_above_ct": share_us_above_ct(table, *how),
        "shapley": {
            "us_above_ct": share_us_above_ct(table, *how, prefix="shapley_"),
            "same_order": float((above == (table["shapley_us"] > table["shapley_ct"])).mean()),
            "correlation": float(
                np.corrcoef(table["us"] - table["ct"], table["shapley_us"] - table["shapley_ct"])[0, 1]
            )
            if len(table) > 2
            else float("nan"),
        },
        "mean": {name: float(table[name].mean()) for name in ("us", "ct", "shapley_us", "shapley_ct")},
        "completeness": {
            "tolerance": tolerance,
            "median": float(table["completeness_error"].median()),
            "largest": float(table["completeness_error"].max()),
            "within": float((table["completeness_error"] <= tolerance).mean()),
        },
        "baseline": {
            "undecided": float(((table["baseline_probability"] - 0.5).abs() < UNDECIDED).mean()),
            "partners": {str(k): int(v) for k, v in table["partner"].value_counts().items()},
        },
        "gradients": {"median": float(table["gradients"].median()), "largest": int(table["gradients"].max())},
        "stability": _stability(table, others, how),
    }


def _stability(
    table: pd.DataFrame, others: pd.DataFrame, how: tuple[float, int, int]
) -> Mapping[str, dict[str, float]]:
    """Per baseline the share, that from the first baseline on the same nodules, and who keeps the order."""
    first = table.set_index("nodule_id")
    found = {}
    for name, part in others.groupby("baseline", sort=False):
        before = first.loc[part["nodule_id"]]
        above = (before["us"] > before["ct"]).to_numpy()
        same = above == (part["us"] > part["ct"]).to_numpy()
        found[str(name)] = share_us_above_ct(part, *how) | {
            "first": float(above.mean()),
            "same_order": float(same.mean()),
        }
    return found
