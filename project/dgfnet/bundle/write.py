"""Writes bundles from finished fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

from dgfnet.bundle.crops import Album, largest, of_pictures, pairs_of, part_of, scored_images
from dgfnet.bundle.export import export
from dgfnet.bundle.joint import Joint, joined_log_odds, training_limits
from dgfnet.bundle.layout import (
    CARD,
    GRAPH,
    METADATA,
    REFERENCE,
    SUMS,
    WEIGHTS,
    fold_graph,
    outline_graph,
    own_files,
)
from dgfnet.bundle.network import log_odds_of
from dgfnet.bundle.novelty import NAMES
from dgfnet.bundle.record import RecordInput, described, inputs_of, names_in, terms_in
from dgfnet.bundle.typical import limits_of
from dgfnet.bundle.watch import risk_counts
from dgfnet.errors import InputError
from dgfnet.files import replacing, sha256, write_json
from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.metrics.conformal import set_limits
from dgfnet.metrics.ensemble import common_threshold
from dgfnet.network.variants import DGFNet
from dgfnet.outline.export import graph_of
from dgfnet.outline.network import OutlineNet
from dgfnet.sections.data import Preprocess
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import Term
from dgfnet.training.checkpoint import save_weights
from dgfnet.training.start import restore
from dgfnet.training.task import Places, Task, finished
from dgfnet.unseen import terms_of_fit
from dgfnet.vocabulary import MODALITIES, RECORD, Modality


@dataclass(frozen=True)
class Member:
    """The trained network of one fold.

    Attributes:
        model: in evaluation mode, with its reference bank.
        fold: held out in its training.
        shift: prevalence correction of its log odds; 0 unless it was trained on balanced classes.
        fit: the key of its training task.
        threshold: frozen, on the probabilities of the registered model.
        training_prevalence: share of positives among its training nodules.
        metadata: what it shares with the others in bundle.json.
        stacked: the fold's regression on its log odds, features and record, as model.json has it, with its
            `key` in metrics.json; None without one.
        terms: of the record, where the network has a stream of it.
        record: columns of the record that the regression or network of any fold reads.
    """

    model: DGFNet
    fold: int
    shift: float
    threshold: float
    training_prevalence: float
    fit: str
    metadata: Mapping[str, Any]
    stacked: Mapping[str, Any] | None = None
    terms: tuple[Term, ...] = ()
    record: tuple[str, ...] = ()

    @property
    def joint(self) -> Joint | None:
        """The regression that joins its log odds with measured features, and with the record."""
        if self.stacked is None:
            return None
        return Joint.of(self.stacked, self.model.variant, self.model.modalities, self.record)

    @property
    def stream(self) -> RecordInput | None:
        """The record as the network reads it."""
        return RecordInput(self.terms, self.record) if self.terms else None

    def of_record(self) -> list[Term]:
        """Returns the terms of the record, whoever reads it, by the names of its columns."""
        return [*self.terms, *(terms_in(self.joint.model) if self.joint else ())]


@dataclass(frozen=True)
class Answers:
    """Settings of a registered model's answers: those of `Register` of the same names.

    Attributes:
        scoring: whether the mean log odds of all networks are the answer, or those of the first.
        coverage: of prediction sets.
        false_alarms: share of held-out nodules that may be beyond a limit of caution.
    """

    scoring: Literal["ensemble", "best_fold"]
    coverage: float
    false_alarms: float


def members(tasks: Sequence[Task], where: Places) -> list[Member]:
    """Loads the networks of fits.

    Raises:
        InputError: when a fit is not done, or is of a kind that cannot be registered.
    """
    networks = [_member(task, where) for task in tasks]
    record = names_in(term for member in networks for term in member.terms)
    return [replace(member, record=record) for member in networks]


def stacked(networks: Sequence[Member], model: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Member]:
    """Returns networks with the regressions that join them with measured features, and with the record.

    Args:
        networks: of all folds, in any order.
        model: model.json of the stack.
        metrics: metrics.json of the stack.
    """
    folds = {fold["fold"]: fold for fold in model["folds"]}
    results = {fold["fold"]: fold for fold in metrics["folds"]}
    record = names_in(term for fold in model["folds"] for term in terms_in(Logistic.of(fold)))
    return [
        replace(
            member,
            threshold=float(results[member.fold]["threshold"]),
            metadata={**member.metadata, "variant": metrics["variant"], "units": model["units"]},
            stacked={**folds[member.fold], "key": results[member.fold]["key"]},
            record=record,
        )
        for member in networks
    ]


def _member(task: Task, where: Places) -> Member:
    record = finished(where, task.key, thorough=True)
    if record is None:
        raise InputError(f"{task.name}: this fit is not done; run the stage crossval")
    model = restore(task, where)
    if not isinstance(model, DGFNet):
        raise InputError(f"{task.variant} cannot be registered; choose another register.variant")
    prevalence = record["training_prevalence"]
    shift = float(logit(prevalence)) if task.training.sampling == "train_only" else 0.0
    metadata = {
        "site": task.site,
        "variant": task.variant,
        "encoder": task.encoder,
        "sampling": task.training.sampling,
        "network": task.network.model_dump(mode="json"),
    }
    threshold, terms = float(record["threshold"]), terms_of_fit(record)
    return Member(model, task.fold, shift, threshold, prevalence, task.key, metadata, terms=terms)


def write_bundle(
    folder: Path,
    networks: Sequence[Member],
    unimodal: Mapping[Modality, Sequence[Member]],
    answers: Answers,
    table: pd.DataFrame,
    album: Album,
    preprocess: Preprocess,
    card: str,
    outlines: Mapping[Modality, OutlineNet],
) -> None:
    """Writes the bundle of the networks of a variant.

    Args:
        folder: of the bundle.
        networks: that of the chosen fold, and those of the same variant in every other fold.
        unimodal: the same of the unimodal variants that a fusion was built from.
        answers: how it answers.
        table: `fold` and `label` of the nodules that were cross-validated.
        album: crops of these nodules, row for row, and features and record where the model reads them.
        preprocess: settings that made the crops.
        card: sentences about the fusion's cross-validation and origin, for the model card.
        outlines: per modality the network that outlines nodules in boxes.
    """
    first = networks[0]
    modalities, inputs = first.model.modalities, of_pictures(first.model.inputs)
    inside = (table["fold"] != first.fold).to_numpy()
    means = {
        name: np.rint(images[inside].mean(axis=0)).astype(np.uint8)
        for name, images in largest(album, inputs).items()
    }
    joint = first.joint
    save_weights(folder / WEIGHTS, _without_patients(first.model))
    for member in networks:
        graph = folder / GRAPH if member is first else fold_graph(folder, member.fold)
        unknown = {} if member.stream is None else {RECORD: member.stream.unknown}
        export(member.model, means | unknown, graph)
    reference = {f"{name}_mean": torch.from_numpy(crop) for name, crop in means.items()}
    save_weights(folder / REFERENCE, reference)
    pictured = [name for name in MODALITIES if name in album]
    every = {name: scored_images(album, name, first.metadata["network"]["images"]) for name in pictured}
    typical, held_out_levels = limits_of(every, modalities, table["fold"], answers.false_alarms)
    held_out = _held_out(networks, table, album, preprocess)
    calibration = _calibration(table["label"], held_out)
    sets = set_limits(table["label"], expit(held_out), answers.coverage)
    metadata = {
        "units": None,
        **first.metadata,
        "network_variant": first.model.variant,
        "modalities": list(modalities),
        "inputs": list(inputs),
        "members": [
            {
                **{
                    name: getattr(member, name)
                    for name in ("fold", "fit", "shift", "threshold", "training_prevalence", "stacked")
                },
                "terms": [asdict(term) for term in member.terms] if member.terms else None,
            }
            for member in networks
        ],
        "scoring": answers.scoring,
        "threshold": common_threshold(
            [member.threshold for member in (networks if answers.scoring == "ensemble" else networks[:1])]
        ),
        "calibration": calibration,
        "held_out_risks": None
        if calibration is None
        else risk_counts(expit(calibration["intercept"] + calibration["slope"] * held_out)),
        "sets": {"coverage": answers.coverage, **vars(sets)},
        "typical": typical,
        "held_out_levels": held_out_levels,
        "false_alarms": answers.false_alarms,
        "alone": list(unimodal),
        "outlines": list(outlines),
        "measured": None if joint is None else training_limits(joint.columns(), joint.table(album)[inside]),
        "record": _record(networks, album),
        "preprocess": preprocess.model_dump(mode="json"),
    }
    for modality, network in outlines.items():
        with replacing(outline_graph(folder, modality)) as temporary:
            temporary.write_bytes(graph_of(network))
    write_json(folder / METADATA, metadata)
    with replacing(folder / CARD) as temporary:
        temporary.write_text(_card(metadata, table, card), encoding="utf-8")
    with replacing(folder / SUMS) as temporary:
        lines = [f"{sha256(folder / name)}  {name}\n" for name in own_files(folder) if name != temporary.name]
        temporary.write_text("".join(lines), encoding="utf-8")
    for modality, parents in unimodal.items():
        write_bundle(folder / modality, parents, {}, answers, table, album, preprocess, card, {})


def _card(metadata: Mapping[str, Any], table: pd.DataFrame, origin: str) -> str:
    """Words the model card of a bundle; the report's has more, external validation too."""
    images = " and ".join(NAMES[name] for name in metadata["modalities"])
    every = "all" if metadata["network"]["images"] == "all" else "the largest"
    line, members = metadata["calibration"], metadata["members"]
    if metadata["scoring"] == "ensemble":
        networks, trained, each = f"{len(members)} folds", table, ", each network on all folds but one"
    else:
        fold = members[0]["fold"]
        networks, trained, each = f"fold {fold}", table[table["fold"] != fold], ""
    if line is None:
        calibrated = "not defined"
    else:
        calibrated = f"log odds are {line['intercept']:+.3f} {line['slope']:+.3f} x those of the probability"
    kind, read = metadata["variant"], list(metadata["record"] or ())
    if members[0]["stacked"] is not None:
        read = [metadata["network_variant"], "measured features", *read]
    elif read:
        read = [*metadata["modalities"], *read]
    if read:
        kind = f"{kind} of {', '.join(read[:-1])} and {read[-1]}"
    return "\n\n".join(
        [
            f"# {kind}, {networks}",
            f"For: research on lymph-node metastasis of thyroid carcinoma from {images} images of a nodule "
            f"that a clinician has outlined; {every} of them are scored. Not a medical device; not for the "
            "care of patients.",
            f"Trained on: {len(trained)} nodules, {int(trained['label'].sum())} with metastasis{each}.",
            "Says: probability of metastasis at the training prevalence; positive at or above "
            f"{metadata['threshold']:.4f}. Calibrated: {calibrated}.",
            f"Of the registered model: {origin}",
            "Beware: pictures of other scanners and protocols, outlines drawn otherwise, other prevalences. "
            "Pictures unlike those of training are answered with caution or not at all, as far as they "
            "are noticed.\n",
        ]
    )


