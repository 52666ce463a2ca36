"""First-order statistics and texture as the Image Biomarker Standardisation Initiative defines them (IBSI 1).

A. Zwanenburg et al., Radiology 295:328 (2020); reference manual arXiv:1612.07003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dgfnet.measured.region import Floats, Mask, NoduleRegion

BINS = 32  # fixed bin number between the nodule's smallest and largest grey level
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))  # neighbours at distance 1: the four directions in a plane
Levels = NDArray[np.int64]


def intensity_of(region: NoduleRegion) -> dict[str, float]:
    """Measures the distribution of grey levels in the nodule."""
    return statistics(region.values) | {"entropy": entropy(discretised(region.values))}


def texture_of(region: NoduleRegion) -> dict[str, float]:
    """Measures the co-occurrence of neighbouring grey levels in the nodule; NaN where no two pixels touch."""
    levels = np.zeros(region.grey.shape, dtype=np.int64)
    levels[region.inside] = discretised(region.values)
    rows, columns = (np.flatnonzero(region.inside.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return {f"glcm_{name}": value for name, value in cooccurrence(levels[box], region.inside[box]).items()}


def statistics(values: Floats) -> dict[str, float]:
    """Returns mean, variance, skewness, excess kurtosis, 10th and 90th percentile of (n,) grey levels.

    Skewness and kurtosis of equal grey levels are 0 (IBSI 3.3.3, 3.3.4).
    """
    mean, variance = float(values.mean()), float(values.var())
    # grey levels of up to 1e4 leave rounding errors of about 1e-24 in the variance
    flat = variance <= 1e-18 * max(1.0, mean * mean)
    deviation = (values - mean) / (1.0 if flat else np.sqrt(variance))
    return {
        "mean": mean,
        "variance": variance,
        "skewness": 0.0 if flat else float(np.mean(deviation**3)),
        "kurtosis": 0.0 if flat else float(np.mean(deviation**4)) - 3,
        "p10": float(np.percentile(values, 10)),
        "p90": float(np.percentile(values, 90)),
    }


def discretised(values: Floats, bins: int = BINS) -> Levels:
    """Returns the bin, 1 to `bins`, of each grey level (IBSI 2.7, fixed bin number); 1 when all are equal."""
    low, high = values.min(), values.max()
    if high <= low:
        return np.ones(values.shape, dtype=np.int64)
    return np.asarray(np.minimum(np.floor(bins * (values - low) / (high - low)) + 1, bins), dtype=np.int64)


def entropy(levels: Levels) -> float:
    """Returns the entropy of discretised grey levels, bits (IBSI TLU2)."""
    return _bits(np.bincount(levels.ravel()) / levels.size)


def cooccurrence(levels: Levels, inside: Mask) -> dict[str, float]:
    """Returns features of the symmetric co-occurrence matrix, averaged over the four directions of a plane.

    Args:
        levels: (H, W) discretised grey levels from 1.
        inside: (H, W) pixels that count.
    """
    found = []
    for down, right in STEPS:
        one, other = _neighbours(levels, inside, down, right)
        if one.size:
            found.append(_of_matrix(one, other))
    if not found:
        return dict.fromkeys(
            ("contrast", "inverse_difference_moment", "correlation", "joint_entropy"), np.nan
        )
    return {name: float(np.mean([features[name] for features in found])) for name in found[0]}


def _neighbours(levels: Levels, inside: Mask, down: int, right: int) -> tuple[Levels, Levels]:
    rows, columns = levels.shape
    here = np.s_[: rows - down, max(0, -right) : columns - max(0, right)]
    there = np.s_[down:, max(0, right) : columns + min(0, right)]
    both = inside[here] & inside[there]
    return levels[here][both], levels[there][both]


def _of_matrix(one: Levels, other: Levels) -> dict[str, float]:
    """Returns the features of one direction from the (n,) levels of its pairs."""
    size = int(max(one.max(), other.max())) + 1
    counts = np.bincount(one * size + other, minlength=size * size).reshape(size, size)
    p = (counts + counts.T) / (2 * one.size)
    index = np.arange(size)
    marginal = p.sum(axis=1)
    mean = float(marginal @ index)
    variance = float(marginal @ (index - mean) ** 2)
    apart = (index[:, None] - index[None, :]) ** 2
    together = float((index - mean) @ p @ (index - mean))
    return {
        "contrast": float((p * apart).sum()),
        "inverse_difference_moment": float((p / (1 + apart)).sum()),
        "correlation": together / variance if variance > 1e-12 else 1.0,
        "joint_entropy": _bits(p.ravel()),
    }


def _bits(p: Floats) -> float:
    positive = p[p > 0]
    return max(0.0, float(-(positive * np.log2(positive)).sum()))
