"""Trained networks as functions that can be explained: one row, one nodule; gradients only to the images."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dgfnet.attribution.gradients import Images, Score
from dgfnet.dataset.pairs import Nodules, evaluation_batches, pairs_of
from dgfnet.network.dgf import NoduleLevel
from dgfnet.network.tlr import FROZEN, TUNED, Model, TransferNet
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware
from dgfnet.training.inference import build_bank
from dgfnet.vocabulary import RECORD, Modality, mask_of

BATCH = 64
WORD = 64  # pixels of a mask in a number of 64 bits


@dataclass(frozen=True)
class Pictures:
    """The inputs of a network for N nodules: the largest-area pair, as in evaluation.

    Attributes:
        images: per modality (N, S, S) float32, grey 0..255.
        masks: per modality (N, S, S) bool, the nodule.
        fixed: int64, of `fixed_of`.
    """

    images: Images
    masks: dict[Modality, Tensor]
    fixed: Tensor

    def take(self, at: Tensor) -> Pictures:
        """Returns the nodules at these positions."""
        return Pictures(
            {name: values[at] for name, values in self.images.items()},
            {name: values[at] for name, values in self.masks.items()},
            self.fixed[at],
        )


def pictures(model: Model, archive: Archive, nodules: Nodules) -> Pictures:
    """Reads the pictures of nodules as this network takes them; `us_tlr` takes a rectangle."""
    pairs = pairs_of(nodules, model.modalities, "largest")
    batches = list(evaluation_batches(archive, nodules, pairs, BATCH, model.rectangle))
    masks = {
        name: torch.cat([batch.targets[name][:, 0] > 0 for batch in batches]) for name in model.modalities
    }
    told = [batch.record for batch in batches if batch.record is not None]
    return Pictures(
        {name: torch.cat([batch.images[name].float() for batch in batches]) for name in model.modalities},
        masks,
        fixed_of(
            model,
            torch.cat([batch.patients for batch in batches]),
            masks,
            torch.cat(told) if told else None,
        ),
    )


def fixed_of(
    model: Model, patients: Tensor, masks: Mapping[Modality, Tensor], record: Tensor | None = None
) -> Tensor:
    """Packs what a network knows of nodules beside their pictures: patient keys, masks and record.

    An explanation asks what the pictures say, so all of it stays as it is along a path. It is one tensor,
    which captum hands on as it is; a pixel of a mask takes a bit of it, a number of the record a word.

    Args:
        model: the network.
        patients: (N,) int64 patient keys.
        masks: per modality (N, S, S) bool, the nodule; those that the network reads are packed.
        record: (N, T) float64, where the network reads it.

    Returns:
        int64, (N,) the keys, or (N, 1 + pixels / 64 + T) keys, masks and record.
    """
    words = [_packed(masks[name]) for name in model.modalities if mask_of(name) in model.inputs]
    words += [] if record is None else [record.view(torch.int64)]
    return torch.cat([patients[:, None], *words], dim=1) if words else patients


def without_record(fixed: Tensor, unknown: Tensor) -> Tensor:
    """Returns `fixed_of` the same nodules, (N, more), of whose record nothing is known.

    Args:
        fixed: of a network that reads the record.
        unknown: (T,) float64, what it reads of such a nodule.
    """
    words = unknown.view(torch.int64).expand(len(fixed), -1)
    return torch.cat([fixed[:, : -len(unknown)], words], dim=1)


def inputs_of(model: Model, images: Images, fixed: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Returns the inputs of a network by name, and the patient keys (B,), from pictures and `fixed_of`."""
    inputs: dict[str, Tensor] = {name: values for name, values in images.items()}
    if fixed.ndim == 1:
        return inputs, fixed
    keys, rest = fixed[:, 0], fixed[:, 1:]
    for name in (name for name in model.modalities if mask_of(name) in model.inputs):
        side = images[name].shape[-1]
        count = -(-side * side // WORD)
        inputs[mask_of(name)] = _unpacked(rest[:, :count], side)
        rest = rest[:, count:]
    if RECORD in model.inputs:
        inputs[RECORD] = rest.view(torch.float64)
    return inputs, keys


def _packed(mask: Tensor) -> Tensor:
    """Returns a mask (N, S, S) as words of WORD pixels, (N, words) int64; the last is filled with zeros."""
    pixels = mask.flatten(1).numpy()
    padded = np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % WORD)))
    return torch.from_numpy(np.packbits(padded, axis=1).view(np.int64))


