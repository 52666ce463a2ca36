"""Out-of-distribution checks of new nodules: limits of the training crops, distances of embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Limits = Mapping[str, tuple[float, float]]  # lowest and highest value by feature of a crop

TAILS = (0.005, 0.995)  # of the training crops; about one in a hundred lies outside
BLACK = 2  # grey values that are background
NEIGHBOUR = 5  # distances are to the fifth nearest training nodule (Sun 2022, ICML: deep nearest neighbours)


def features(crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Returns brightness and contrast (grey values) and share of black (0..1), (N,), of crops (N, S, S)."""
    flat = crops.reshape(len(crops), -1)
    return {
        "brightness": flat.mean(axis=1),
        "contrast": flat.std(axis=1),
        "share of black": (flat <= BLACK).mean(axis=1),
    }


def training_limits(crops: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Returns the limits between which 99 % of the training crops (N, S, S) lie, by feature."""
    limits = {name: np.quantile(values, TAILS) for name, values in features(crops).items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def outside(crops: NDArray[np.uint8], limits: Limits) -> list[list[str]]:
    """Returns per crop the features outside the limits of training, in words."""
    sentences: list[list[str]] = [[] for _ in crops]
    for name, values in features(crops).items():
        low, high = limits[name]
        for place in np.flatnonzero((values < low) | (values > high)):
            sentences[place].append(f"{name} {values[place]:.3g}, training {low:.3g} to {high:.3g}")
    return sentences


def unit_length(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns embeddings (N, F) scaled to rows of length one."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, 1e-12), np.float32)


def distances(embeddings: NDArray[np.float32], training: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns distances (B,) from the fifth nearest training nodule, 0..2, of embeddings at unit length.

    Args:
        embeddings: (B, F) of new nodules, of any length.
        training: (N, F) of the training nodules, of unit length.
    """
    squared = np.clip(
        2 - 2 * unit_length(embeddings).astype(np.float64) @ training.T.astype(np.float64), 0, 4
    )
    return np.sqrt(np.sort(squared, axis=1)[:, min(NEIGHBOUR, len(training)) - 1])
