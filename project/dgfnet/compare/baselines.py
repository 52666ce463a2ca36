"""Networks and stacks against baselines: more than a ruler, a record, a sum of parts?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from dgfnet.compare.pairs import paired_delong
from dgfnet.metrics.discrimination import auc
from dgfnet.vocabulary import BASELINES

COLUMNS = ["variant", "baseline", "estimate", "low", "high", "p"]


def against(tables: dict[str, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Computes the AUC of every network and stack minus every baseline's (paired DeLong, clustered).

    Args:
        tables: out-of-fold table per variant and baseline, the same nodules in the same order.
        confidence: of the intervals.

    Returns:
        Columns COLUMNS, the model of largest AUC first; empty without baselines.
    """
    networks = [name for name in tables if name not in BASELINES]
    areas = {name: auc(tables[name]["label"], tables[name]["probability"]) for name in networks}
    rows = [
        {"variant": network, "baseline": name} | paired_delong(tables[network], tables[name], confidence)
        for network in sorted(networks, key=lambda name: -areas[name])
        for name in tables
        if name in BASELINES
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def sentence(frame: pd.DataFrame, variant: str, confidence: float) -> str:
    """Says which baselines a model beats: those where the lower limit of the difference is above 0.

    Args:
        frame: of `against`.
        variant: the network or stack.
        confidence: of its intervals.

    Returns:
        Nothing when there is no baseline to compare it with.
    """
    said = _verdict(frame, variant, confidence)
    return f"{variant} {said}" if said else ""


def best(frame: pd.DataFrame, confidence: float) -> str:
    """Says the same of the network or stack of largest AUC."""
    if frame.empty:
        return ""
    variant = str(frame["variant"].iloc[0])
    return f"Of networks and stacks {variant} has the largest AUC: it {_verdict(frame, variant, confidence)}"


def _verdict(frame: pd.DataFrame, variant: str, confidence: float) -> str:
    rows = frame[frame["variant"] == variant].to_dict("records")
    beaten = [_words(row) for row in rows if row["low"] > 0]
    others = [_words(row) for row in rows if not row["low"] > 0]
    said = [f"beats {_listed(beaten)}"] if beaten else []
    said += [f"does not beat {_listed(others)}"] if others else []
    if not said:
        return ""
    return f"{' and '.join(said)} (AUC minus the baseline's, {100 * confidence:g} % interval)."


def _words(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["low"]):
        return f"{row['baseline']} (no interval)"
    return f"{row['baseline']} ({row['estimate']:+.3f}, {row['low']:+.3f} to {row['high']:+.3f})"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
