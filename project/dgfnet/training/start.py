"""The network before its first epoch, and after its last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dgfnet.dataset.pairs import Nodules
from dgfnet.files import write_json
from dgfnet.network.pretrained import Match
from dgfnet.network.tlr import Head, Model, TransferNet
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.preprocess.archive import Archive, centre
from dgfnet.training.annealing import PLAIN, anneal, features
from dgfnet.training.checkpoint import load_weights_file, read_checkpoint
from dgfnet.training.hardware import Hardware
from dgfnet.training.partition import grouped_split
from dgfnet.training.record import record_terms
from dgfnet.training.task import Places, Task, finished


def initial_model(
    task: Task, places: Places, archive: Archive, training: Nodules, hardware: Hardware
) -> tuple[Model, dict[str, Any]]:
    """Builds the network before its first epoch; returns it and the record of its origin.

    Its streams are those of the parents, or new ones with this fold's statistics and, if given, pretrained
    encoders; that of the record is new. The head of `us_tlr` comes from simulated annealing.
    """
    torch.manual_seed(task.seed)
    content = None if task.pretrained is None else read_checkpoint(Path(task.pretrained))
    if task.variant == "us_tlr":
        return _transfer(task, places, archive, training, hardware, content)
    terms = record_terms(task, pd.read_parquet(places.nodules), training) if task.record else ()
    model = DGFNet(task.variant, task.resnet, task.network, task.measured is not None, len(terms))
    model = model.to(memory_format=torch.channels_last)
    origin: dict[str, Any] = {}
    if model.record is not None:
        model.record.set_normalisation(terms)
        origin["record"] = [asdict(term) for term in terms]
    for modality in model.modalities:
        stream = model.stream(modality)
        if modality in task.parents:
            weights = load_weights_file(places.fit(task.parents[modality]) / "weights.safetensors")
            prefix = f"streams.{modality}."
            stream.load_state_dict(
                {
                    key.removeprefix(prefix): value
                    for key, value in weights.items()
                    if key.startswith(prefix) and not key.startswith(f"{prefix}reader.")
                }
            )
            origin |= _inherited(places, task.parents[modality])
            continue
        rows = np.unique(np.concatenate(list(training.rows[modality])))
        grey = centre(archive.planes(modality)[rows, 0], archive.size[modality]) / np.float32(255)
        stream.set_normalisation(float(grey.mean()), float(grey.std()))
        if content is not None:
            origin["pretrained"] = _report(task, stream.encoder.load_pretrained(content))
    return model.to(hardware.device), origin


def _transfer(
    task: Task,
    places: Places,
    archive: Archive,
    training: Nodules,
    hardware: Hardware,
    content: Mapping[str, Any] | None,
) -> tuple[Model, dict[str, Any]]:
    """Builds `us_tlr` with its annealed head; a resumed fit reads the head it had."""

    def build(head: Head) -> tuple[TransferNet, dict[str, Any]]:
        torch.manual_seed(task.seed)
        model = TransferNet(head, task.network.tlr).to(memory_format=torch.channels_last)
        report = {} if content is None else {"pretrained": _report(task, model.load_pretrained(content))}
        return model.to(hardware.device), report

    path = places.fit(task.key) / "head.json"
    stored = _annealed(path)
    if stored is None:
        model, _ = build(PLAIN)
        values = features(model, archive, training, hardware)
        inner, score = grouped_split(training, 4, task.seed)
        head, tried = anneal(values, training.labels, inner, score, task.network.tlr.annealing, task.seed)
        stored = {"head": asdict(head), "tried": tried}
        write_json(path, stored)
    model, report = build(Head(**stored["head"]))
    return model, {**report, "head": stored["head"]}


def _annealed(path: Path) -> dict[str, Any] | None:
    """Reads the head that annealing found; None when it was not searched, or cannot be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"head": asdict(Head(**stored["head"])), "tried": stored["tried"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _report(task: Task, match: Match) -> dict[str, Any]:
    """Returns the record of the checkpoint that an encoder started from."""
    return {"sha256": task.pretrained_sha256, **match.describe()}


def _inherited(places: Places, parent: str) -> dict[str, Any]:
    record = finished(places, parent) or {}
    return {"pretrained": record["pretrained"]} if "pretrained" in record else {}


def restore(task: Task, places: Places) -> Model:
    """Restores the trained network of a finished fit, on the CPU, in evaluation mode."""
    model: Model
    weights = load_weights_file(places.fit(task.key) / "weights.safetensors")
    if task.variant == "us_tlr":
        record = finished(places, task.key) or {}
        model = TransferNet(Head(**record["head"]), task.network.tlr)
    else:
        terms = len(weights["record.centre"]) if task.record else 0
        model = DGFNet(task.variant, task.resnet, task.network, task.measured is not None, terms)
    load_weights(model, weights)
    return model.eval()
