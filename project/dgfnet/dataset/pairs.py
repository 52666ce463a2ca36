"""Which images of a nodule are used: a random pair in training, the largest in evaluation (section 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dgfnet.dataset.augment import Augmenter
from dgfnet.dataset.batch import Batch
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import Modality

Indices = NDArray[np.int64]


def patient_key(cohort: str, patient_id: str) -> int:
    """A number that stands for a patient of a cohort: equal for equal patients, and not the id itself."""
    digest = hashlib.sha256(f"{cohort}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


@dataclass(frozen=True)
class Nodules:
    """Nodules in a fixed order, with what a fit needs of each.

    Attributes:
        ids: nodule ids.
        patients: (N,) int64 patient keys.
        labels: (N,) float32, 0, 1 or NaN where unknown.
        rows: per modality, for each nodule the rows of its images in the archive.
        largest: per modality (N,) the row of the image with the largest nodule area.
    """

    ids: tuple[str, ...]
    patients: Indices
    labels: NDArray[np.float32]
    rows: Mapping[Modality, Sequence[Indices]]
    largest: Mapping[Modality, Indices]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Indices) -> Nodules:
        """The nodules at these positions, in this order."""
        return Nodules(
            tuple(self.ids[i] for i in indices),
            self.patients[indices],
            self.labels[indices],
            {m: [rows[i] for i in indices] for m, rows in self.rows.items()},
            {m: rows[indices] for m, rows in self.largest.items()},
        )


def training_batches(
    archive: Archive,
    nodules: Nodules,
    order: Indices,
    modalities: Sequence[Modality],
    size: int,
    augmenters: Mapping[Modality, Augmenter],
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """One epoch: a random US and a random CT image of every nodule in `order`, augmented.

    Batches are as equal as they can be and at most `size` long, so that batch normalisation never sees a lone
    image.
    """
    for augmenter in augmenters.values():
        augmenter.reseed(int(rng.integers(2**31)))
    for chunk in np.array_split(order, max(1, -(-len(order) // size))):
        crops = {}
        for modality in modalities:
            rows = [rng.choice(nodules.rows[modality][i]) for i in chunk]
            crops[modality] = np.stack([augmenters[modality](archive.planes(modality)[row]) for row in rows])
        yield _collate(nodules, chunk, crops)


def evaluation_batches(
    archive: Archive, nodules: Nodules, modalities: Sequence[Modality], size: int
) -> Iterator[Batch]:
    """The largest-area pair of every nodule, in order, as preprocessed."""
    for start in range(0, len(nodules), size):
        chunk = np.arange(start, min(start + size, len(nodules)))
        crops = {}
        for modality in modalities:
            largest = archive.planes(modality)[nodules.largest[modality][chunk]]
            crops[modality] = centre(largest, archive.size[modality])
        yield _collate(nodules, chunk, crops)


def centre(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The paper's crop inside stored crops with margin, (..., S, S) to (..., size, size)."""
    pad = (crops.shape[-1] - size) // 2
    return crops[..., pad : pad + size, pad : pad + size]


def _collate(nodules: Nodules, chunk: Indices, crops: Mapping[Modality, NDArray[np.uint8]]) -> Batch:
    """The batch of the nodules at `chunk` from their crops, (B, 3, S, S) per modality."""
    tensors = {modality: torch.from_numpy(np.ascontiguousarray(values)) for modality, values in crops.items()}
    return Batch(
        {modality: tensor[:, 0] for modality, tensor in tensors.items()},
        {modality: tensor[:, 1:] for modality, tensor in tensors.items()},
        torch.from_numpy(nodules.labels[chunk]),
        torch.from_numpy(nodules.patients[chunk]),
    )
