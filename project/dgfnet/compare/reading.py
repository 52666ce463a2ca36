"""The shares of the measured features that encoders tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

COLUMNS = ["variant", "feature", "r2"]
ENOUGH = 0.7  # of the variance: a feature that an encoder tells
NAMED = 5  # features that a sentence lists


def table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a row per feature of every variant whose encoders learn to tell it, columns COLUMNS.

    `r2` is the mean over the folds of the share of the feature's variance over held-out pictures that the
    encoder tells: 1 is all of it, 0 no more than the mean.
    """
    rows = [
        {"variant": name, "feature": feature, "r2": value}
        for name, result in results.items()
        for feature, value in result.get("measured_r2", {}).items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def sentences(rows: pd.DataFrame) -> Sequence[str]:
    """Says of every variant of the table how many features it tells, and which it tells least."""
    said = []
    for variant, own in rows.groupby("variant", sort=False):
        least = own.sort_values("r2", ignore_index=True).head(NAMED)
        listed = ", ".join(f"{row.feature} {row.r2:.2f}" for row in least.itertuples())
        said.append(
            f"Of {len(own)} measured features the encoders of {variant} tell {(own['r2'] >= ENOUGH).sum()} "
            f"with an R2 of {ENOUGH} or more on held-out pictures; the least: {listed}."
        )
    return said