def _record(networks: Sequence[Member], album: Album) -> dict[str, dict[str, Any]] | None:
    """Returns the columns of the record that a model reads, None where it reads none."""
    terms = [term for member in networks for term in member.of_record()]
    return described(terms, album[RECORD]) if terms else None


def _without_patients(model: DGFNet) -> dict[str, torch.Tensor]:
    weights = model.state_dict()
    for name in weights:
        # patients scored later are not in the bank: anonymous numbers will do
        if name.endswith("bank_patients"):
            weights[name] = torch.unique(weights[name], return_inverse=True)[1]
    return weights


def _held_out(
    networks: Sequence[Member], table: pd.DataFrame, album: Album, preprocess: Preprocess
) -> NDArray[np.float64]:
    """Returns the log odds of all nodules, (N,), each by the network that held its fold out."""
    log_odds = np.full(len(table), np.nan)
    for member in networks:
        held_out = np.flatnonzero(table["fold"] == member.fold).tolist()
        own = part_of(album, held_out)
        images = member.metadata["network"]["images"]
        pairs = pairs_of(own, of_pictures(member.model.inputs), preprocess, images)
        inputs = inputs_of(pairs.crops, pairs.nodule, own, member.stream)
        network = pairs.average(log_odds_of(member.model, inputs)) + member.shift
        log_odds[held_out] = joined_log_odds(member.joint, network, own)
    return log_odds


def _calibration(label: pd.Series, log_odds: NDArray[np.float64]) -> dict[str, float] | None:
    """Fits the line from log odds to calibrated log odds (Cox 1958) on held-out nodules.

    Returns:
        `slope` and `intercept`, or None where the slope is not finite and positive: the networks separate the
        classes, or are worse than chance.
    """
    line = calibration_slope_intercept(label, expit(log_odds))
    if not (math.isfinite(line.slope) and math.isfinite(line.intercept) and line.slope > 0):
        return None
    return {"slope": line.slope, "intercept": line.intercept}
