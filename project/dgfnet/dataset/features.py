"""Measured features as targets: what an encoder learns to say of a picture beside the label.

A label says one thing of a nodule, and a cohort has few of them. What was measured says some thirty of every
picture, nearly without noise, and an encoder that can say them too has seen what they are measured from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.measured.definitions import DEFINITIONS, IN_GREY, NAMES
from dgfnet.vocabulary import Modality

LIMIT = 3.0  # standard deviations: a value beyond counts as this, so that no outlier rules a loss


def feature_targets(
    table: pd.DataFrame, training: Mapping[Modality, NDArray[np.int64]]
) -> dict[Modality, NDArray[np.float32]]:
    """Returns what was measured of every picture, standardised on those of the training part.

    Args:
        table: measured.parquet: modality, row, unit and the features.
        training: per modality the rows of the pictures of the training part.

    Returns:
        Per modality (N, features) in the order of `measured.definitions.NAMES`, within +-LIMIT. NaN where
        there is nothing to learn: the feature does not exist there, it is the same in all training pictures,
        or it is in grey levels of some pictures and in HU of others.
    """
    targets = {}
    for modality, chosen in training.items():
        own = table[table["modality"] == modality].sort_values("row")
        values = own[list(NAMES[modality])].to_numpy(np.float64)
        unusable = ~np.isfinite(values)
        if own["unit"].nunique() > 1:
            in_grey = {entry.name for entry in DEFINITIONS if entry.unit in IN_GREY}
            unusable |= np.array([name in in_grey for name in NAMES[modality]])
        known = pd.DataFrame(np.where(unusable, np.nan, values))
        seen = known.iloc[chosen]
        scale = seen.std(ddof=0).where(seen.nunique() > 1)  # rounding gives a constant some deviation
        targets[modality] = ((known - seen.mean()) / scale).clip(-LIMIT, LIMIT).to_numpy(np.float32)
    return targets
