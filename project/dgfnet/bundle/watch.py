"""Counts of held-out nodules by risk, with which the answers of a deployed model are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

RISK_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # upper bounds, which belong to their part
NOVELTY_BOUNDS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


def counted(values: ArrayLike, bounds: Sequence[float]) -> list[int]:
    """Returns how many values are in each part: up to a bound and above the one before; beyond all are last.

    Args:
        values: (n,) without NaN.
        bounds: increasing upper bounds.

    Returns:
        One number per bound, and one of what is beyond them.
    """
    places = np.searchsorted(np.asarray(bounds), np.asarray(values, dtype=np.float64), side="left")
    return [int(count) for count in np.bincount(places, minlength=len(bounds) + 1)]


def risk_counts(risks: ArrayLike) -> dict[str, Any]:
    """Returns `counts` of calibrated risks by parts of RISK_BOUNDS, and their `mean`."""
    return {"counts": counted(risks, RISK_BOUNDS), "mean": float(np.asarray(risks).mean())}
