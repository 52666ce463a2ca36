"""Memory of a GPU: checked before a fit, and told in a sentence when it runs out all the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dgfnet.dataset.pairs import Nodules, evaluation_batches, pairs_of
from dgfnet.errors import InputError
from dgfnet.network.tlr import Model
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware
from dgfnet.training.task import Task

GIB = 2**30
PROBE = 2  # nodules; batch normalisation in training needs two


def check_memory(model: Model, task: Task, archive: Archive, training: Nodules, hardware: Hardware) -> int:
    """Returns the bytes that a fit takes at the least, before it is trained; on a CPU 0, unasked.

    What the backward pass keeps is counted on a few nodules, in the precision of the fit, and grows with the
    batch. To it come weights, gradients and Adam's two moments. The libraries' workspace comes on top.

    Raises:
        InputError: when it is more than this trial may take.
    """
    if not hardware.on_gpu:
        return 0
    kept = kept_for_backward(model, archive, training, hardware)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    needed = 4 * weights + kept * task.training.batch // PROBE
    if needed > hardware.room:
        raise InputError(
            f"{task.name}: a batch of {task.training.batch} takes at least {needed / GIB:.1f} GiB of the "
            f"GPU's memory, and this trial may take {hardware.room / GIB:.1f} GiB; lower training.batch, "
            "raise sweep.gpus_per_trial, or end what else holds the memory"
        )
    return needed


def kept_for_backward(model: Model, archive: Archive, nodules: Nodules, hardware: Hardware) -> int:
    """Counts the bytes that a training step of `PROBE` nodules keeps for its backward pass."""
    kept: dict[int, Tensor] = {}  # by address; held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    probe = nodules.take(torch.arange(min(PROBE, len(nodules))).numpy())
    pairs = pairs_of(probe, model.modalities, "largest")
    (batch,) = evaluation_batches(archive, probe, pairs, PROBE, model.rectangle)
    batch = batch.to(hardware.device)
    devices = [hardware.device] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        own = copy.deepcopy(model).train()  # statistics of batch normalisation change
        with hardware.autocast():
            own(batch.inputs, batch.patients, segment=True)
    weights = {parameter.untyped_storage().data_ptr() for parameter in own.parameters()}
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@contextmanager
def memory_said(hardware: Hardware, batch: int) -> Iterator[None]:
    """Turns the error of a GPU whose memory runs out in a block into a sentence.

    Raises:
        InputError: that says what to lower.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        peak = torch.cuda.max_memory_allocated() / GIB
        raise InputError(
            f"the GPU's memory is used up: this trial may take {hardware.room / GIB:.1f} GiB and had taken "
            f"{peak:.1f}; lower training.batch (now {batch}) or raise sweep.gpus_per_trial"
        ) from None
