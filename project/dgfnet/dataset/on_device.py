"""Batches augmented on the device: what `augment` draws, as one map and one look-up of a whole batch.

A GPU trains faster than the cores beside it can turn pictures. So they only draw (a few numbers and the noise
of an elastic shift per picture), and the device computes the maps of `augment.Geometry` and looks up all
pictures of a batch at once. The draws are those of the CPU's batches, number for number; pixels differ by
roundings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgfnet.dataset.batch import Batch
from dgfnet.dataset.pairs import (
    BatchPlan,
    Features,
    Indices,
    Nodules,
    ahead,
    epoch_plans,
    one_per_thread,
    pick,
)
from dgfnet.preprocess.archive import Archive
from dgfnet.sections.networks import Augment
from dgfnet.vocabulary import Modality

if TYPE_CHECKING:
    from dgfnet.dataset.augment import Augmentation


@dataclass(frozen=True)
class AugmentationBatch:
    """Everything drawn for B pictures of one modality, as tensors.

    Attributes:
        rows: (B,) int64 of the pictures in the archive.
        read: (B, 3, S, S) uint8 the pictures, where they are not on the device.
        numbers: (B, 6) float32 of each picture: -1 where it is flipped, else 1; side, right and down of the
            crop; cosine and sine of the rotation.
        bent: (E,) int64 which pictures are bent.
        noise: (E, 2, size, size) float32 of their elastic shift.
        grey: (B, 256) uint8 new grey values.
    """

    rows: Tensor
    read: Tensor | None
    numbers: Tensor
    bent: Tensor
    noise: Tensor
    grey: Tensor

    @classmethod
    def of(
        cls, rows: Indices, read: NDArray[np.uint8] | None, drawn: Sequence[Augmentation], size: int
    ) -> AugmentationBatch:
        """Stacks what was drawn for each picture."""
        numbers = np.tile(np.array([1, 1, 0, 0, 1, 0], np.float32), (len(drawn), 1))
        bent, noise = [], []
        for place, moves in enumerate(one.moves for one in drawn):
            if moves is None:
                continue
            turned = np.cos(moves.angle), np.sin(moves.angle)
            numbers[place] = (-1 if moves.flipped else 1, moves.side, moves.right, moves.down, *turned)
            if moves.noise is not None:
                bent.append(place)
                noise.append(moves.noise.transpose(2, 0, 1))
        shifts = np.stack(noise) if noise else np.zeros((0, 2, size, size), np.float32)
        return cls(
            torch.from_numpy(rows),
            None if read is None else torch.from_numpy(read),
            torch.from_numpy(numbers),
            torch.tensor(bent, dtype=torch.int64),
            torch.from_numpy(shifts),
            torch.from_numpy(np.stack([one.grey for one in drawn])),
        )

    def pinned(self) -> AugmentationBatch:
        """Returns the same in page-locked memory, from which a GPU copies without waiting."""
        read = None if self.read is None else self.read.pin_memory()
        parts = (self.rows, self.numbers, self.bent, self.noise, self.grey)
        rows, *others = (part.pin_memory() for part in parts)
        return AugmentationBatch(rows, read, *others)


class DeviceAugmenter:
    """The map and the look-up of the batches of one modality, on the device."""

    def __init__(self, settings: Augment, size: int, stored: int, device: torch.device) -> None:
        """Prepares what batches have in common.

        Args:
            settings: of the augmentation.
            size: of the network's input, pixels.
            stored: side of the stored crops.
            device: of the batches.
        """
        from dgfnet.dataset.augment import strength

        ramp = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
        self._y, self._x = torch.meshgrid(ramp, ramp, indexing="ij")
        self._pad, self._stored = (stored - size) // 2, stored
        sigma = settings.elastic_smoothness * size
        # blurring along an axis is linear: OpenCV's kernel and borders, as a matrix
        tall = cv2.GaussianBlur(
            np.eye(size, dtype=np.float32), (1, round(8 * sigma + 1) | 1), sigmaX=1, sigmaY=sigma
        )
        self._blur = torch.from_numpy(tall).to(device)
        self._strength = strength(settings, size)

    @torch.no_grad()
    def __call__(self, crops: Tensor, changes: AugmentationBatch) -> Tensor:
        """Changes stored crops, (B, 3, S, S) uint8 of image, nodule and boundary, to (B, 3, size, size)."""
        device = crops.device
        numbers, grey = (part.to(device, non_blocking=True) for part in (changes.numbers, changes.grey))
        sign, side, right, down, cos, sin = (column[:, None, None] for column in numbers.unbind(1))
        x, y = self._x * sign * side + right, self._y * side + down
        if len(changes.bent):
            bent, noise = (part.to(device, non_blocking=True) for part in (changes.bent, changes.noise))
            shift = self._blur @ noise @ self._blur.T * self._strength
            x, y = x.index_add(0, bent, shift[:, 0]), y.index_add(0, bent, shift[:, 1])
        x, y = cos * x - sin * y, sin * x + cos * y
        # places in the stored crop, -1 in the middle of its first pixel and 1 in that of its last
        middle = (len(self._x) - 1) / 2 + self._pad
        grid = torch.stack([x + middle, y + middle], dim=-1) * (2 / (self._stored - 1)) - 1
        planes = crops.float()
        image = F.grid_sample(planes[:, :1], grid, "bilinear", "zeros", align_corners=True)
        masks = F.grid_sample(planes[:, 1:], grid, "nearest", "zeros", align_corners=True)
        value = image.round().long().flatten(1)
        seen = grey.gather(1, value).view(image.shape)
        return torch.cat([seen, masks.to(torch.uint8)], dim=1)


@dataclass(frozen=True)
class DeviceCrops:
    """The stored crops of an archive, on the device as far as they were brought there.

    Attributes:
        archive: where they lie.
        device: of the batches.
        resident: per modality (N, 3, S, S) uint8 on the device; a modality that is not there is read from the
            archive, batch by batch.
        augmenters: per modality.
    """

    archive: Archive
    device: torch.device
    resident: Mapping[Modality, Tensor]
    augmenters: Mapping[Modality, DeviceAugmenter]

    def augmented(self, modality: Modality, changes: AugmentationBatch) -> Tensor:
        """Returns the pictures of a batch, changed, (B, 3, size, size) on the device."""
        if changes.read is None:
            crops = self.resident[modality][changes.rows.to(self.device, non_blocking=True)]
        else:
            crops = changes.read.to(self.device, non_blocking=True)
        return self.augmenters[modality](crops, changes)


def open_crops(
    archive: Archive, modalities: Sequence[Modality], augment: Augment, device: torch.device, room: int
) -> DeviceCrops:
    """Brings the crops to the device, one modality after the other while they fit into `room` bytes."""
    resident, augmenters = {}, {}
    for modality in modalities:
        planes = archive.planes(modality)
        stored = planes.shape[-1]
        augmenters[modality] = DeviceAugmenter(augment, archive.size[modality], stored, device)
        if planes.nbytes <= room:
            resident[modality] = torch.from_numpy(np.array(planes)).to(device)
            room -= planes.nbytes
    return DeviceCrops(archive, device, resident, augmenters)


class _Drawn(NamedTuple):
    """A batch as threads prepare it, in the computer's memory."""

    changes: dict[Modality, AugmentationBatch]
    labels: Tensor
    patients: Tensor
    features: dict[Modality, Tensor]
    record: Tensor | None


