"""What crops a model has seen in training, in three numbers each, and which new ones lie outside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Ranges = Mapping[str, tuple[float, float]]

TAILS = (0.005, 0.995)  # of the training crops; about one in a hundred lies outside
BLACK = 2  # grey values that are background
NEIGHBOUR = 5  # distances are to the fifth nearest training nodule (Sun 2022, ICML: deep nearest neighbours)


def features(crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Brightness and contrast (grey values) and the share of black pixels of (N, S, S) crops, (N,) each."""
    flat = crops.reshape(len(crops), -1)
    return {
        "brightness": flat.mean(axis=1),
        "contrast": flat.std(axis=1),
        "share of black": (flat <= BLACK).mean(axis=1),
    }


def seen(crops: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Limits between which nearly all of the training crops lie."""
    limits = {name: np.quantile(values, TAILS) for name, values in features(crops).items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def outside(crops: NDArray[np.uint8], ranges: Ranges) -> list[list[str]]:
    """Per crop what lies outside the training's range, in words."""
    found: list[list[str]] = [[] for _ in crops]
    for name, values in features(crops).items():
        low, high = ranges[name]
        for place in np.flatnonzero((values < low) | (values > high)):
            found[place].append(f"{name} {values[place]:.3g}, training {low:.3g} to {high:.3g}")
    return found


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length one."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)


def distances(values: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far nodules lie from those of training: to the fifth nearest, between directions, 0..2.

    Args:
        values: (B, F) of new nodules.
        seen: (N, F) of the training nodules, of unit length.
    """
    squared = np.clip(2 - 2 * unit(values).astype(np.float64) @ seen.T.astype(np.float64), 0, 4)
    return np.sqrt(np.sort(squared, axis=1)[:, min(NEIGHBOUR, len(seen)) - 1])
