"""Writes bundles: the registered model of fits that are done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

from dgfnet.bundle.crops import Crops
from dgfnet.bundle.export import export
from dgfnet.bundle.layout import CARD, FACTS, GRAPH, REFERENCE, SUMS, WEIGHTS, fold_graph, own_files
from dgfnet.bundle.network import embeddings_of, log_odds_of
from dgfnet.bundle.ranges import distances, seen, unit
from dgfnet.errors import InputError
from dgfnet.files import replacing, sha256, write_json
from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.network.variants import DGFNet
from dgfnet.settings import Preprocess
from dgfnet.training.checkpoint import save_weights
from dgfnet.training.start import restore
from dgfnet.training.task import Places, Task, finished
from dgfnet.vocabulary import Modality

FAR = 0.99  # of the held-out nodules lie closer to the training nodules


@dataclass(frozen=True)
class Member:
    """The trained network of one fold.

    Attributes:
        model: in evaluation mode, with its reference bank.
        fold: the one it was not trained on.
        shift: what its log odds need, for it was trained on as many nodules of either class.
        facts: what bundle.json says of it: `fit`, `threshold` and more.
    """

    model: DGFNet
    fold: int
    shift: float
    facts: Mapping[str, Any]


def members(tasks: Sequence[Task], where: Places) -> list[Member]:
    """The networks of fits.

    Raises:
        InputError: when one is not done, or is of a kind that cannot be registered.
    """
    return [_member(task, where) for task in tasks]


def _member(task: Task, where: Places) -> Member:
    record = finished(where, task.key)
    if record is None:
        raise InputError(f"{task.name}: this fit is not done; run the stage crossval")
    model = restore(task, where)
    if not isinstance(model, DGFNet):
        raise InputError(f"{task.variant} cannot be registered; choose another register.variant")
    prevalence = record["training_prevalence"]
    shift = float(logit(prevalence)) if task.training.sampling == "train_only" else 0.0
    facts = {
        "site": task.site,
        "variant": task.variant,
        "encoder": task.encoder,
        "fit": task.key,
        "threshold": record["threshold"],
        "sampling": task.training.sampling,
        "training_prevalence": prevalence,
        "network": task.network.model_dump(mode="json"),
    }
    return Member(model, task.fold, shift, facts)


def write_bundle(
    folder: Path,
    networks: Sequence[Member],
    alone: Mapping[Modality, Sequence[Member]],
    table: pd.DataFrame,
    crops: Crops,
    preprocess: Preprocess,
    card: str,
) -> None:
    """Writes the bundle of the first network.

    Args:
        folder: of the bundle.
        networks: the network, and those of the same variant in every other fold.
        alone: the same of the variants of one modality that a fusion was built from.
        table: `fold` and `label` of the nodules that were cross-validated.
        crops: of these nodules, row for row.
        preprocess: settings that made the crops.
        card: what is known of the fusion's cross-validation and origin, for the model card.
    """
    first, *others = networks
    needed: Crops = {name: crops[name] for name in first.model.modalities}
    inside = (table["fold"] != first.fold).to_numpy()
    trained = {name: images[inside] for name, images in needed.items()}
    held = {name: images[~inside] for name, images in needed.items()}
    sides = tuple(preprocess.size(name) for name in needed)
    save_weights(folder / WEIGHTS, _without_patients(first.model))
    export(first.model, sides, folder / GRAPH)
    for other in others:
        export(other.model, sides, fold_graph(folder, other.fold))
    reference, far = _reference(first.model, trained, held)
    save_weights(folder / REFERENCE, {name: torch.from_numpy(tensor) for name, tensor in reference.items()})
    facts = {
        **first.facts,
        "fold": first.fold,
        "modalities": list(needed),
        "shift": first.shift,
        "calibration": _calibration(networks, table, needed),
        "folds": [{"fold": one.fold, "fit": one.facts["fit"], "shift": one.shift} for one in others],
        "alone": list(alone),
        "far": far,
        "ranges": {name: seen(images) for name, images in trained.items()},
        "preprocess": preprocess.model_dump(mode="json"),
    }
    write_json(folder / FACTS, facts)
    with replacing(folder / CARD) as temporary:
        temporary.write_text(_card(facts, table[inside], card), encoding="utf-8")
    with replacing(folder / SUMS) as temporary:
        lines = [f"{sha256(folder / name)}  {name}\n" for name in own_files(folder) if name != temporary.name]
        temporary.write_text("".join(lines), encoding="utf-8")
    for modality, parents in alone.items():
        write_bundle(folder / modality, parents, {}, table, crops, preprocess, card)


def _card(facts: Mapping[str, Any], trained: pd.DataFrame, told: str) -> str:
    """The card that travels with the model; the report's says more, of external validation too."""
    images = " and ".join({"us": "one ultrasound", "ct": "one CT"}[name] for name in facts["modalities"])
    line = facts["calibration"]
    if line is None:
        calibrated = "not defined"
    else:
        calibrated = f"log odds are {line['intercept']:+.3f} {line['slope']:+.3f} x those of the probability"
    return "\n\n".join(
        [
            f"# {facts['variant']}, fold {facts['fold']}",
            f"For: research on lymph-node metastasis of thyroid carcinoma from {images} image of a nodule "
            "that a clinician has outlined. Not a medical device; not for the care of patients.",
            f"Trained on: {len(trained)} nodules, {int(trained['label'].sum())} with metastasis.",
            "Says: probability of metastasis at the training prevalence; positive at or above "
            f"{facts['threshold']:.4f}. Calibrated: {calibrated}.",
            f"Of the registered model: {told}",
            "Beware: pictures of other scanners and protocols, outlines drawn otherwise, other prevalences. "
            "Warnings name crops unlike those of training, not every one of them.\n",
        ]
    )


def _without_patients(model: DGFNet) -> dict[str, torch.Tensor]:
    weights = model.state_dict()
    for name in weights:
        # nobody scored later is in the bank: numbers that lead nowhere will do
        if name.endswith("bank_patients"):
            weights[name] = torch.unique(weights[name], return_inverse=True)[1]
    return weights


def _reference(
    model: DGFNet, trained: Crops, held: Crops
) -> tuple[dict[str, NDArray[Any]], dict[Modality, float]]:
    """Mean crop and values of the training nodules, and how far from them nearly all held-out ones lie."""
    tensors: dict[str, NDArray[Any]] = {}
    far = {}
    others = embeddings_of(model, held)
    for name, values in embeddings_of(model, trained).items():
        tensors[f"{name}_mean"] = np.rint(trained[name].mean(axis=0)).astype(np.uint8)
        tensors[f"{name}_seen"] = unit(values)
        far[name] = float(np.quantile(distances(others[name], tensors[f"{name}_seen"]), FAR))
    return tensors, far


def _calibration(networks: Sequence[Member], table: pd.DataFrame, crops: Crops) -> dict[str, float] | None:
    """The line from log odds to calibrated log odds (Cox 1958), on nodules no network was trained on.

    None where a model is worse than chance or separates the classes: no line is then to be trusted.
    """
    log_odds = np.full(len(table), np.nan)
    for one in networks:
        held = (table["fold"] == one.fold).to_numpy()
        found = log_odds_of(one.model, {name: images[held] for name, images in crops.items()})
        log_odds[held] = found + one.shift
    line = calibration_slope_intercept(table["label"], expit(log_odds))
    if not (math.isfinite(line.slope) and math.isfinite(line.intercept) and line.slope > 0):
        return None
    return {"slope": line.slope, "intercept": line.intercept}
