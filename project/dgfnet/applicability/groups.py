"""Subgroup analysis: correct share, AUC and gain of CT of each group of nodules (the paper's Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import chi2

from dgfnet.metrics.intervals import Difference, auc_difference, auc_interval, holm, wilson

MODELS = ("us", "ct", "both")


def by_group(
    tables: Mapping[str, pd.DataFrame], groups: pd.DataFrame, smallest: int, confidence: float
) -> pd.DataFrame:
    """Analyses every group of every attribute: each model's correct share and AUC, and the gain of adding CT.

    Args:
        tables: out-of-fold tables of `us`, `ct` and `both`, the same nodules in the same order.
        groups: one column per attribute, indexed by nodule_id; missing where the attribute is unknown.
        smallest: groups with fewer nodules of either class are marked `small`: nothing is tested there.
        confidence: of the intervals.

    Returns:
        One row per group: attribute, group, n, positives, small; correct_<model> with _low and _high
        (Wilson), auc_<model> with _low and _high; gain (AUC of both minus us) with _low, _high, _p and
        _p_holm, Holm's correction over all groups of the site that were tested.
    """
    rows = []
    for attribute in groups.columns:
        values = groups[attribute].reindex(tables["us"]["nodule_id"]).to_numpy()
        for name in _ordered(values):
            rows.append(
                {"attribute": attribute, "group": name} | _row(tables, values == name, smallest, confidence)
            )
    everybody = _row(tables, np.ones(len(tables["us"]), dtype=bool), smallest, confidence)
    table = pd.DataFrame(rows, columns=["attribute", "group", *everybody])  # whole without any group, too
    return table.assign(gain_p_holm=holm(table["gain_p"].to_numpy(dtype=float)) if rows else [])


def interactions(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Tests by Cochran's Q that the gain is equal in all groups of an attribute, with Holm's correction.

    Q weighs each group's gain by its precision (Cochran 1954, Biometrics 10:101-129) and is chi-squared with
    one degree of freedom fewer than groups when the gain is the same in all. Small groups are left out.

    Returns:
        One row per attribute: attribute, groups, q, p, p_holm; nan with fewer than two groups.
    """
    rows = []
    z = float(ndtri(0.5 + confidence / 2))
    for attribute, part in table.groupby("attribute", sort=False):
        tested = part[~part["small"] & part["gain_low"].notna() & (part["gain_high"] > part["gain_low"])]
        error = (tested["gain_high"] - tested["gain_low"]).to_numpy(dtype=float) / (2 * z)
        gain = tested["gain"].to_numpy(dtype=float)
        if len(tested) < 2:
            rows.append({"attribute": attribute, "groups": len(tested), "q": math.nan, "p": math.nan})
            continue
        weight = error**-2
        q = float((weight * (gain - np.average(gain, weights=weight)) ** 2).sum())
        rows.append(
            {"attribute": attribute, "groups": len(tested), "q": q, "p": float(chi2.sf(q, len(tested) - 1))}
        )
    result = pd.DataFrame(rows, columns=["attribute", "groups", "q", "p"])
    return result.assign(p_holm=holm(result["p"].to_numpy(dtype=float)))


def _row(tables: Mapping[str, pd.DataFrame], inside: Any, smallest: int, confidence: float) -> dict[str, Any]:
    parts = {name: table[inside] for name, table in tables.items()}
    label = parts["us"]["label"]
    n, positives = len(label), int(label.sum())
    small = min(positives, n - positives) < smallest
    row: dict[str, Any] = {"n": n, "positives": positives, "small": small}
    for name in MODELS:
        part = parts[name]
        correct = int(((part["probability"] >= part["threshold"]) == (part["label"] == 1)).sum())
        share = wilson(correct, n, confidence)
        area = auc_interval(part["label"], part["probability"], part["patient_id"], confidence)
        for kind, measured in (("correct", share), ("auc", area)):
            row |= {
                f"{kind}_{name}": measured.estimate,
                f"{kind}_{name}_low": measured.low,
                f"{kind}_{name}_high": measured.high,
            }
    us, both = parts["us"], parts["both"]
    gain = auc_difference(label, both["probability"], us["probability"], us["patient_id"], confidence)
    if small:
        gain = Difference(gain.estimate, math.nan, math.nan, math.nan)
    return row | {"gain": gain.estimate, "gain_low": gain.low, "gain_high": gain.high, "gain_p": gain.p}


def _ordered(values: Any) -> list[str]:
    """Sorts groups from small to large where they are ranges, else by name."""
    names = {str(value) for value in values if isinstance(value, str)}

    def place(name: str) -> tuple[float, str]:
        head = name.removeprefix("<= ").split(" - ")[0]
        if name.startswith("<= "):
            return -math.inf, name
        try:
            return float(head.removeprefix("> ")), name
        except ValueError:
            return math.inf, name

    return sorted(names, key=place)
