"""The attention of a fusion, and whether it does anything for the answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, get_args

import pandas as pd

from dgfnet.vocabulary import Branch

LEVELS: tuple[Branch, ...] = get_args(Branch)
COLUMNS = ["variant", *(f"entropy_{level}" for level in LEVELS), "estimate", "low", "high", "p"]


def table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a row per cross-validated variant that has attention, columns COLUMNS.

    Entropies are shares of that of uniform attention, mean over the folds, NaN for a level that is left out;
    `estimate`, with its interval, is the pooled AUC less that of the same networks with uniform attention at
    every level.
    """
    rows = [
        {"variant": name}
        | {f"entropy_{level}": value for level, value in result["attention"]["entropy"].items()}
        | result["attention"]["gain"]
        for name, result in results.items()
        if "attention" in result
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def sentence(row: Mapping[Hashable, Any]) -> str:
    """Says what a row of the table means."""
    known = [level for level in LEVELS if not pd.isna(row[f"entropy_{level}"])]
    entropies = ", ".join(f"{level} {row[f'entropy_{level}']:.3f}" for level in known)
    verdict = "tells something" if row["low"] > 0 else "is not seen to tell anything"
    return (
        f"The attention of {row['variant']} {verdict}: AUC less that of the same networks with uniform "
        f"attention {row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}); entropy, as a share of "
        f"uniform attention's: {entropies}."
    )
