"""Loads published checkpoints into our networks, with a strict report of the tensors that matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dgfnet.errors import InputError

CLASSIFIERS = ("fc.", "classifier.", "head.", "AuxLogits.")  # of the task the checkpoint was trained for
# a ResNet whose children were put into a Sequential, as RadImageNet's are
SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@dataclass(frozen=True)
class Match:
    """The match of a checkpoint with a network.

    Attributes:
        matched: tensors loaded; all a network has, or loading is refused.
        dropped: tensors of the checkpoint that were left out.
        stem: treatment of its first layer for grey images.
    """

    matched: int
    dropped: tuple[str, ...]
    stem: str

    def describe(self) -> dict[str, Any]:
        """Returns the record for fit.json."""
        return asdict(self)


def match(
    content: Mapping[str, Any], own: Mapping[str, Tensor], stem: str, expected: str
) -> tuple[dict[str, Tensor], Match]:
    """Finds the tensors of a network in a checkpoint.

    Understood are plain state dicts, those under `state_dict` or `model`, under any prefix (`module.`,
    `backbone.`), ResNets as a Sequential, and stems of one or three channels: a three-channel stem meets a
    one-channel one as the sum over its channels. Counters of batches may be absent: torchvision's files
    lack them.

    Args:
        content: the checkpoint.
        own: the network's state dict.
        stem: name of the first convolution's weight.
        expected: words for the error.

    Raises:
        InputError: when a tensor is missing, of another shape, or unknown.
    """
    plain = next(
        (content[k] for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), content
    )
    tensors, dropped = _rename(plain, stem)
    dropped += [name for name in tensors if name.startswith(CLASSIFIERS)]
    tensors = {name: value for name, value in tensors.items() if not name.startswith(CLASSIFIERS)}
    words = "as it is"
    if stem in tensors and tensors[stem].ndim == 4 and (tensors[stem].shape[1], own[stem].shape[1]) == (3, 1):
        tensors[stem], words = tensors[stem].sum(dim=1, keepdim=True), "three channels summed"
    for name in own:
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.zeros_like(own[name]))
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    unknown = [name for name in tensors if name not in own]
    if wrong or unknown:
        raise InputError(
            f"pretrained encoder does not fit: {len(wrong)} tensors missing or of another shape {wrong[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}; expected {expected}"
        )
    return tensors, Match(len(tensors), tuple(dropped), words)


def _rename(content: Mapping[str, Any], stem: str) -> tuple[dict[str, Tensor], list[str]]:
    """Returns the tensors under the stem's prefix, with torchvision's names, and the names outside it."""
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    prefixes = sorted((name.removesuffix(stem) for name in tensors if name.endswith(stem)), key=len)
    # a Sequential has no name for its first layer but 0
    rows = sorted(
        (n.removesuffix("4.0.conv1.weight") for n in tensors if n.endswith("4.0.conv1.weight")), key=len
    )
    sequential = bool(rows) and f"{rows[0]}0.weight" in tensors
    prefix = rows[0] if sequential else (prefixes[0] if prefixes else "")
    inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if sequential:
        parts = {name: name.split(".", 1) for name in inside}
        inside = {
            ".".join([SEQUENTIAL.get(parts[name][0], parts[name][0]), *parts[name][1:]]): value
            for name, value in inside.items()
        }
    return inside, [name for name in tensors if not name.startswith(prefix)]
