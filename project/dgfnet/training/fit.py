"""One fit, from its last checkpoint to its end.

A fit's folder holds checkpoint.pt while it runs; weights.safetensors, predictions.csv, fit.json and, written
last, their digests when it is done.
"""

from __future__ import annotations

import fcntl
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dgfnet import digests
from dgfnet.adam import Adam
from dgfnet.dataset.batch import Batch
from dgfnet.dataset.features import feature_targets
from dgfnet.dataset.on_device import device_batches, open_crops
from dgfnet.dataset.pairs import Features, Nodules, training_batches
from dgfnet.dataset.sampling import everyone, undersample
from dgfnet.files import replacing, write_json
from dgfnet.metrics.discrimination import scores
from dgfnet.network.tlr import Model
from dgfnet.network.variants import load_weights
from dgfnet.preprocess.archive import Archive
from dgfnet.sections.networks import Augment
from dgfnet.training.checkpoint import (
    Checkpoint,
    carried_over,
    load_checkpoint,
    save_checkpoint,
    save_moments,
    save_weights,
)
from dgfnet.training.hardware import Hardware, choose
from dgfnet.training.inference import build_bank, corrected, examine_attention, predict
from dgfnet.training.loop import SPEED, Record, Schedule, TrainingDiverged, train
from dgfnet.training.memory import check_memory, memory_said
from dgfnet.training.partition import split
from dgfnet.training.start import initial_model
from dgfnet.training.task import (
    CHECKPOINT,
    DAMAGED,
    FAILURE,
    LOCK,
    MOMENTS,
    UNIFORM,
    Places,
    Task,
    finished,
)


def fit(
    task: Task,
    places: Places,
    checkpoint_every: int,
    on_epoch: Callable[[int, Record], None],
    workers: int = 1,
    gpu_share: float = 1.0,
) -> dict[str, Any]:
    """Trains one task to its end, from its last checkpoint if there is one; returns the record in fit.json.

    Args:
        task: the fit to train.
        places: paths of its inputs and results.
        checkpoint_every: epochs between checkpoints.
        on_epoch: called with the number of epochs done and the last record.
        workers: threads that prepare batches for a GPU. On a CPU they would take the time of the network, and
            batches are made in its own thread.
        gpu_share: of the GPU's memory that this process may take.

    Raises:
        TrainingDiverged: when the loss is not finite.
        InputError: when the GPU's memory is too small, or others hold it.
    """
    # a sum of floats depends on how many threads share it
    torch.set_num_threads(task.training.threads)
    if (done := finished(places, task.key)) is not None:  # perhaps among the outputs, where no lock belongs
        return done
    folder = places.fit(task.key)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        done = finished(places, task.key)
        if done is not None:
            return done
        hardware = choose(task.training.precision, gpu_share)
        archive = Archive.open(places.archive)
        training, held_out = split(task, places, archive)
        features = _features(task, places, training)
        model, origin = initial_model(task, places, archive, training, hardware)
        checkpoint = load_checkpoint(folder / CHECKPOINT, hardware.device)
        if checkpoint is None and task.before:
            checkpoint = _goes_on(task, places, model, hardware)
        chosen = checkpoint.chosen if checkpoint else None

        def after_epoch(state: Checkpoint) -> None:
            nonlocal chosen
            record = state.history[-1]
            due = state.epoch % task.validate_every == 0 or state.epoch == task.epochs
            if task.phase == "classification" and (due or task.choose):
                record.update(_validate(task, model, archive, training, held_out, hardware))
            if task.choose and best_epoch(state.history, task.choose) == state.epoch:
                chosen = {name: value.clone() for name, value in model.state_dict().items()}
            if state.epoch % checkpoint_every == 0 and state.epoch < task.epochs:
                save_checkpoint(folder / CHECKPOINT, replace(state, chosen=chosen))
            if task.after and state.epoch == task.epochs:
                save_moments(folder / MOMENTS, model, state.optimiser)
            on_epoch(state.epoch, record)

        taken = check_memory(model, task, archive, training, hardware)
        feed = _feed(model, archive, task.training.augment, hardware, workers, hardware.room - taken)
        schedule = _schedule(task, training, model, feed, features)
        with memory_said(hardware, task.training.batch):
            history = train(model, schedule, task.training, hardware, checkpoint, after_epoch)
        told = [{k: v for k, v in epoch.items() if k != SPEED} for epoch in history]  # the same each time
        record = {"key": task.key, "name": task.name, "history": told, **origin}
        if task.choose and chosen is not None:
            load_weights(model, chosen)
            record["chosen_epoch"] = best_epoch(history, task.choose)
        return _finish(task, folder, record, model, archive, training, held_out, hardware, features)


