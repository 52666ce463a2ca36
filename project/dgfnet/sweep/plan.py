"""Plans a run: the fits that its settings ask for, and those that each starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet.cohort.folds import Folds
from dgfnet.errors import InputError
from dgfnet.files import sha256
from dgfnet.preprocess.archive import Archive
from dgfnet.results import MEASURED, check_sources, checked_folder, load_chosen, load_nodules, required
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.pretrained import resolve
from dgfnet.tabular.terms import clinical
from dgfnet.training.task import KEPT, Phase, Places, Task
from dgfnet.vocabulary import SITES, SPECS, Backbone, EncoderName, Modality, Site, Variant

UNIMODAL: dict[Modality, Variant] = {"us": "us_multitask", "ct": "ct_multitask"}


@dataclass(frozen=True)
class Inputs:
    """The inputs that all tasks of a run share.

    Attributes:
        archive: digest of the images.
        folds: digest of folds and labels per site; under None without labels.
        measured: sha256 of what was measured of the images; None where nobody is to tell it.
        fold_count: number of folds.
        pretrained: per backbone path and sha256 of a checkpoint, or None.
        labelled: sites that have labels.
        chosen: per site, variant and fold the settings a search has found.
        record: name and digest of each column that `crossval.record` names and the main cohort has.
    """

    archive: str
    folds: Mapping[Site | None, str]
    measured: str | None
    fold_count: int
    pretrained: Mapping[Backbone, tuple[str, str] | None]
    labelled: tuple[Site, ...]
    chosen: Mapping[tuple[str, str, int], Mapping[str, Any]]
    record: tuple[tuple[str, str], ...] = ()


def places(settings: Settings) -> Places:
    """Returns the paths of a worker's inputs and of its results."""
    return Places(
        archive=settings.artifacts("preprocess"),
        measured=settings.artifacts("preprocess", MEASURED),
        nodules=settings.artifacts("cohort", "nodules.parquet"),
        folds=settings.artifacts("cohort", "folds.csv"),
        work=settings.work,
        kept=tuple(settings.artifacts(stage, KEPT) for stage in ("pretrain", "crossval", "holdout")),
    )


def gather(settings: Settings, variants: Iterable[Variant] = (), searched: bool = True) -> Inputs:
    """Reads digests of the finished stages, and fetches pretrained encoders once, in the driver.

    Args:
        settings: of the run.
        variants: that will be trained; they decide which checkpoints are needed.
        searched: use what the stage tune has chosen.

    Raises:
        InputError: when a stage has not run, the pretrained weights cannot be had, or a search was made on
            other folds.
    """
    nodules = load_nodules(settings)
    check_sources(settings, "preprocess")
    folds = Folds.read(required(settings, "cohort", "folds.csv"))
    main = nodules[nodules["cohort"] == "main"].sort_values("nodule_id")
    _check_same(folds, dict(zip(main["nodule_id"], main["patient_id"], strict=True)))
    ids = [
        [str(row.nodule_id), str(row.patient_id), folds.fold[str(row.nodule_id)]] for row in main.itertuples()
    ]
    digests: dict[Site | None, str] = {None: fingerprint(ids)}
    for site in SITES:
        labels = [None if pd.isna(value) else int(value) for value in main[f"lnm_{site}"]]
        digests[site] = fingerprint(ids, labels)
    tells = settings.pretrain.measured_weight > 0
    backbones: set[Backbone] = set(encoders(settings))
    if "us_tlr" in variants:
        backbones.add("inception_v3")
    return Inputs(
        archive=Archive.open(checked_folder(settings, "preprocess")).digest(),
        folds=digests,
        measured=sha256(required(settings, "preprocess", MEASURED)) if tells else None,
        fold_count=folds.count,
        pretrained={name: _checkpoint(settings, name) for name in sorted(backbones)},
        labelled=tuple(site for site in SITES if main[f"lnm_{site}"].nunique() == 2),
        chosen=_chosen(settings, digests) if searched else {},
        record=_columns(main, settings.crossval.record),
    )


