"""Crops of nodules, the input of every model of a bundle: all images of each modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.preprocess.archive import mean_of_pairs, paired
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import MODALITIES, RECORD, Modality, Scored, mask_of

BATCH = 64  # pairs that go through a network at once

# by name of a network's input (P, S, S): grey values, or masks of 0 and 1
Crops = Mapping[str, NDArray[np.uint8]]
# all that a network reads: crops, and under RECORD (P, T) float64, where it has a stream of the record
Inputs = Mapping[str, NDArray[Any]]
# Under the name of an input per nodule (K, S, S), the image with the largest nodule first; an array (N, S, S)
# is one of each. For a stacked model its measured features, too, under joint.key: (N, features); and where a
# model reads the record, under RECORD per nodule its cells, (columns,) of texts and None.
Album = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """P pairs of images of N nodules that are scored, or P images where the model takes one modality.

    Attributes:
        crops: by name of the input (P, S, S) uint8.
        nodule: (P,) position of the nodule of each pair, not decreasing; its first pair is the largest.
    """

    crops: Crops
    nodule: NDArray[np.int64]

    def average(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the mean over the pairs of each nodule, (..., P) to (..., N)."""
        return mean_of_pairs(self.nodule, log_odds)


def of_pictures(inputs: Iterable[str]) -> tuple[str, ...]:
    """Returns the inputs of a network that are pictures or masks."""
    return tuple(name for name in inputs if name != RECORD)


def pairs_of(album: Album, inputs: Sequence[str], settings: Preprocess, images: Scored) -> ScoredPairs:
    """Returns the pairs of images that a model scores of N nodules; see `preprocess.archive.paired`.

    Args:
        album: crops of the nodules, and masks of those that the model reads.
        inputs: names of the model's inputs; a mask goes with its picture.
        settings: that make the model's crops.
        images: `all` or `largest`.

    Raises:
        InputError: naming the input whose crops are missing, or of another number, shape or type.
    """
    needed = [name for name in MODALITIES if name in inputs]
    listed = {
        name: _listed(name, album, inputs, settings.size(modality))
        for modality in needed
        for name in (modality, mask_of(modality))
        if name in inputs
    }
    counts = sorted({len(nodules) for nodules in listed.values()})
    if len(counts) != 1:
        raise InputError(f"every input needs crops of every nodule, found {counts}")
    chosen: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in inputs}
    nodule = []
    for place in range(counts[0]):
        own = {name: crops[place] for name, crops in listed.items()}
        for name in sorted(own.keys() - set(needed)):
            pictures = len(own[name.removesuffix("_mask")])
            if len(own[name]) != pictures:
                raise InputError(f"{name}: {len(own[name])} masks of a nodule with {pictures} pictures")
        for at in paired([len(own[name]) for name in needed], images):
            nodule.append(place)
            for modality, position in zip(needed, at, strict=True):
                for name in (modality, mask_of(modality)):
                    if name in own:
                        chosen[name].append(own[name][position])
    return ScoredPairs(
        {name: np.stack(crops) for name, crops in chosen.items()}, np.array(nodule, dtype=np.int64)
    )


def _listed(name: str, album: Album, inputs: Sequence[str], side: int) -> list[NDArray[np.uint8]]:
    if name not in album:
        raise InputError(f"crops of {name} are missing; this model needs {', '.join(inputs)}")
    given: Any = album[name]
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


def largest(album: Album, inputs: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Returns the crop with the largest area of every nodule, (N, S, S) by name of the input."""
    return {name: np.stack([crops[0] for crops in album[name]]) for name in inputs}


def scored_images(album: Album, modality: Modality, images: Scored) -> list[NDArray[np.uint8]]:
    """Returns the crops of every nodule that are scored, (K, S, S) each."""
    count = 1 if images == "largest" else None
    return [crops[:count] if crops.ndim == 3 else crops[None] for crops in album[modality]]


def part_of(album: Album, rows: Sequence[int]) -> Album:
    """Returns the nodules at these positions, in this order."""
    return {name: [nodules[row] for row in rows] for name, nodules in album.items()}


def in_parts(inputs: Inputs) -> list[Inputs]:
    """Returns what a network reads of pairs, in batches of BATCH pairs."""
    count = len(next(iter(inputs.values())))
    return [{name: rows[at : at + BATCH] for name, rows in inputs.items()} for at in range(0, count, BATCH)]
