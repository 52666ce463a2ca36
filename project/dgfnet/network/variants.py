"""The models of the paper's tables as one class assembled from interchangeable parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgfnet.network.decoders import Decoder
from dgfnet.network.dgf import DiverseGranularityFusion, NoduleLevel
from dgfnet.network.encoders import GREY_MEAN, GREY_STD, Encoder, channels, pooled
from dgfnet.network.fusion import BasicFusion
from dgfnet.settings import Network, Training
from dgfnet.vocabulary import SPECS, EncoderName, Modality, Variant


class Output(NamedTuple):
    """Output of a network for a batch.

    Attributes:
        logit: (B,) log odds of metastasis.
        masks: per modality (B, 2, S, S) logits of nodule and boundary; empty when no segmentation was asked
            for.
    """

    logit: Tensor
    masks: dict[Modality, Tensor]


class Stream(nn.Module):
    """One modality: normalisation, encoder, and the decoders of nodule and boundary if it has tasks."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: EncoderName, settings: Network, tasks: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(GREY_MEAN))
        self.register_buffer("std", torch.tensor(GREY_STD))
        self.encoder = Encoder(encoder, settings.width)
        self.nodule = Decoder(settings.width, settings.dropout) if tasks else None
        self.boundary = Decoder(settings.width, settings.dropout) if tasks else None

    def set_normalisation(self, mean: float, std: float) -> None:
        """Statistics of the training images, in 0..1 units of grey."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def forward(self, image: Tensor, segment: bool) -> tuple[Tensor, Tensor | None]:
        """Grey images 0..255, (B, S, S), become values (B, F) and, if asked for, mask logits (B, 2, S, S).

        A stream without tasks gives no masks.
        """
        x = (image[:, None].float() / 255 - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)  # 1.3-1.6x faster convolutions on CPU, AMP on GPU
        maps = self.encoder(x)
        if not segment or self.nodule is None or self.boundary is None:
            return pooled(maps), None
        return pooled(maps), torch.cat([self.nodule(maps), self.boundary(maps)], dim=1)


class DGFNet(nn.Module):
    """A variant: its streams, its fusion if it has two modalities, and the classifier all variants share.

    Only `us_tlr` is another class: `network/tlr.py`.
    """

    rectangle = None  # its input is the whole region of interest

    def __init__(self, variant: Variant, encoder: EncoderName, settings: Network) -> None:
        super().__init__()
        if variant == "us_tlr":
            raise ValueError("us_tlr is a TransferNet")
        features = channels(settings.width)[-1]
        self.variant = variant
        self.modalities, tasks = SPECS[variant].modalities, SPECS[variant].tasks
        self.streams = nn.ModuleDict({name: Stream(encoder, settings, tasks) for name in self.modalities})
        self.fusion: nn.Module | None = None
        if variant == "concat" or variant == "sum" or variant == "product":
            self.fusion = BasicFusion(variant, features)
        elif variant == "dgf":
            self.fusion = DiverseGranularityFusion(features, settings.dgf)
        self.classifier = nn.Sequential(
            nn.Linear(features, features // 2),
            nn.ReLU(inplace=True),
            nn.Dropout(settings.dropout),
            nn.Linear(features // 2, 1),
        )

    def optimised(self, settings: Training) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser: all alike."""
        parameters = list(self.parameters())
        return [{"params": parameters, "lr": settings.learning_rate, "weight_decay": settings.weight_decay}]

    def stream(self, modality: Modality) -> Stream:
        """The stream of a modality."""
        stream = self.streams[modality]
        assert isinstance(stream, Stream)
        return stream

    @property
    def nodule_level(self) -> NoduleLevel | None:
        """The part that keeps a reference bank, if this variant has one and attends over it."""
        if isinstance(self.fusion, DiverseGranularityFusion) and "nodule" in self.fusion.levels:
            level = self.fusion.levels["nodule"]
            if isinstance(level, NoduleLevel) and level.over == "bank":
                return level
        return None

    def features(self, images: Mapping[Modality, Tensor]) -> list[Tensor]:
        """Values of each modality before fusion, (B, F) each."""
        return [self.streams[modality](images[modality], False)[0] for modality in self.modalities]

    def forward(
        self, images: Mapping[Modality, Tensor], patients: Tensor | None = None, segment: bool = False
    ) -> Output:
        """Scores a batch.

        Args:
            images: per modality (B, S, S) grey values 0..255, any number type.
            patients: (B,) patient keys for the reference bank; None masks nobody.
            segment: also run the decoders, if the variant has them.
        """
        values, masks = [], {}
        for modality in self.modalities:
            value, mask = self.streams[modality](images[modality], segment)
            values.append(value)
            if mask is not None:
                masks[modality] = mask
        fused = self.fusion(values[0], values[1], patients) if self.fusion is not None else values[0]
        return Output(self.classifier(fused)[:, 0], masks)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads a complete state dict, giving the reference bank the size it has there."""
    level = model.nodule_level
    if isinstance(level, NoduleLevel):
        for name in ("bank_keys", "bank_values", "bank_patients"):
            setattr(
                level,
                name,
                torch.empty_like(weights[f"fusion.levels.nodule.{name}"], device=level.query.weight.device),
            )
    model.load_state_dict(dict(weights))
