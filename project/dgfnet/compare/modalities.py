"""Ultrasound against CT: is one more sensitive and the other more specific, as the paper has it?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.metrics.intervals import share_difference
from dgfnet.vocabulary import Variant

PAIRS: tuple[tuple[Variant, Variant], ...] = (("us_multitask", "ct_multitask"), ("us_resnet", "ct_resnet"))
MEASURES = ("sensitivity", "specificity")
COLUMNS = ["a", "b", "thresholds", "measure", "value_a", "value_b", "estimate", "low", "high", "p"]


def table(tables: Mapping[str, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Compares sensitivity and specificity of a network of US and one of CT on the same nodules.

    Thresholds are `own`, those of every fold, or `matched`: each network calls as many nodules positive as
    there are positives, the rest of lower probability negative. At thresholds of its own a network can buy
    sensitivity with specificity; at matched ones it cannot.

    Args:
        tables: out-of-fold table per variant, the same nodules in the same order.
        confidence: of the intervals.

    Returns:
        Columns COLUMNS: US minus CT, its limits and p (clustered by patient). Empty without such networks, or
        with one class alone.
    """
    rows = []
    for a, b in PAIRS:
        if a not in tables or b not in tables:
            continue
        label, patients = tables[a]["label"].to_numpy() == 1, tables[a]["patient_id"].to_numpy()
        if label.all() or not label.any():
            continue
        for thresholds, called in (("own", _own), ("matched", _matched)):
            first, second = called(tables[a]), called(tables[b])
            for measure, where in zip(MEASURES, (label, ~label), strict=True):
                right = first[where] == label[where], second[where] == label[where]
                found = share_difference(*right, patients[where], confidence)
                values = {"value_a": right[0].mean(), "value_b": right[1].mean()}
                names = {"a": a, "b": b, "thresholds": thresholds, "measure": measure}
                rows.append(names | values | vars(found))
    return pd.DataFrame(rows, columns=COLUMNS)


def _own(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table["probability"] >= table["threshold"]).to_numpy()


def _matched(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Returns which nodules are among the most probable, as many as are positive; ties go by their order."""
    order = np.argsort(-table["probability"].to_numpy(), kind="stable")
    called = np.zeros(len(table), dtype=bool)
    called[order[: int(table["label"].sum())]] = True
    return called


def sentences(frame: pd.DataFrame) -> list[str]:
    """Says what the table means, a sentence per pair of networks."""
    said = []
    for (a, b), rows in frame.groupby(["a", "b"], sort=False):
        own, matched = ({r["measure"]: r for r in _rows(rows, name)} for name in ("own", "matched"))
        seen = own["sensitivity"]["low"] > 0 and own["specificity"]["high"] < 0
        verdict = "is seen here" if seen else "is not seen here"
        said.append(
            f"That ultrasound is more sensitive and CT more specific {verdict}: {a} "
            f"minus {b} at thresholds of their own, sensitivity {_cell(own['sensitivity'])}, specificity "
            f"{_cell(own['specificity'])}; at matched ones {_cell(matched['sensitivity'])} and "
            f"{_cell(matched['specificity'])}."
        )
    return said


def _rows(rows: pd.DataFrame, thresholds: str) -> list[dict[Hashable, Any]]:
    return rows[rows["thresholds"] == thresholds].to_dict("records")


def _cell(row: Mapping[Hashable, Any]) -> str:
    return f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}, p = {row['p']:.2g})"
