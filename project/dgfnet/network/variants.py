"""The models of the paper's tables as one class assembled from interchangeable parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgfnet.measured.definitions import NAMES
from dgfnet.network.decoders import Decoder
from dgfnet.network.dgf import DiverseGranularityFusion, NoduleLevel
from dgfnet.network.encoders import GREY_MEAN, GREY_STD, Encoder, channels, pooled
from dgfnet.network.fusion import BasicFusion
from dgfnet.network.record import RecordStream
from dgfnet.network.regions import RegionPooling
from dgfnet.sections.networks import Network, Training
from dgfnet.vocabulary import RECORD, SPECS, EncoderName, Modality, Variant, mask_of


class Output(NamedTuple):
    """Output of a network for a batch.

    Attributes:
        logit: (B,) log odds of metastasis.
        masks: per modality (B, 2, S, S) logits of nodule and boundary; empty when no segmentation was asked
            for.
        features: per modality (B, features) what the encoder says was measured, in the order of
            `measured.definitions.NAMES`, standardised; empty unless it was asked for as the masks are.
    """

    logit: Tensor
    masks: dict[Modality, Tensor]
    features: dict[Modality, Tensor]


class Stream(nn.Module):
    """One modality: normalisation, encoder, pooling, and if it has tasks, decoders of nodule and boundary.

    Attributes:
        needs_mask: the nodule's mask is an input.
        reader: of measured features from the values, in the phase that learns them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, modality: Modality, encoder: EncoderName, settings: Network, tasks: bool, reads: bool
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(GREY_MEAN))
        self.register_buffer("std", torch.tensor(GREY_STD))
        self.mask_channel = settings.mask_channel
        self.encoder = Encoder(encoder, settings.width, 2 if settings.mask_channel else 1)
        self.regions = RegionPooling(settings.width) if settings.pooling == "regions" else None
        self.needs_mask = settings.mask_channel or self.regions is not None
        self.nodule = Decoder(settings.width, settings.dropout) if tasks else None
        self.boundary = Decoder(settings.width, settings.dropout) if tasks else None
        values, told = channels(settings.width)[-1], len(NAMES[modality])
        self.reader = nn.Linear(values, told) if reads else None

    def set_normalisation(self, mean: float, std: float) -> None:
        """Statistics of the training images, in 0..1 units of grey."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def forward(self, image: Tensor, mask: Tensor | None, segment: bool) -> tuple[Tensor, Tensor | None]:
        """Grey images 0..255, (B, S, S), become values (B, F) and, if asked for, mask logits (B, 2, S, S).

        A stream without tasks gives no masks.

        Args:
            image: grey values.
            mask: (B, S, S), 1 in the nodule and 0 elsewhere; looked at by streams that need it.
            segment: run the decoders, if there are any.

        Raises:
            ValueError: without the mask that it needs.
        """
        if self.needs_mask and mask is None:
            raise ValueError("this network reads the nodule's mask, and none was given")
        x = (image[:, None].float() / 255 - self.mean) / self.std
        if self.mask_channel and mask is not None:
            x = torch.cat([x, mask[:, None].float()], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)  # 1.3-1.6x faster convolutions on CPU, AMP on GPU
        maps = self.encoder(x)
        values = pooled(maps) if self.regions is None or mask is None else self.regions(maps, mask)
        if not segment or self.nodule is None or self.boundary is None:
            return values, None
        return values, torch.cat([self.nodule(maps), self.boundary(maps)], dim=1)


class DGFNet(nn.Module):
    """A variant: its streams, its fusion if it has several, and the classifier all variants share.

    Only `us_tlr` is another class: `network/tlr.py`.

    Attributes:
        record: the stream that is none of pictures, if the variant has it.
    """

    rectangle = None  # its input is the whole region of interest

    def __init__(
        self,
        variant: Variant,
        encoder: EncoderName,
        settings: Network,
        reads: bool = False,
        terms: int = 0,
    ) -> None:
        """Builds the network with random weights.

        Args:
            variant: any but `us_tlr`.
            encoder: of every stream.
            settings: width, pooling and the like.
            reads: streams also tell the measured features of their picture, which only training asks for.
            terms: of the record, where the variant reads it.
        """
        super().__init__()
        if variant == "us_tlr":
            raise ValueError("us_tlr is a TransferNet")
        features = channels(settings.width)[-1]
        self.variant = variant
        spec = SPECS[variant]
        self.modalities = spec.modalities
        self.streams = nn.ModuleDict(
            {name: Stream(name, encoder, settings, spec.tasks, reads) for name in self.modalities}
        )
        self.record = RecordStream(terms, features, settings.dropout) if spec.record else None
        names = (*self.modalities, *((RECORD,) if spec.record else ()))
        self.fusion: nn.Module | None = None
        if spec.fusion == "dgf":
            self.fusion = DiverseGranularityFusion(features, settings.dgf, names)
        elif spec.fusion is not None:
            self.fusion = BasicFusion(spec.fusion, features, len(names))
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

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs: the modalities, the masks of those whose stream needs one, the record."""
        masks = [mask_of(name) for name in self.modalities if self.stream(name).needs_mask]
        return (*self.modalities, *masks, *((RECORD,) if self.record is not None else ()))

    def features(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Values of each stream before fusion, (B, F) each."""
        values = [
            self.streams[modality](images[modality], images.get(mask_of(modality)), False)[0]
            for modality in self.modalities
        ]
        return values + ([self.record(images[RECORD])] if self.record is not None else [])

    def forward(
        self, images: Mapping[str, Tensor], patients: Tensor | None = None, segment: bool = False
    ) -> Output:
        """Scores a batch.

        Args:
            images: by name of the input (B, S, S): grey values 0..255 or masks 0 and 1, any number type; and
                the record (B, T) float64, where it is read.
            patients: (B,) patient keys for the reference bank; None masks nobody.
            segment: also run decoders and readers of measured features, if the variant has them.
        """
        values, masks, features = [], {}, {}
        for modality in self.modalities:
            drawn = images.get(mask_of(modality))
            value, predicted = self.streams[modality](images[modality], drawn, segment)
            values.append(value)
            if predicted is not None:
                masks[modality] = predicted
            reader = self.stream(modality).reader
            if segment and reader is not None:
                features[modality] = reader(value)
        if self.record is not None:
            values.append(self.record(images[RECORD]))
        fused = self.fusion(values, patients) if self.fusion is not None else values[0]
        return Output(self.classifier(fused)[:, 0], masks, features)


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
