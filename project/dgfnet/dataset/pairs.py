"""Images of a nodule for a batch: a random pair in training; in evaluation the largest (section 1) or all."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dgfnet.dataset.batch import Batch
from dgfnet.dataset.rectangle import Rectangle
from dgfnet.preprocess.archive import Archive, centre, largest_first, mean_of_pairs, paired
from dgfnet.sections.networks import Augment
from dgfnet.vocabulary import Modality, Scored

if TYPE_CHECKING:
    from dgfnet.dataset.augment import Augmenter, Drawer

Indices = NDArray[np.int64]
Features = Mapping[Modality, NDArray[np.float32]]  # of every picture of the archive
Planned = TypeVar("Planned")
Made = TypeVar("Made")


def patient_key(cohort: str, patient_id: str) -> int:
    """Returns a number for a patient of a cohort: equal for equal patients, and not the id itself."""
    digest = hashlib.sha256(f"{cohort}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


@dataclass(frozen=True)
class Nodules:
    """Nodules in a fixed order, with the labels and rows that a fit needs.

    Attributes:
        ids: nodule ids.
        patients: (N,) int64 patient keys.
        labels: (N,) float32, 0, 1 or NaN where unknown.
        rows: per modality, for each nodule the rows of its images in the archive.
        largest: per modality (N,) the row of the image with the largest nodule area.
        record: (N, T) terms of the record, NaN for a number that is not known; None where none is read.
    """

    ids: tuple[str, ...]
    patients: Indices
    labels: NDArray[np.float32]
    rows: Mapping[Modality, Sequence[Indices]]
    largest: Mapping[Modality, Indices]
    record: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Indices) -> Nodules:
        """Selects the nodules at these positions, in this order."""
        return Nodules(
            tuple(self.ids[i] for i in indices),
            self.patients[indices],
            self.labels[indices],
            {m: [rows[i] for i in indices] for m, rows in self.rows.items()},
            {m: rows[indices] for m, rows in self.largest.items()},
            None if self.record is None else self.record[indices],
        )


@dataclass(frozen=True)
class Pairs:
    """P pairs of images that an evaluation scores, or of one modality P images.

    Attributes:
        nodule: (P,) position of the nodule of each pair, not decreasing; its first pair is the largest.
        rows: per modality (P,) the row of the image in the archive.
    """

    nodule: Indices
    rows: Mapping[Modality, Indices]

    def take(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Returns the chosen pairs, (P,)."""
        return Pairs(self.nodule[chosen], {name: rows[chosen] for name, rows in self.rows.items()})

    def average(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the mean over the pairs of each nodule, (..., P) to (..., N)."""
        return mean_of_pairs(self.nodule, log_odds)


def pairs_of(nodules: Nodules, modalities: Sequence[Modality], images: Scored) -> Pairs:
    """Returns the pairs of images that an evaluation of nodules scores; see `archive.paired`."""
    owners, chosen = [], []
    for place in range(len(nodules)):
        own = [
            largest_first(list(nodules.rows[name][place]), int(nodules.largest[name][place]))
            for name in modalities
        ]
        for images_of_pair in paired([len(rows) for rows in own], images):
            owners.append(place)
            chosen.append([rows[at] for rows, at in zip(own, images_of_pair, strict=True)])
    table = np.array(chosen, dtype=np.int64).reshape(-1, len(modalities))
    return Pairs(np.array(owners, dtype=np.int64), dict(zip(modalities, table.T, strict=True)))


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is made.

    Attributes:
        chunk: positions of its nodules.
        seed: of everything that is drawn for it.
    """

    chunk: Indices
    seed: int


def epoch_plans(order: Indices, size: int, rng: np.random.Generator) -> list[BatchPlan]:
    """Cuts an epoch into batches that are as equal as they can be and at most `size` long."""
    chunks = np.array_split(order, max(1, -(-len(order) // size)))
    return [BatchPlan(chunk, int(rng.integers(2**62))) for chunk in chunks]


def pick(
    nodules: Nodules,
    modality: Modality,
    chunk: Indices,
    kit: Augmenter | Drawer,
    rng: np.random.Generator,
) -> Indices:
    """Draws a seed for the augmentation of a batch and an image of every nodule; returns the images' rows."""
    kit.reseed(int(rng.integers(2**31)))
    return np.array([rng.choice(nodules.rows[modality][i]) for i in chunk])


def training_batches(
    archive: Archive,
    nodules: Nodules,
    order: Indices,
    modalities: Sequence[Modality],
    size: int,
    augment: Augment,
    rng: np.random.Generator,
    rectangle: Rectangle | None = None,
    features: Features | None = None,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[Batch]:
    """Makes the batches of one epoch: a random US and a random CT image of every nodule, augmented.

    Batches are as equal as they can be and at most `size` long, so that batch normalisation never sees a lone
    image. They are the same for any number of workers.

    Args:
        archive: where the images lie.
        nodules: whose they are.
        order: positions of the nodules of this epoch.
        modalities: in use.
        size: longest batch.
        augment: settings of the augmentation.
        rng: source of all randomness.
        rectangle: input of `us_tlr`, cut from a crop; None for the whole.
        features: of `dataset.features`, where encoders are to read what was measured.
        workers: threads that prepare batches ahead; with 0 each is made when it is asked for.
        pin: put them into page-locked memory, for a GPU.
    """
    from dgfnet.dataset.augment import Augmenter  # albumentations: seconds, and evaluation needs none of it

    kits = one_per_thread(
        workers, lambda: {modality: Augmenter(augment, archive.size[modality]) for modality in modalities}
    )

    def make(plan: BatchPlan) -> Batch:
        own, kit, crops, rows = np.random.default_rng(plan.seed), kits.get(), {}, {}
        for modality in modalities:
            rows[modality] = pick(nodules, modality, plan.chunk, kit[modality], own)
            planes = archive.planes(modality)
            crops[modality] = np.stack([kit[modality](planes[row]) for row in rows[modality]])
        kits.put(kit)
        batch = _collate(nodules, plan.chunk, crops, rectangle, rows, features)
        return batch.pinned() if pin else batch

    plans = epoch_plans(order, size, rng)
    yield from ahead(make, plans, workers) if workers else map(make, plans)


def one_per_thread(workers: int, make: Callable[[], Made]) -> SimpleQueue[Made]:
    """Returns as many of what has a state as there are threads, to be taken and put back."""
    pool: SimpleQueue[Made] = SimpleQueue()
    for _ in range(max(1, workers)):
        pool.put(make())
    return pool


def ahead(make: Callable[[Planned], Made], plans: Sequence[Planned], workers: int) -> Iterator[Made]:
    """Maps by threads, in order, at most two finished results per thread ahead of the consumer.

    numpy and OpenCV release the interpreter while they work on pixels.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for plan in plans:
                waiting.append(pool.submit(make, plan))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the consumer may have stopped early
            for future in waiting:
                future.cancel()


def evaluation_batches(
    archive: Archive,
    nodules: Nodules,
    pairs: Pairs,
    size: int,
    rectangle: Rectangle | None = None,
    features: Features | None = None,
) -> Iterator[Batch]:
    """Makes batches of pairs of the nodules, in order, as preprocessed."""
    for start in range(0, len(pairs.nodule), size):
        chunk = slice(start, start + size)
        rows = {modality: all_rows[chunk] for modality, all_rows in pairs.rows.items()}
        crops = {
            modality: centre(archive.planes(modality)[own], archive.size[modality])
            for modality, own in rows.items()
        }
        yield _collate(nodules, pairs.nodule[chunk], crops, rectangle, rows, features)


def _collate(
    nodules: Nodules,
    chunk: Indices,
    crops: Mapping[Modality, NDArray[np.uint8]],
    rectangle: Rectangle | None,
    rows: Mapping[Modality, Indices],
    features: Features | None,
) -> Batch:
    """Builds the batch of the nodules at `chunk` from their crops, (B, 3, S, S), of these rows."""
    cut = crops if rectangle is None else {modality: rectangle(values) for modality, values in crops.items()}
    tensors = {modality: torch.from_numpy(np.ascontiguousarray(values)) for modality, values in cut.items()}
    return Batch(
        {modality: tensor[:, 0] for modality, tensor in tensors.items()},
        {modality: tensor[:, 1:] for modality, tensor in tensors.items()},
        torch.from_numpy(nodules.labels[chunk]),
        torch.from_numpy(nodules.patients[chunk]),
        {modality: torch.from_numpy(features[modality][own]) for modality, own in rows.items()}
        if features is not None
        else {},
        None if nodules.record is None else torch.from_numpy(nodules.record[chunk]),
    )