def _unpacked(words: Tensor, side: int) -> Tensor:
    """Returns the mask (N, side, side) of its words, uint8."""
    bits = np.unpackbits(np.ascontiguousarray(words.numpy()).view(np.uint8), axis=1, count=side * side)
    return torch.from_numpy(bits.reshape(-1, side, side))


def scorer(model: Model) -> Score:
    """Returns the network's log odds as a function, before any correction for prevalence.

    0 is where it decides. A copy works: in evaluation mode, where the nodule level attends over the bank;
    without gradients to parameters; with normalisation folded into the convolutions, which changes no result
    and takes a third less time.

    Raises:
        ValueError: for a network whose nodule level attends over the batch: steps of a path would attend to
            each other.
    """
    if mixes(model):
        raise ValueError("a network that attends over the batch mixes rows and cannot be explained")
    copy = deepcopy(model).eval().requires_grad_(False)
    _fold_normalisation(copy)
    copy.requires_grad_(False)  # folded weights are new parameters
    copy.to(memory_format=torch.channels_last)
    if isinstance(copy, TransferNet):
        return _transfer(copy)

    def score(images: Images, fixed: Tensor) -> Tensor:
        logit: Tensor = copy(*inputs_of(copy, images, fixed)).logit
        return logit

    return score


def last_layers(model: Model) -> dict[Modality, nn.Module]:
    """Returns the layer of each stream whose output is its last feature map, for Grad-CAM.

    In `DGFNet` the map is (B, F, S / 32, S / 32).
    """
    if isinstance(model, TransferNet):
        return {"us": model.blocks[TUNED[-1]]}
    return {name: model.stream(name).encoder.get_submodule("layer4") for name in model.modalities}


def _fold_normalisation(module: nn.Module) -> None:
    """Folds every normalisation that is defined right after a convolution, as in ResNet and Inception."""
    children = list(module.named_children())
    for (first, convolution), (second, normalisation) in pairwise(children):
        if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(convolution, normalisation))
            setattr(module, second, nn.Identity())
    for _, child in children:
        _fold_normalisation(child)


def with_frozen_batch(model: Model, archive: Archive, batch: Nodules) -> Model:
    """Returns a network whose nodule level attends over the batch as one that can be explained.

    A copy attends to the nodule itself and to the others of the batch as they are, but for those of the
    nodule's own patient: what a path changes is the explained nodule alone. Other networks are returned as
    they are.
    """
    if not isinstance(model, DGFNet) or not mixes(model):
        return model
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, NoduleLevel):
            module.over, module.with_self = "bank", True
    build_bank(copy, archive, batch, Hardware(torch.device("cpu"), None))
    return copy


def mixes(model: Model) -> bool:
    """Returns True where the prediction of a row depends on the other rows of its batch."""
    return any(getattr(module, "over", None) == "batch" for module in model.modules())


def _transfer(model: TransferNet) -> Score:
    """Scores by `us_tlr` without the `no_grad` around its frozen blocks, where every gradient would end."""

    def score(images: Images, fixed: Tensor) -> Tensor:
        x = images["us"][:, None] / 127.5 - 1
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        for name in (*FROZEN, *TUNED):
            x = model.blocks[name](x)
        logit: Tensor = model.head(x.mean(dim=(2, 3)))[:, 0]
        return logit

    return score
