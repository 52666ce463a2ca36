"""One validated batch of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dgfnet.vocabulary import RECORD, Modality, mask_of


@dataclass(frozen=True)
class Batch:
    """B nodules with one image of each modality in use.

    Attributes:
        images: per modality (B, S, S) uint8, grey 0..255; the network normalises inside.
        targets: per modality (B, 2, S, S) uint8, 0 or 1: nodule, boundary.
        label: (B,) float32, 0 or 1; NaN where the nodule has no label.
        patients: (B,) int64 patient keys.
        features: per modality (B, features) float32 what was measured, as `dataset.features` standardises it;
            empty when no encoder is to read it.
        record: (B, T) float64 terms of the record, NaN for a number that is not known; None when no network
            is to read it.
    """

    images: Mapping[Modality, Tensor]
    targets: Mapping[Modality, Tensor]
    label: Tensor
    patients: Tensor
    features: Mapping[Modality, Tensor] = field(default_factory=dict)
    record: Tensor | None = None

    def __post_init__(self) -> None:
        """Checks types and shapes once, so that no loss or network has to.

        Raises:
            ValueError: naming the field that does not fit.
        """
        count = len(self.label)
        if (
            self.label.dtype != torch.float32
            or self.patients.dtype != torch.int64
            or len(self.patients) != count
        ):
            raise ValueError(
                f"label must be float32 and patients int64 of one length, found {self.label.dtype} {count}"
            )
        for modality, image in self.images.items():
            target = self.targets[modality]
            if image.ndim != 3 or image.dtype != torch.uint8 or len(image) != count:
                raise ValueError(
                    f"images[{modality}] must be ({count}, S, S) uint8, found {tuple(image.shape)}"
                )
            if target.shape != (count, 2, *image.shape[1:]) or target.dtype != torch.uint8:
                raise ValueError(
                    f"targets[{modality}] must be ({count}, 2, S, S) uint8, found {tuple(target.shape)}"
                )

        for modality, values in self.features.items():
            if values.ndim != 2 or len(values) != count or values.dtype != torch.float32:
                raise ValueError(
                    f"features[{modality}] must be ({count}, F) float32, found {tuple(values.shape)}"
                )
        if self.record is not None:
            shape, kind = tuple(self.record.shape), self.record.dtype
            if len(shape) != 2 or shape[0] != count or kind != torch.float64:
                raise ValueError(f"record must be ({count}, T) float64, found {shape} {kind}")

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Images, masks of the nodule and the record by the names of a network's inputs."""
        masks = {mask_of(modality): target[:, 0] for modality, target in self.targets.items()}
        images = {str(modality): image for modality, image in self.images.items()}
        return {**images, **masks, **({} if self.record is None else {RECORD: self.record})}

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which a GPU copies without waiting."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; copies of a pinned batch do not wait."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            {modality: move(image) for modality, image in self.images.items()},
            {modality: move(target) for modality, target in self.targets.items()},
            move(self.label),
            move(self.patients),
            {modality: move(values) for modality, values in self.features.items()},
            None if self.record is None else move(self.record),
        )
