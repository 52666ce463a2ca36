"""Crops of nodules, the input of every model of a bundle: all images of each modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.preprocess.archive import mean_of_pairs, paired
from dgfnet.settings import Preprocess
from dgfnet.vocabulary import MODALITIES, Modality, Scored

BATCH = 64  # pairs that go through a network at once

Crops = Mapping[Modality, NDArray[np.uint8]]  # (P, S, S) grey values
# Under a modality per nodule (K, S, S) grey values, the image with the largest nodule first; an array
# (N, S, S) is one of each. For a stacked model its measured features, too, under joint.key: (N, features).
Album = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """P pairs of images of N nodules that are scored, or P images where the model takes one modality.

    Attributes:
        crops: per modality (P, S, S) uint8.
        nodule: (P,) position of the nodule of each pair, not decreasing; its first pair is the largest.
    """

    crops: Crops
    nodule: NDArray[np.int64]

    def average(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the mean over the pairs of each nodule, (..., P) to (..., N)."""
        return mean_of_pairs(self.nodule, log_odds)


def pairs_of(album: Album, needed: tuple[Modality, ...], settings: Preprocess, images: Scored) -> ScoredPairs:
    """Returns the pairs of images that a model scores of N nodules; see `preprocess.archive.paired`.

    Args:
        album: crops of the nodules.
        needed: modalities of the model.
        settings: that make the model's crops.
        images: `all` or `largest`.

    Raises:
        InputError: naming the modality whose crops are missing, or of another number, shape or type.
    """
    listed = {name: _listed(name, album, needed, settings.size(name)) for name in needed}
    counts = sorted({len(nodules) for nodules in listed.values()})
    if len(counts) != 1:
        raise InputError(f"every modality needs crops of every nodule, found {counts}")
    chosen: dict[Modality, list[NDArray[np.uint8]]] = {name: [] for name in needed}
    nodule = []
    for place, own in enumerate(zip(*listed.values(), strict=True)):
        for at in paired([len(crops) for crops in own], images):
            nodule.append(place)
            for name, crops, position in zip(needed, own, at, strict=True):
                chosen[name].append(crops[position])
    return ScoredPairs(
        {name: np.stack(crops) for name, crops in chosen.items()}, np.array(nodule, dtype=np.int64)
    )


def _listed(
    name: Modality, album: Mapping[str, Any], needed: tuple[Modality, ...], side: int
) -> list[NDArray[np.uint8]]:
    if name not in album:
        raise InputError(f"crops of {name} are missing; this model needs {', '.join(needed)}")
    given = album[name]
    if isinstance(given, np.ndarray) and given.ndim == 3:
        given = given[:, None]
    for crops in given:
        if crops.ndim != 3 or crops.shape[1:] != (side, side) or crops.dtype != np.uint8 or not len(crops):
            raise InputError(
                f"{name}: expected (K, {side}, {side}) uint8 of every nodule, found {crops.shape} "
                f"{crops.dtype}"
            )
    if not len(given):
        raise InputError(f"{name}: no nodule; expected (K, {side}, {side}) uint8 of each")
    return list(given)


def largest(album: Album) -> dict[Modality, NDArray[np.uint8]]:
    """Returns the crop with the largest area of every nodule, (N, S, S) per modality."""
    return {name: np.stack([crops[0] for crops in album[name]]) for name in MODALITIES if name in album}


def part_of(album: Album, rows: Sequence[int]) -> Album:
    """Returns the nodules at these positions, in this order."""
    return {name: [nodules[row] for row in rows] for name, nodules in album.items()}


def in_parts(images: Crops) -> list[dict[Modality, NDArray[np.uint8]]]:
    """Returns crops in batches of BATCH pairs."""
    count = len(next(iter(images.values())))
    return [{name: crops[at : at + BATCH] for name, crops in images.items()} for at in range(0, count, BATCH)]
