"""ONE FIT: a task says all that it depends on; its key names the folder of its result.

A fit's folder `<work>/fits/<key>/` holds checkpoint.pt while it runs; weights.safetensors, predictions.csv
and, written last, fit.json when it is done. Since the key covers data, folds, settings, code and parents, a
fit that is done never has to be repeated, and a changed setting repeats only the fits it touches.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from dgfnet.dataset.augment import Augmenter
from dgfnet.dataset.batch import Batch
from dgfnet.dataset.pairs import Nodules, centre, patient_key, training_batches
from dgfnet.dataset.sampling import everyone, undersample
from dgfnet.metrics.calibration import shift_prevalence
from dgfnet.metrics.discrimination import scores
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.preprocess.archive import Archive
from dgfnet.provenance import replacing, write_json
from dgfnet.settings import EncoderName, Modality, Network, Site, Training, Variant, fingerprint
from dgfnet.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights_file,
    save_checkpoint,
    save_weights,
)
from dgfnet.training.hardware import Hardware, choose
from dgfnet.training.inference import build_bank, predict
from dgfnet.training.loop import Record, Schedule, TrainingDiverged, train

Phase = Literal["segmentation", "classification"]
CODE = ("metrics", "dataset", "network", "training", "preprocess/archive.py")  # what a result depends on


@cache
def code_digest() -> str:
    """sha256 over the source of the rooms that decide what a fit computes."""
    package = Path(__file__).parent.parent
    total = sha256()
    for part in CODE:
        files = [package / part] if part.endswith(".py") else sorted((package / part).glob("**/*.py"))
        for file in files:
            total.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Task:
    """Everything one fit depends on, and nothing else.

    Attributes:
        phase: segmentation only, or with classification added.
        site: None in the segmentation phase, which knows no label.
        fold: the held-out fold.
        parents: per modality the key of the fit whose stream this one starts from; empty to start from
            scratch.
        pretrained: path of an encoder checkpoint to start from, if any (segmentation phase only).
        pretrained_sha256: its content.
        archive: digest of the images.
        folds: digest of patients, labels and folds.
        validate_every: epochs between looks at the held-out fold; they change no weight.
        code: digest of the code, taken once by the driver: an edit during a sweep does not change its keys.
    """

    phase: Phase
    variant: Variant
    encoder: EncoderName
    site: Site | None
    fold: int
    epochs: int
    seed: int
    parents: Mapping[Modality, str]
    network: Network
    training: Training
    pretrained: str | None
    pretrained_sha256: str | None
    archive: str
    folds: str
    validate_every: int
    code: str = field(default_factory=code_digest)

    @property
    def key(self) -> str:
        """Name of the fit: equal tasks under equal code have equal keys."""
        apart = ("network", "training", "pretrained", "validate_every")  # a path and a look change no weight
        facts = {name: value for name, value in vars(self).items() if name not in apart}
        return fingerprint(facts, self.network, self.training)[:20]

    @property
    def name(self) -> str:
        """For people: site/variant/fold."""
        return "/".join([self.site or self.phase, self.variant, f"fold{self.fold}"])


@dataclass(frozen=True)
class Places:
    """Absolute paths a worker needs; a Ray trial has a working directory of its own."""

    archive: Path
    nodules: Path
    folds: Path
    work: Path

    def fit(self, key: str) -> Path:
        """Folder of a fit."""
        return self.work / "fits" / key


def finished(places: Places, key: str) -> dict[str, Any] | None:
    """The record of a fit that is done, else None."""
    path = places.fit(key) / "fit.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def fit(
    task: Task, places: Places, checkpoint_every: int, on_epoch: Callable[[int, Record], None]
) -> dict[str, Any]:
    """Trains one task to its end, from its last checkpoint if there is one; returns the record in fit.json.

    Args:
        task: what to train.
        places: where its inputs and results lie.
        checkpoint_every: epochs between checkpoints.
        on_epoch: called with the number of epochs done and the last record.

    Raises:
        TrainingDiverged: when the loss is not finite.
    """
    folder = places.fit(task.key)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        done = finished(places, task.key)
        if done is not None:
            return done
        hardware = choose(task.training.precision)
        archive = Archive.open(places.archive)
        training, held_out = split(task, places, archive)
        model = initial_model(task, places, archive, training).to(hardware.device)

        def after_epoch(state: Checkpoint) -> None:
            record = state.history[-1]
            if task.phase == "classification" and state.epoch % task.validate_every == 0:
                record.update(_validate(model, archive, training, held_out, hardware))
            if state.epoch % checkpoint_every == 0 and state.epoch < task.epochs:
                save_checkpoint(folder / "checkpoint.pt", state)
            on_epoch(state.epoch, record)

        schedule = Schedule(
            task.epochs,
            task.seed,
            _batches(task, archive, training, model.modalities),
            task.phase == "classification",
        )
        checkpoint = load_checkpoint(folder / "checkpoint.pt", hardware.device)
        history = train(model, schedule, task.training, hardware, checkpoint, after_epoch)
        return _finish(task, folder, model, archive, training, held_out, hardware, history)


def split(task: Task, places: Places, archive: Archive) -> tuple[Nodules, Nodules]:
    """Training and held-out nodules of a task; classification needs a known label at the site."""
    table = pd.read_parquet(places.nodules)
    folds = pd.read_csv(places.folds, dtype={"nodule_id": str}).set_index("nodule_id")["fold"]
    main = table[table["cohort"] == "main"]
    if task.site is not None:
        main = main[main[f"lnm_{task.site}"].notna()]
        if task.training.sampling == "paper":
            labels = main[f"lnm_{task.site}"].to_numpy(np.float32)
            rng = np.random.default_rng(
                int(fingerprint(task.folds, task.site)[:8], 16)
            )  # one subset for all variants
            main = main.iloc[np.sort(undersample(labels, rng))]
    nodules = select(main, archive, task.site)
    fold = folds.loc[list(nodules.ids)].to_numpy()
    return nodules.take(np.flatnonzero(fold != task.fold)), nodules.take(np.flatnonzero(fold == task.fold))


def select(table: pd.DataFrame, archive: Archive, site: Site | None) -> Nodules:
    """The nodules of a table of nodules, with their rows in the archive and the labels of a site."""
    rows: dict[Modality, list[Any]] = {}
    largest: dict[Modality, Any] = {}
    for modality in ("us", "ct"):
        grouped = archive.rows(modality).groupby("nodule_id")["row"].apply(lambda r: r.to_numpy(np.int64))
        best = archive.largest(modality)
        rows[modality] = [grouped[nodule] for nodule in table["nodule_id"]]
        largest[modality] = np.array([best[nodule] for nodule in table["nodule_id"]], dtype=np.int64)
    labels = np.full(len(table), np.nan) if site is None else table[f"lnm_{site}"]
    keys = [patient_key(c, p) for c, p in zip(table["cohort"], table["patient_id"], strict=True)]
    return Nodules(
        tuple(table["nodule_id"]),
        np.array(keys, dtype=np.int64),
        np.asarray(labels, dtype=np.float32),
        rows,
        largest,
    )


def initial_model(task: Task, places: Places, archive: Archive, training: Nodules) -> DGFNet:
    """The network before its first epoch: streams of the parents, or new ones with this fold's statistics."""
    torch.manual_seed(task.seed)
    model = DGFNet(task.variant, task.encoder, task.network).to(memory_format=torch.channels_last)
    for modality in model.modalities:
        stream = model.stream(modality)
        if modality in task.parents:
            weights = load_weights_file(places.fit(task.parents[modality]) / "weights.safetensors")
            prefix = f"streams.{modality}."
            stream.load_state_dict(
                {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            )
        else:
            rows = np.unique(np.concatenate(list(training.rows[modality])))
            grey = centre(archive.planes(modality)[rows, 0], archive.size[modality]) / np.float32(255)
            stream.set_normalisation(float(grey.mean()), float(grey.std()))
            if task.pretrained is not None:
                stream.encoder.load_pretrained(
                    torch.load(task.pretrained, map_location="cpu", weights_only=True)
                )
    return model


def restore(task: Task, places: Places) -> DGFNet:
    """The trained network of a fit that is done, on the CPU, in evaluation mode."""
    model = DGFNet(task.variant, task.encoder, task.network)
    load_weights(model, load_weights_file(places.fit(task.key) / "weights.safetensors"))
    return model.eval()


def _batches(
    task: Task, archive: Archive, training: Nodules, modalities: tuple[Modality, ...]
) -> Callable[[int], Iterator[Batch]]:
    augmenters = {m: Augmenter(task.training.augment, archive.size[m]) for m in modalities}
    labels = training.labels if task.phase == "classification" else np.zeros(len(training), np.float32)
    balance = task.phase == "classification" and task.training.sampling == "train_only"

    def epoch(number: int) -> Iterator[Batch]:
        rng = np.random.default_rng([task.seed, number])
        order = (undersample if balance else everyone)(labels, rng)
        return training_batches(archive, training, order, modalities, task.training.batch, augmenters, rng)

    return epoch


def _probability(raw: Any, task: Task, training: Nodules) -> tuple[Any, float]:
    """Probabilities corrected for undersampling, and the threshold that is 0.5 before the correction."""
    prevalence = float(training.labels.mean())
    if task.training.sampling != "train_only":
        return raw, 0.5
    return shift_prevalence(raw, 0.5, prevalence), prevalence


def _validate(
    model: DGFNet, archive: Archive, training: Nodules, held_out: Nodules, hardware: Hardware
) -> dict[str, float]:
    build_bank(model, archive, training, hardware)
    found = predict(model, archive, held_out, hardware, segment=True)
    measured = scores(held_out.labels, found.probability, 0.5)
    chosen = {f"val_{name}": measured[name] for name in ("auc", "accuracy") if np.isfinite(measured[name])}
    return {**chosen, **{f"val_dice_{name}": value for name, value in found.dice.items()}}


def _finish(
    task: Task,
    folder: Path,
    model: DGFNet,
    archive: Archive,
    training: Nodules,
    held_out: Nodules,
    hardware: Hardware,
    history: list[Record],
) -> dict[str, Any]:
    record: dict[str, Any] = {"key": task.key, "name": task.name, "history": history}
    build_bank(model, archive, training, hardware)
    found = predict(model, archive, held_out, hardware, segment=True)
    if not np.isfinite(found.probability).all():
        raise TrainingDiverged("the trained network gives NaN; lower training.learning_rate")
    record["dice"] = found.dice
    if task.phase == "classification":
        probability, threshold = _probability(found.probability, task, training)
        record["threshold"] = threshold
        record["training_prevalence"] = float(training.labels.mean())
        record["scores"] = scores(held_out.labels, probability, threshold)
        table = pd.DataFrame({"nodule_id": held_out.ids, "label": held_out.labels.astype(int)})
        table["probability"] = probability
        with replacing(folder / "predictions.csv") as temporary:
            table.to_csv(temporary, index=False)
    save_weights(folder / "weights.safetensors", model.state_dict())
    write_json(folder / "fit.json", record)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return record


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process works on this fit; the lock goes with its process, however it ends."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