def device_batches(
    pictures: DeviceCrops,
    nodules: Nodules,
    order: Indices,
    modalities: Sequence[Modality],
    size: int,
    augment: Augment,
    rng: np.random.Generator,
    features: Features | None = None,
    workers: int = 1,
) -> Iterator[Batch]:
    """Makes the batches of one epoch on the device: those of `pairs.training_batches`, draw for draw.

    Args:
        pictures: of `open_crops`.
        nodules: whose they are.
        order: positions of the nodules of this epoch.
        modalities: in use.
        size: longest batch.
        augment: settings of the augmentation.
        rng: source of all randomness.
        features: of `dataset.features`, where encoders are to read what was measured.
        workers: threads that draw ahead.
    """
    from dgfnet.dataset.augment import Drawer  # albumentations: seconds, and evaluation needs none of it

    archive, on_gpu = pictures.archive, pictures.device.type == "cuda"
    kits = one_per_thread(
        workers, lambda: {modality: Drawer(augment, archive.size[modality]) for modality in modalities}
    )

    def locked(values: NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory() if on_gpu else tensor

    def draw(plan: BatchPlan) -> _Drawn:
        own, kit, changes, read = np.random.default_rng(plan.seed), kits.get(), {}, {}
        for modality in modalities:
            rows = pick(nodules, modality, plan.chunk, kit[modality], own)
            crops = None if modality in pictures.resident else np.asarray(archive.planes(modality)[rows])
            drawn = [kit[modality]() for _ in rows]
            stacked = AugmentationBatch.of(rows, crops, drawn, archive.size[modality])
            changes[modality] = stacked.pinned() if on_gpu else stacked
            if features is not None:
                read[modality] = locked(features[modality][rows])
        kits.put(kit)
        labels, patients = (locked(of[plan.chunk]) for of in (nodules.labels, nodules.patients))
        record = None if nodules.record is None else locked(nodules.record[plan.chunk])
        return _Drawn(changes, labels, patients, read, record)

    plans = epoch_plans(order, size, rng)
    for changes, labels, patients, read, record in ahead(draw, plans, max(1, workers)):
        planes = {modality: pictures.augmented(modality, own) for modality, own in changes.items()}
        yield Batch(
            {modality: own[:, 0] for modality, own in planes.items()},
            {modality: own[:, 1:] for modality, own in planes.items()},
            labels.to(pictures.device, non_blocking=True),
            patients.to(pictures.device, non_blocking=True),
            {modality: own.to(pictures.device, non_blocking=True) for modality, own in read.items()},
            None if record is None else record.to(pictures.device, non_blocking=True),
        )
