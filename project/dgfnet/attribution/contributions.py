"""Contributions of US and CT to the multimodal prediction of each nodule (the paper's Figure 3).

Shapley values come from captum's `ShapleyValues`, with one feature per modality, and one for the record where
the fusion reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import ShapleyValues
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.attribution.baselines import OTHER_PATIENTS, UNDECIDED
from dgfnet.attribution.gradients import Images, Paths, Score
from dgfnet.attribution.networks import without_record
from dgfnet.metrics.intervals import bootstrap_interval, wilson
from dgfnet.vocabulary import MODALITIES, RECORD

COLUMNS = (
    *("nodule_id", "us", "ct", "baseline_probability", "completeness_error"),
    *("us_correct", "ct_correct", "correct", "label"),
    *("patient_id", "fold", "log_odds", "shapley_us", "shapley_ct", "gradients", "partner"),
    *("centred_us", "centred_ct"),
    "shapley_record",  # of a fusion that reads the record
)
MEANS = ("us", "ct", "shapley_us", "shapley_ct", "shapley_record")


def shapley(
    score: Score, paths: Paths, rows: int, unknown: Tensor | None = None
) -> dict[str, NDArray[np.float64]]:
    """Computes the Shapley values of the players US, CT and, where it is read, the record (Shapley 1953).

    The value of a coalition is F of its pictures with the baseline in the place of the others', and with
    nothing known of the record where that is not of it. captum averages over all orders of the players, so
    the values are exact, but for its sums in single precision.

    Args:
        score: the network, of two modalities.
        paths: pictures and baselines of N nodules.
        rows: most pictures of a modality that go through the network at once.
        unknown: (T,) what it reads of a record of which nothing is known; None for one that reads none.

    Returns:
        (N,) of us, ct and perhaps record, log odds towards metastasis.
    """
    names = MODALITIES if unknown is None else (*MODALITIES, RECORD)

    def log_odds(us: Tensor, ct: Tensor, *rest: Tensor) -> Tensor:
        *known, fixed = rest
        if known and unknown is not None:
            fixed = torch.where(known[0] > 0, fixed, without_record(fixed, unknown))
        return score({"us": us, "ct": ct}, fixed).double()

    def inputs(images: Images, known: Tensor) -> tuple[Tensor, ...]:
        return (images["us"], images["ct"], *(() if unknown is None else (known,)))

    explainer = ShapleyValues(log_odds)
    # one player per modality; players are numbered across the inputs, from 0 and without gaps
    players = [torch.full((1, 1, 1), player, dtype=torch.int64) for player in range(len(names))]
    # that of the record is a switch: its gaps, NaN, would spread through captum's sums
    players[2:] = [player[0] for player in players[2:]]
    values = [
        explainer.attribute(
            inputs(part.images, torch.ones(len(part), 1)),
            baselines=inputs(part.baselines, torch.zeros(len(part), 1)),
            additional_forward_args=part.fixed,
            feature_mask=tuple(players),
        )
        for part in paths.split(rows)
    ]
    # a player's value stands at each of its pixels
    return {
        name: np.concatenate([np.empty(0), *(part[player].flatten(1)[:, 0].numpy() for part in values)])
        for player, name in enumerate(names)
    }


def towards_truth(values: NDArray[np.float64], label: NDArray[Any]) -> NDArray[np.float64]:
    """Turns attributions to metastasis into those to the correct answer: those of label 0 change sign."""
    return np.where(np.asarray(label) == 1, values, -values)


def centred(table: pd.DataFrame, prefix: str = "") -> pd.DataFrame:
    """Computes contributions beyond what a modality says of the average nodule of the fold.

    At a baseline of probability 0.5 only the sum of both modalities is neutral: one may lean to metastasis in
    every nodule and the other against it. Which says more for the correct answer then depends on how many
    nodules have metastasis. Centred, each modality is neutral by itself.

    Args:
        table: columns us, ct (with the prefix), towards the correct answer; label and fold.
        prefix: of the columns, for example `shapley_`.

    Returns:
        Columns us and ct, towards the correct answer.
    """
    label = table["label"].to_numpy()
    towards = pd.DataFrame(
        {name: towards_truth(table[f"{prefix}{name}"].to_numpy(), label) for name in MODALITIES},
        index=table.index,
    )  # towards metastasis: the sign turned twice is the sign
    towards -= towards.groupby(table["fold"]).transform("mean")
    return towards.apply(lambda values: towards_truth(values.to_numpy(), label))


def rescued(table: pd.DataFrame, prefix: str = "") -> dict[str, dict[str, int]]:
    """Counts what the paper argues from: a modality wrong alone, speaking rightly in a fusion that is right.

    Args:
        table: us_correct, ct_correct, correct, and columns us and ct (with the prefix) towards the truth.
        prefix: of the columns.

    Returns:
        Per modality the nodules that it had wrong alone (`wrong`), those among them that the fusion has right
        (`fusion_right`), and those among these to whose answer it contributes rightly (`rightly`).
    """
    counts: dict[str, dict[str, int]] = {}
    for name in MODALITIES:
        wrong = table[table[f"{name}_correct"] == 0]
        right = wrong[wrong["correct"] == 1]
        rightly = int((right[f"{prefix}{name}"] > 0).sum())
        counts[name] = {"wrong": len(wrong), "fusion_right": len(right), "rightly": rightly}
    return counts


def correct(table: pd.DataFrame) -> NDArray[np.int64]:
    """Returns 1 where an out-of-fold table is right at its own frozen thresholds, else 0."""
    called = table["probability"] >= table["threshold"]
    return np.asarray(called.astype(int) == table["label"].astype(int), dtype=np.int64)


def share_us_above_ct(
    table: pd.DataFrame, confidence: float, replicates: int, seed: int, prefix: str = ""
) -> dict[str, float]:
    """Computes the share of nodules in which US says more for the correct answer than CT, with two intervals.

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
    """Summarises the contributions of a site, for summary.json.

    Args:
        table: contributions.csv.
        others: stability.csv, the same columns us and ct from each baseline in the column `baseline`.
        tolerance: of the completeness error, log odds.
        confidence: of the intervals.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    resampling = (confidence, replicates, seed)
    above = table["us"] > table["ct"]
    players = centred(table, "shapley_").assign(patient_id=table["patient_id"])
    return {
        "us_above_ct": share_us_above_ct(table, *resampling),
        "us_above_ct_of_label": _of_label(table, above),
        "centred": {
            "us_above_ct": share_us_above_ct(table, *resampling, prefix="centred_"),
            "us_above_ct_of_label": _of_label(table, table["centred_us"] > table["centred_ct"]),
            "shapley_us_above_ct": share_us_above_ct(players, *resampling),
            "rescued": rescued(table, "centred_"),
        },
        "rescued": rescued(table),
        "shapley": {
            "us_above_ct": share_us_above_ct(table, *resampling, prefix="shapley_"),
            "same_order": float((above == (table["shapley_us"] > table["shapley_ct"])).mean()),
            "correlation": float(
                np.corrcoef(table["us"] - table["ct"], table["shapley_us"] - table["shapley_ct"])[0, 1]
            )
            if len(table) > 2
            else float("nan"),
        },
        "mean": {name: float(table[name].mean()) for name in MEANS if name in table},
        "completeness": {
            "tolerance": tolerance,
            "median": float(table["completeness_error"].median()),
            "largest": float(table["completeness_error"].max()),
            "within": float((table["completeness_error"] <= tolerance).mean()),
        },
        "baseline": {
            "undecided": float(((table["baseline_probability"] - 0.5).abs() < UNDECIDED).mean()),
            "partners": {str(k): int(v) for k, v in table["partner"].value_counts().items()},
            "other_patient": float(table["partner"].isin(OTHER_PATIENTS).mean()),
        },
        "gradients": {"median": float(table["gradients"].median()), "largest": int(table["gradients"].max())},
        "stability": _stability(table, others, resampling),
    }


def _of_label(table: pd.DataFrame, above: pd.Series) -> dict[str, float]:
    """Returns the share of nodules that are above, by their label."""
    return {str(label): float(share) for label, share in above.groupby(table["label"]).mean().items()}


def _stability(
    table: pd.DataFrame, others: pd.DataFrame, resampling: tuple[float, int, int]
) -> Mapping[str, dict[str, float]]:
    """Compares each other baseline with the first on the same nodules: shares, and who keeps the order."""
    first = table.set_index("nodule_id")
    stability = {}
    for name, part in others.groupby("baseline", sort=False):
        before = first.loc[part["nodule_id"]]
        above = (before["us"] > before["ct"]).to_numpy()
        same = above == (part["us"] > part["ct"]).to_numpy()
        stability[str(name)] = share_us_above_ct(part, *resampling) | {
            "first": float(above.mean()),
            "same_order": float(same.mean()),
        }
    return stability