def best_epoch(history: Sequence[Record], criterion: str) -> int:
    """Returns the number of the epoch, from 1, that validated best; of equals the first.

    A score that is undefined, as the AUC of one class, counts as the worst.
    """
    values = [record.get(f"val_{criterion}", -math.inf) for record in history]
    return 1 + values.index(max(values))


def _goes_on(task: Task, places: Places, model: Model, hardware: Hardware) -> Checkpoint:
    """Returns the start of a fit in the middle of a schedule: with the optimiser of the fit before it."""
    fresh = Adam(model.optimised(task.training), fused=True).state_dict()
    (parent,) = task.parents.values()
    optimiser = carried_over(places.fit(parent) / MOMENTS, model, fresh)
    return Checkpoint(0, model.state_dict(), optimiser, hardware.scaler().state_dict(), [])


def _features(task: Task, places: Places, training: Nodules) -> Features | None:
    """Reads what was measured, as targets, where the encoder of this task is to tell it."""
    if task.measured is None:
        return None
    rows = {modality: np.concatenate(list(own)) for modality, own in training.rows.items()}
    return feature_targets(pd.read_parquet(places.measured), rows)


def _feed(
    model: Model, archive: Archive, augment: Augment, hardware: Hardware, workers: int, room: int
) -> Callable[..., Iterator[Batch]]:
    """Returns what makes the batches of an epoch: on a GPU, but for `us_tlr`, augmented on it."""
    if not hardware.on_gpu:
        return partial(training_batches, archive, rectangle=model.rectangle)
    if model.rectangle is not None:
        return partial(training_batches, archive, rectangle=model.rectangle, workers=workers, pin=True)
    pictures = open_crops(archive, model.modalities, augment, hardware.device, room)
    return partial(device_batches, pictures, workers=workers)


def _schedule(
    task: Task,
    training: Nodules,
    model: Model,
    feed: Callable[..., Iterator[Batch]],
    features: Features | None = None,
) -> Schedule:
    classify = task.phase == "classification"
    labels = training.labels if classify else np.zeros(len(training), np.float32)
    draw = undersample if classify and task.training.sampling == "train_only" else everyone
    settings = task.training

    def epoch(number: int) -> Iterator[Batch]:
        rng = np.random.default_rng([task.seed, number])
        order = draw(labels, rng)
        return feed(
            nodules=training,
            order=order,
            modalities=model.modalities,
            size=settings.batch,
            augment=settings.augment,
            rng=rng,
            features=features,
        )

    length = len(draw(labels, np.random.default_rng(0)))
    steps = task.epochs * -(-length // settings.batch)
    return Schedule(
        task.epochs, task.seed, epoch, steps, classify, task.measured_weight, task.before, task.after
    )


def _validate(
    task: Task, model: Model, archive: Archive, training: Nodules, held_out: Nodules, hardware: Hardware
) -> dict[str, float]:
    build_bank(model, archive, training, hardware)
    predictions = predict(model, archive, held_out, hardware, task.network.images, segment=True)
    measured = scores(held_out.labels, predictions.probability, 0.5)
    chosen = {f"val_{name}": measured[name] for name in ("auc", "accuracy") if np.isfinite(measured[name])}
    return {**chosen, **{f"val_dice_{name}": value for name, value in predictions.dice.items()}}


def _finish(
    task: Task,
    folder: Path,
    record: dict[str, Any],
    model: Model,
    archive: Archive,
    training: Nodules,
    held_out: Nodules,
    hardware: Hardware,
    features: Features | None,
) -> dict[str, Any]:
    build_bank(model, archive, training, hardware)
    images = task.network.images
    predictions = predict(model, archive, held_out, hardware, images, segment=True, features=features)
    if not np.isfinite(predictions.probability).all():
        raise TrainingDiverged("the trained network gives NaN; lower training.learning_rate")
    record |= {"dice": predictions.dice, "iou": predictions.iou, "measured_r2": predictions.measured_r2}
    if task.phase == "classification":
        sampling, prevalence = task.training.sampling, float(training.labels.mean())
        probability, threshold = corrected(predictions.probability, sampling, prevalence)
        record |= {"threshold": threshold, "training_prevalence": prevalence}
        record["scores"] = scores(held_out.labels, probability, threshold)
        table = pd.DataFrame({"nodule_id": held_out.ids, "label": held_out.labels.astype(int)})
        table["probability"] = probability
        attention = examine_attention(model, archive, held_out, hardware, images)
        if attention is not None:
            table[UNIFORM] = corrected(attention.uniform, sampling, prevalence)[0]
            record["attention_entropy"] = attention.entropy
        with replacing(folder / "predictions.csv") as temporary:
            table.to_csv(temporary, index=False)
    save_weights(folder / "weights.safetensors", model.state_dict())
    write_json(folder / "fit.json", record)
    digests.keep(folder, passing=(CHECKPOINT, DAMAGED, FAILURE, LOCK))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Waits until no other process works on this fit; the lock goes with its process, however it ends."""
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