def _check_same(folds: Folds, patients: Mapping[str, str]) -> None:
    """Refuses folds of other nodules or patients than the screened ones.

    Raises:
        InputError: naming one.
    """
    if wrong := sorted(folds.patients.items() ^ patients.items()):
        nodule, patient = wrong[0]
        raise InputError(
            f"folds.csv and nodules.parquet disagree on {len({name for name, _ in wrong})} nodule(s), for "
            f"example {nodule} of patient {patient}; run the stage cohort again"
        )


def _columns(main: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Returns name and digest of columns of the main cohort; absent and empty ones are passed over."""
    cells = clinical(main, [str(nodule) for nodule in main["nodule_id"]], names)
    return tuple((str(name), fingerprint(cells[name].to_list())) for name in cells)


def encoders(settings: Settings) -> set[EncoderName]:
    """Returns the encoders that the chosen sites use."""
    return {settings.network.encoder_of(site) for site in settings.base.sites}


def _checkpoint(settings: Settings, backbone: Backbone) -> tuple[str, str] | None:
    path = resolve(settings, backbone)
    if path is None:
        return None
    return path, sha256(Path(path))


def _chosen(
    settings: Settings, folds: Mapping[Site | None, str]
) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """Reads the settings that the stage tune chose, by site, variant and fold; empty when it has not run.

    Raises:
        InputError: when it was made on other folds or labels than there are now.
    """
    values_of: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    chosen = load_chosen(settings)
    for site in (name for name in SITES if name in chosen):
        for variant, record in chosen[site].items():
            if record["folds"] != folds[site]:
                raise InputError(
                    f"tune: {site} {variant} was searched on other folds; run the stage tune again"
                )
            values_of |= {(site, variant, fold): values for fold, values in enumerate(record["chosen"])}
    return values_of


def segmentation(
    settings: Settings, inputs: Inputs, modality: Modality, encoder: EncoderName, fold: int
) -> Task:
    """Returns the task of the shared segmentation-only phase of one modality, encoder and fold."""
    epochs = settings.pretrain.epochs
    after = settings.crossval.unimodal_epochs if settings.training.schedule == "joined" else 0
    variant = UNIMODAL[modality]
    return _task(settings, inputs, "segmentation", variant, encoder, None, fold, epochs, {}, after=after)


def segmentations(
    settings: Settings, inputs: Inputs, wanted: Iterable[tuple[Site, Variant]], folds: Iterable[int]
) -> list[Task]:
    """Returns the tasks of that phase from which variants at sites start, each once."""
    needed = {
        (modality, settings.network.encoder_of(site))
        for site, variant in wanted
        for modality in SPECS[variant].modalities
        if SPECS[variant].tasks
    }
    folds = list(folds)
    return [
        segmentation(settings, inputs, modality, encoder, fold)
        for modality, encoder in sorted(needed)
        for fold in folds
    ]


def classification(
    settings: Settings,
    inputs: Inputs,
    site: Site,
    variant: Variant,
    fold: int,
    ablation: Mapping[str, Any] | None = None,
) -> tuple[Task, list[Task]]:
    """Returns a variant's fit, with the settings a search chose for it, and the fits it starts from.

    An ablation changes settings of the fit alone: what it starts from stays.
    """
    own = settings.changed({**inputs.chosen.get((site, variant, fold), {}), **(ablation or {})})
    origin = {
        modality: segmentation(settings, inputs, modality, settings.network.encoder_of(site), fold)
        if parent is None
        else classification(settings, inputs, site, parent, fold)[0]
        for modality, parent in _origins(variant)
    }
    return _classify(own, inputs, site, variant, fold, origin, None), list(origin.values())


def inner_classification(
    settings: Settings, inputs: Inputs, site: Site, variant: Variant, fold: int, values: Mapping[str, Any]
) -> tuple[Task, list[Task]]:
    """Returns a trial of a search inside the training part of a fold, and the fits it starts from.

    The parents of a fusion are trained on the inner part too, with the settings as they are: those of the
    whole training part would have seen the labels that score the trial.
    """
    origin = {
        modality: segmentation(settings, inputs, modality, settings.network.encoder_of(site), fold)
        if parent is None
        else inner_classification(settings, inputs, site, parent, fold, {})[0]
        for modality, parent in _origins(variant)
    }
    inner = settings.tune.inner_folds
    task = _classify(settings.changed(values), inputs, site, variant, fold, origin, inner)
    return task, list(origin.values())


def holdout(settings: Settings, inputs: Inputs, site: Site) -> tuple[Task, list[Task]]:
    """Returns the fit of `holdout.variant` that chooses its epoch on the held-out fold, and its origins.

    Raises:
        ValueError: when `holdout.variant` is null.
    """
    chosen = settings.holdout
    if chosen.variant is None:
        raise ValueError("holdout.variant is null")
    task, origins = classification(settings, inputs, site, chosen.variant, chosen.fold)
    return replace(task, choose=chosen.criterion), origins


def _origins(variant: Variant) -> list[tuple[Modality, Variant | None]]:
    """Returns per modality the variant a fit starts from, None for the segmentation phase; empty for none."""
    spec = SPECS[variant]
    if spec.parents:
        return list(zip(spec.modalities, spec.parents, strict=True))
    return [(modality, None) for modality in spec.modalities] if spec.tasks else []


def _classify(
    settings: Settings,
    inputs: Inputs,
    site: Site,
    variant: Variant,
    fold: int,
    origin: Mapping[Modality, Task],
    inner_folds: int | None,
) -> Task:
    spec, crossval = SPECS[variant], settings.crossval
    epochs = crossval.multimodal_epochs if spec.parents else crossval.unimodal_epochs
    goes_on = settings.training.schedule == "joined" and spec.tasks and not spec.parents
    before = settings.pretrain.epochs if goes_on else 0
    parents = {modality: task.key for modality, task in origin.items()}
    encoder: Backbone = "inception_v3" if variant == "us_tlr" else settings.network.encoder_of(site)
    return _task(
        settings, inputs, "classification", variant, encoder, site, fold, epochs, parents, inner_folds, before
    )


def _task(
    settings: Settings,
    inputs: Inputs,
    phase: Phase,
    variant: Variant,
    encoder: Backbone,
    site: Site | None,
    fold: int,
    epochs: int,
    parents: Mapping[Modality, str],
    inner_folds: int | None = None,
    before: int = 0,
    after: int = 0,
) -> Task:
    checkpoint = None if parents else inputs.pretrained[encoder]
    measured_weight = settings.pretrain.measured_weight if phase == "segmentation" else 0.0
    record = inputs.record if SPECS[variant].record else ()
    if SPECS[variant].record and not record:
        names = ", ".join(settings.crossval.record)
        raise InputError(
            f"{variant} reads the record, and crossval.record names no column of nodules.csv: {names}"
        )
    return Task(
        phase=phase,
        variant=variant,
        encoder=encoder,
        site=site,
        fold=fold,
        epochs=epochs,
        before=before,
        after=after,
        seed=int(fingerprint(settings.base.seed, phase, variant, site, fold)[:7], 16),
        parents=parents,
        network=settings.network,
        training=settings.training,
        pretrained=checkpoint and checkpoint[0],
        pretrained_sha256=checkpoint and checkpoint[1],
        archive=inputs.archive,
        folds=inputs.folds[site],
        measured=inputs.measured if measured_weight else None,
        measured_weight=measured_weight,
        record=record,
        inner_folds=inner_folds,
        choose=None,
        validate_every=settings.crossval.validate_every,
    )
