"""The structural components behind the variance of an area under the ROC curve.

DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837-845) in the form for clustered data of Obuchowski 1997
(Biometrics 53:567-578), by midranks as in Sun & Xu 2014 (IEEE Signal Process Lett 21:1389-1393): O(n log n).
With one row per cluster this is plain DeLong. Use it through `intervals`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgfnet.metrics.discrimination import midranks


@dataclass(frozen=True)
class Clusters:
    """Rows grouped by patient: cluster of each row (n,), and numbers of clusters by kind."""

    index: NDArray[np.intp]
    total: int
    with_positive: int
    with_negative: int

    @property
    def enough(self) -> bool:
        """A variance needs two patients with a positive row and two with a negative one."""
        return min(self.with_positive, self.with_negative) >= 2


def index_of(cluster: ArrayLike) -> tuple[NDArray[np.intp], int]:
    """Numbers the clusters: of each row, 0..clusters-1, (n,), and their count.

    Raises:
        ValueError: for no rows, another shape than (n,), or an identifier that is nan.
    """
    names = np.asarray(cluster)
    if names.ndim != 1 or names.size == 0 or (names != names).any():  # only nan differs from itself
        raise ValueError("clusters must be an (n,) array of patient identifiers, n >= 1, none missing")
    unique, index = np.unique(names, return_inverse=True)
    return index.astype(np.intp), unique.size


def group(positive: NDArray[np.bool_], cluster: ArrayLike) -> Clusters:
    """Groups labelled rows by cluster; `positive` (n,), `cluster` (n,) identifiers of patients.

    Raises:
        ValueError: as for `index_of`, or when there is not one identifier per row.
    """
    index, total = index_of(cluster)
    if index.shape != positive.shape:
        raise ValueError(f"one cluster per label is needed: {index.shape}, {positive.shape}")
    return Clusters(index, total, np.unique(index[positive]).size, np.unique(index[~positive]).size)


def components(
    positive: NDArray[np.bool_], score: NDArray[np.float64], clusters: Clusters
) -> tuple[float, NDArray[np.float64]]:
    """Computes the area and each cluster's deviations from it, positives and negatives, (2, clusters).

    Row 0 is (V10(X_i.) - m_i area) / M of Obuchowski 1997, row 1 (V01(Y_i.) - n_i area) / N. Everything up to
    the last division is a whole number or a half, exact in float64: equal rankings give a difference of
    exactly zero.
    """
    m, n = float(positive.sum()), float((~positive).sum())
    rank = midranks(score)
    below = rank[positive] - midranks(score[positive])  # negatives below each positive, ties at half
    above = m - (rank[~positive] - midranks(score[~positive]))  # positives above each negative
    pairs = below.sum()
    rows = []
    for mask, counts, own, other in ((positive, below, m, n), (~positive, above, n, m)):
        index = clusters.index[mask]
        summed = np.bincount(index, weights=counts, minlength=clusters.total)
        members = np.bincount(index, minlength=clusters.total)
        rows.append(other * (own * summed - members * pairs))
    return float(pairs / (m * n)), np.stack(rows) / (m * n) ** 2


def variance_of(deviations: NDArray[np.float64], clusters: Clusters) -> float:
    """Computes S10 / M + S01 / N + 2 S11 / (M N) of Obuchowski 1997 as a sum of squares, never negative."""
    both, positives, negatives = (
        count / (count - 1) for count in (clusters.total, clusters.with_positive, clusters.with_negative)
    )
    of_positives, of_negatives = deviations
    total = both * np.square(of_positives + of_negatives).sum()
    total += (positives - both) * np.square(of_positives).sum()
    total += (negatives - both) * np.square(of_negatives).sum()
    return float(total)


def newcombe_low(area: float, cases: int, controls: int, z: float) -> float:
    """Finds the smallest area whose own standard error (Newcombe 2006, method 5) still reaches `area`."""
    from scipy.optimize import brentq  # slow to import, and needed for a variance of zero only

    if area == 0.0:
        return 0.0
    weight = (cases + controls) / 2 - 1

    def gap(theta: float) -> float:
        spread = 1 + weight * (1 - theta) / (2 - theta) + weight * theta / (1 + theta)
        return area - theta - z * math.sqrt(theta * (1 - theta) * spread / (cases * controls))

    return float(brentq(gap, 0.0, min(area, 1.0 - 1e-9)))  # theta = 1 itself is a root without meaning
