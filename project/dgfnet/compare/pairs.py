"""Paired tests of two variants, over nodules and over folds."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.compare.tables import or_nan
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import auc_difference, bootstrap_interval, corrected_resampled_t, holm
from dgfnet.vocabulary import RECORD_FUSIONS, SPECS, Variant

DIFFERENCES = ["a", "b", "estimate", "low", "high", "p", "p_holm"]
PAIRS = [
    *DIFFERENCES,
    *("boot_low", "boot_high", "folds_estimate", "folds_low", "folds_high", "folds_p", "folds_p_holm"),
]
# models that read the record, and the same without it
RECORD_PAIRS = {"record_stack": "stack"} | {name: SPECS[name].fusion for name in RECORD_FUSIONS}


def differences(tables: dict[str, pd.DataFrame], reference: Variant, confidence: float) -> pd.DataFrame:
    """Computes the AUC of the reference minus every other variant's, paired over nodules (DeLong, clustered).

    Args:
        tables: out-of-fold table per variant, the same nodules in the same order.
        reference: variant; an empty table is returned when it was not cross-validated.
        confidence: of the intervals, 0 to 1.

    Returns:
        One row per other variant, columns DIFFERENCES; Holm's correction is over the rows.
    """
    if reference not in tables:
        return pd.DataFrame(columns=DIFFERENCES)
    rows = [
        {"a": reference, "b": name} | paired_delong(tables[reference], other, confidence)
        for name, other in tables.items()
        if name != reference
    ]
    result = pd.DataFrame(rows, columns=DIFFERENCES[:-1])
    return result.assign(p_holm=holm(result["p"].to_numpy(dtype=float)))


def all_pairs(
    tables: dict[str, pd.DataFrame],
    results: dict[str, dict[str, Any]],
    confidence: float,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Compares every pair of variants: clustered DeLong and bootstrap, corrected resampled t over folds.

    Args:
        tables: out-of-fold table per variant, the same nodules in the same order.
        results: metrics.json per variant.
        confidence: of the intervals.
        replicates: of the bootstrap.
        seed: of the bootstrap; every pair draws the same patients.

    Returns:
        One row per pair, columns PAIRS; Holm's correction is over all pairs, of each test on its own.
    """
    rows = []
    areas = {name: _areas(table, replicates, seed) for name, table in tables.items()}
    for a, b in combinations(tables, 2):
        row: dict[str, Any] = {"a": a, "b": b} | paired_delong(tables[a], tables[b], confidence)
        gain = areas[a] - areas[b]
        row["boot_low"], row["boot_high"] = _limits(gain, tables[a], confidence, replicates, seed)
        by_fold = [
            or_nan(x["scores"]["auc"]) - or_nan(y["scores"]["auc"])
            for x, y in zip(results[a]["folds"], results[b]["folds"], strict=True)
        ]
        corrected = corrected_resampled_t(by_fold, 1 / len(by_fold), confidence)
        rows.append(row | {f"folds_{name}": value for name, value in vars(corrected).items()})
    table = pd.DataFrame(rows, columns=[name for name in PAIRS if not name.endswith("holm")])
    for name in ("p", "folds_p"):
        table[f"{name}_holm"] = holm(table[name].to_numpy(dtype=float))
    return table[PAIRS]


def record_sentences(frame: pd.DataFrame, confidence: float) -> list[str]:
    """Says what the record adds to each model that is there with and without it, by rows of `all_pairs`."""
    said = []
    for row in frame.to_dict("records"):
        first, second = str(row["a"]), str(row["b"])
        sides = row["estimate"], row["low"], row["high"]
        if RECORD_PAIRS.get(second) == first:
            first, second = second, first
            sides = -row["estimate"], -row["high"], -row["low"]
        if RECORD_PAIRS.get(first) == second:
            gain, low, high = sides
            said.append(
                f"What the record adds: AUC of {first} minus that of {second} {gain:+.3f} "
                f"({100 * confidence:g} % interval {low:+.3f} to {high:+.3f}, p = {row['p']:.2g})."
            )
    return said


def paired_delong(a: pd.DataFrame, b: pd.DataFrame, confidence: float) -> dict[str, float]:
    """Computes the AUC of a table minus another's: estimate, low, high, p (clustered DeLong)."""
    return vars(auc_difference(a["label"], a["probability"], b["probability"], a["patient_id"], confidence))


def _areas(table: pd.DataFrame, replicates: int, seed: int) -> NDArray[np.float64]:
    """Returns the AUC of all rows, then of every replicate; pairs share them, for all draw one sample."""
    label, probability = (np.asarray(table[name], dtype=float) for name in ("label", "probability"))
    areas: list[float] = []

    def area(rows: NDArray[np.intp]) -> float:
        areas.append(auc(label[rows], probability[rows]))
        return areas[-1]

    bootstrap_interval(area, table["patient_id"], 0.5, replicates, np.random.default_rng(seed))
    return np.array(areas)


def _limits(
    gain: NDArray[np.float64], table: pd.DataFrame, confidence: float, replicates: int, seed: int
) -> tuple[float, float]:
    """Returns the limits of a difference whose values `_areas` has found."""
    values = iter(gain)
    interval = bootstrap_interval(
        lambda _: float(next(values)),
        table["patient_id"],
        confidence,
        replicates,
        np.random.default_rng(seed),
    )
    return interval.low, interval.high
