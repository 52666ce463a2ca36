"""Weights on disk: tensors and JSON, never a pickled object."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.network.tlr import Model
from dgfnet.training.task import DAMAGED


@dataclass(frozen=True)
class Checkpoint:
    """A fit between two epochs.

    Attributes:
        epoch: epochs done.
        model: state dict of the network.
        optimiser: state dict of the optimiser.
        scaler: state dict of the loss scaling.
        history: one record per epoch done.
        chosen: state dict of the network after the best epoch, where a fit chooses one.
    """

    epoch: int
    model: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    history: list[dict[str, float]]
    chosen: dict[str, Any] | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically."""
    with replacing(path) as temporary:
        torch.save(vars(checkpoint), temporary)


def load_checkpoint(path: Path, device: torch.device) -> Checkpoint | None:
    """Reads a checkpoint as data only (`weights_only`); None when there is none.

    One that cannot be read is renamed to DAMAGED, and counts as none: the fit starts again.
    """
    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location=device, weights_only=True))
    except OSError:  # the disk, not the content
        raise
    except Exception:  # pickle, zip and torch have their own kinds
        path.rename(path.with_name(DAMAGED))
        return None


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes a state dict as safetensors, atomically."""
    with replacing(path) as temporary:
        save_file({key: value.detach().cpu().contiguous() for key, value in weights.items()}, temporary)


def save_moments(path: Path, model: Model, optimiser: Mapping[str, Any]) -> None:
    """Writes Adam's state of each parameter under its name, `<parameter>:<quantity>`, atomically.

    Args:
        path: of the file.
        model: whose parameters the optimiser has, in order, in one group.
        optimiser: its state dict.
    """
    names = [name for name, _ in model.named_parameters()]
    state = {
        f"{names[index]}:{quantity}": value
        for index, values in optimiser["state"].items()
        for quantity, value in values.items()
    }
    save_weights(path, state)


def carried_over(path: Path, model: Model, optimiser: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state dict of a fresh optimiser with the moments of the parameters that the file has.

    Args:
        path: of `save_moments`.
        model: whose parameters the optimiser has, in order, in one group.
        optimiser: its state dict.

    Raises:
        InputError: when the file is missing or damaged.
    """
    saved = load_weights_file(path)
    state: dict[int, dict[str, Tensor]] = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        if f"{name}:step" in saved:
            # a fused step walks through memory: moments lie there in the order of their parameter
            averages = {
                quantity: torch.empty_like(parameter, requires_grad=False).copy_(saved[f"{name}:{quantity}"])
                for quantity in ("exp_avg", "exp_avg_sq")
            }
            state[number] = {"step": saved[f"{name}:step"], **averages}
    return {**optimiser, "state": state}


def load_weights_file(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from safetensors.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        return load_file(path)
    except Exception as error:  # safetensors has its own kinds
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads somebody's checkpoint as data only: safetensors, or a file of torch with `weights_only`.

    Raises:
        InputError: when it cannot be read that way.
    """
    if path.suffix == ".safetensors":
        return dict(load_weights_file(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have their own kinds
        # torch's own text tells how to load such a file all the same, which runs what is in it
        holds = isinstance(error, pickle.UnpicklingError)
        why = "it holds other things than tensors" if holds else "damaged, or no file of torch"
        raise InputError(
            f"{path}: cannot be read as weights only ({why}); expected a state dict, save it with "
            "torch.save(model.state_dict(), path)"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a state dict, found {type(content).__name__}")
    return content
