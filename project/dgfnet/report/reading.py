"""Sentences about the measured features that encoders tell."""

from __future__ import annotations

import pandas as pd

ENOUGH = 0.7  # of the variance: a feature that an encoder tells
NAMED = 5  # features that a sentence lists


def sentences(rows: pd.DataFrame) -> list[str]:
    """Says of every encoder how many features it tells on held-out pictures, and which it tells least.

    Args:
        rows: reading.csv of the stage pretrain.
    """
    said = []
    for (modality, encoder), own in rows.groupby(["modality", "encoder"], sort=False):
        least = own.sort_values("r2", ignore_index=True).head(NAMED)
        listed = ", ".join(f"{row.feature} {row.r2:.2f}" for row in least.itertuples())
        said.append(
            f"{modality} {encoder}: {(own['r2'] >= ENOUGH).sum()} of {len(own)} measured features with an R2 "
            f"of {ENOUGH} or more on held-out pictures; the least: {listed}"
        )
    return said
