"""Undersampling: equal numbers of both classes (paper section 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def undersample(labels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of all members of the rarer class and as many random ones of the other, shuffled.

    Unlabelled members (NaN) are left out. In training it is drawn anew every epoch, so that no image is
    wasted.
    """
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    count = min(len(positive), len(negative))
    chosen = [rng.choice(group, size=count, replace=False) for group in (positive, negative)]
    return rng.permutation(np.concatenate(chosen)).astype(np.int64)


def everyone(labels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of all labelled members, shuffled."""
    return rng.permutation(np.flatnonzero(~np.isnan(labels))).astype(np.int64)
