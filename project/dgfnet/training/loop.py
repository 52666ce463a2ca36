"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from dgfnet.adam import Adam
from dgfnet.dataset.batch import Batch
from dgfnet.network.tlr import Model
from dgfnet.network.variants import load_weights
from dgfnet.sections.networks import Training
from dgfnet.training.checkpoint import Checkpoint
from dgfnet.training.hardware import Hardware
from dgfnet.training.losses import losses

Record = dict[str, float]
SPEED = "pairs_per_second"  # of a record; a clock's, so it stands in MLflow and in no result


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite; the message says in which epoch and which term."""


@dataclass(frozen=True)
class Schedule:
    """Epochs, and the batches of one of them.

    Attributes:
        epochs: number to train.
        seed: every epoch's random streams follow from it and the epoch's number, so a resumed fit repeats
            them.
        batches: makes the batches of an epoch.
        steps: number of batches of all epochs.
        classify: the label's loss is added to the masks'.
        measured_weight: of the loss of the measured features, where the model tells them.
        before: epochs of the same cosine that another fit has done.
        after: epochs of the same cosine that another fit will do.
    """

    epochs: int
    seed: int
    batches: Callable[[int], Iterator[Batch]]
    steps: int
    classify: bool
    measured_weight: float = 0.0
    before: int = 0
    after: int = 0

    def rate(self, full: float, epoch: int) -> float:
        """Returns the learning rate of an epoch, from that at the start of the schedule."""
        return cosine(full, self.before + epoch, self.before + self.epochs + self.after)


def train(
    model: Model,
    schedule: Schedule,
    settings: Training,
    hardware: Hardware,
    checkpoint: Checkpoint | None,
    on_epoch: Callable[[Checkpoint], None],
) -> list[Record]:
    """Trains a model in place, from a checkpoint if there is one, and returns one record per epoch.

    Args:
        model: on the device of `hardware`.
        schedule: epochs and batches.
        settings: optimisation.
        hardware: device and precision.
        checkpoint: state to continue from, or None.
        on_epoch: called after every epoch with the state to save or report; it may add to the last record.

    Raises:
        TrainingDiverged: at the end of an epoch whose loss is not finite.
    """
    optimiser = Adam(model.optimised(settings), fused=True)
    full = [group["lr"] for group in optimiser.param_groups]
    forward = hardware.compiled(model, settings.compile, schedule.steps)
    scaler = hardware.scaler()
    history: list[Record] = []
    if checkpoint is not None:
        load_weights(model, checkpoint.model)
        optimiser.load_state_dict(checkpoint.optimiser)
        scaler.load_state_dict(checkpoint.scaler)
        history = list(checkpoint.history)
    for epoch in range(len(history), schedule.epochs):
        started, pairs = time.perf_counter(), 0
        torch.manual_seed(schedule.seed + epoch)  # dropout
        for group, rate in zip(optimiser.param_groups, full, strict=True):
            group["lr"] = schedule.rate(rate, epoch)
        model.train()
        sums: dict[str, torch.Tensor] = {}
        for batch in schedule.batches(epoch):
            batch = batch.to(hardware.device)
            with hardware.autocast():
                output = forward(batch.inputs, batch.patients, segment=True)
            weights = settings.segmentation_weight, schedule.measured_weight
            terms = losses(output, batch, *weights, schedule.classify)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(torch.stack(list(terms.values())).sum()).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimiser)
            scaler.update()
            for name, term in terms.items():  # stays on the device: no waiting inside the epoch
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() * len(batch.label)
            pairs += len(batch.label)
        rate = optimiser.param_groups[0]["lr"]
        record = {f"loss_{name}": float(total) / pairs for name, total in sums.items()}
        for name, value in record.items():
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"{name} is {value} in epoch {epoch}; lower training.learning_rate ({rate:g})"
                )
        seconds = time.perf_counter() - started
        history.append({**record, "learning_rate": rate, SPEED: pairs / seconds})
        on_epoch(
            Checkpoint(epoch + 1, model.state_dict(), optimiser.state_dict(), scaler.state_dict(), history)
        )
    return history


def cosine(rate: float, epoch: int, epochs: int) -> float:
    """Computes the cosine schedule: the full rate in the first epoch, towards 0 after the last."""
    return rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
