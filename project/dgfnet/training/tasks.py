"""Which fits a setting asks for, and what each starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from typing import Any

import pandas as pd
import yaml

from dgfnet.cohort.folds import Folds
from dgfnet.cohort.stage import load_nodules
from dgfnet.errors import InputError
from dgfnet.network.variants import SPECS
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import SITES, Backbone, EncoderName, Modality, Settings, Site, Variant, fingerprint
from dgfnet.training.pretrained import resolve
from dgfnet.training.task import Phase, Places, Task

UNIMODAL: dict[Modality, Variant] = {"us": "us_multitask", "ct": "ct_multitask"}


@dataclass(frozen=True)
class Facts:
    """What all tasks of a run share.

    Attributes:
        archive: digest of the images.
        folds: digest of folds and labels per site; under None without labels.
        fold_count: number of folds.
        pretrained: per backbone path and sha256 of a checkpoint, or None.
        labelled: sites that have labels.
        chosen: per site, variant and fold the settings a search has found.
    """

    archive: str
    folds: Mapping[Site | None, str]
    fold_count: int
    pretrained: Mapping[Backbone, tuple[str, str] | None]
    labelled: tuple[Site, ...]
    chosen: Mapping[tuple[str, str, int], Mapping[str, Any]]


def places(settings: Settings) -> Places:
    """Where a worker finds what it needs."""
    return Places(
        archive=settings.artifacts("preprocess"),
        nodules=settings.artifacts("cohort", "nodules.parquet"),
        folds=settings.artifacts("cohort", "folds.csv"),
        work=settings.work,
    )


def gather(settings: Settings, variants: Iterable[Variant] = (), searched: bool = True) -> Facts:
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
    folds = Folds.read(places(settings).folds)
    main = nodules[nodules["cohort"] == "main"].sort_values("nodule_id")
    ids = [
        [str(row.nodule_id), str(row.patient_id), folds.fold[str(row.nodule_id)]] for row in main.itertuples()
    ]
    digests: dict[Site | None, str] = {None: fingerprint(ids)}
    for site in SITES:
        labels = [None if pd.isna(value) else int(value) for value in main[f"lnm_{site}"]]
        digests[site] = fingerprint(ids, labels)
    backbones: set[Backbone] = set(encoders(settings))
    if "us_tlr" in variants:
        backbones.add("inception_v3")
    return Facts(
        archive=Archive.open(places(settings).archive).digest(),
        folds=digests,
        fold_count=folds.count,
        pretrained={name: _checkpoint(settings, name) for name in sorted(backbones)},
        labelled=tuple(site for site in SITES if main[f"lnm_{site}"].nunique() == 2),
        chosen=read_chosen(settings, digests) if searched else {},
    )


def encoders(settings: Settings) -> set[EncoderName]:
    """Encoders the chosen sites use."""
    return {settings.network.encoder_of(site) for site in settings.base.sites}


def _checkpoint(settings: Settings, backbone: Backbone) -> tuple[str, str] | None:
    path = resolve(settings, backbone)
    if path is None:
        return None
    with open(path, "rb") as file:
        return path, file_digest(file, "sha256").hexdigest()


def read_chosen(
    settings: Settings, folds: Mapping[Site | None, str]
) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """What the stage tune wrote to chosen.yaml, or nothing when it has not run.

    Raises:
        InputError: when it was made on other folds or labels than there are now.
    """
    path = settings.artifacts("tune", "chosen.yaml")
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for site, variants in content.items():
        for variant, record in variants.items():
            if record["folds"] != folds[site]:
                raise InputError(
                    f"{path}: {site} {variant} was searched on other folds; run the stage tune again"
                )
            found |= {(site, variant, fold): values for fold, values in enumerate(record["chosen"])}
    return found


def segmentation(
    settings: Settings, facts: Facts, modality: Modality, encoder: EncoderName, fold: int
) -> Task:
    """The shared segmentation-only phase of one modality, encoder and fold."""
    epochs = settings.pretrain.epochs
    return _task(settings, facts, "segmentation", UNIMODAL[modality], encoder, None, fold, epochs, {})


def classification(
    settings: Settings, facts: Facts, site: Site, variant: Variant, fold: int
) -> tuple[Task, list[Task]]:
    """A variant's fit, with the settings a search chose for it, and the fits it starts from."""
    own = settings.changed(facts.chosen.get((site, variant, fold), {}))
    origin = {
        modality: segmentation(settings, facts, modality, settings.network.encoder_of(site), fold)
        if parent is None
        else classification(settings, facts, site, parent, fold)[0]
        for modality, parent in _origins(variant)
    }
    return _classify(own, facts, site, variant, fold, origin, None), list(origin.values())


def inner_classification(
    settings: Settings, facts: Facts, site: Site, variant: Variant, fold: int, values: Mapping[str, Any]
) -> tuple[Task, list[Task]]:
    """A trial of a search inside the training part of a fold, and the fits it starts from.

    The parents of a fusion are trained on the inner part too, with the settings as they are: those of the
    whole training part would have seen the labels that score the trial.
    """
    origin = {
        modality: segmentation(settings, facts, modality, settings.network.encoder_of(site), fold)
        if parent is None
        else inner_classification(settings, facts, site, parent, fold, {})[0]
        for modality, parent in _origins(variant)
    }
    inner = settings.tune.inner_folds
    task = _classify(settings.changed(values), facts, site, variant, fold, origin, inner)
    return task, list(origin.values())


def _origins(variant: Variant) -> list[tuple[Modality, Variant | None]]:
    """Per modality the variant a fit starts from, None for the segmentation phase; empty for none."""
    spec = SPECS[variant]
    if spec.parents:
        return list(zip(spec.modalities, spec.parents, strict=True))
    return [(modality, None) for modality in spec.modalities] if spec.tasks else []


def _classify(
    settings: Settings,
    facts: Facts,
    site: Site,
    variant: Variant,
    fold: int,
    origin: Mapping[Modality, Task],
    inner_folds: int | None,
) -> Task:
    fusion = bool(SPECS[variant].parents)
    epochs = settings.crossval.multimodal_epochs if fusion else settings.crossval.unimodal_epochs
    parents = {modality: task.key for modality, task in origin.items()}
    encoder: Backbone = "inception_v3" if variant == "us_tlr" else settings.network.encoder_of(site)
    return _task(
        settings, facts, "classification", variant, encoder, site, fold, epochs, parents, inner_folds
    )


def _task(
    settings: Settings,
    facts: Facts,
    phase: Phase,
    variant: Variant,
    encoder: Backbone,
    site: Site | None,
    fold: int,
    epochs: int,
    parents: Mapping[Modality, str],
    inner_folds: int | None = None,
) -> Task:
    checkpoint = None if parents else facts.pretrained[encoder]
    return Task(
        phase=phase,
        variant=variant,
        encoder=encoder,
        site=site,
        fold=fold,
        epochs=epochs,
        seed=int(fingerprint(settings.base.seed, phase, variant, site, fold)[:7], 16),
        parents=parents,
        network=settings.network,
        training=settings.training,
        pretrained=checkpoint and checkpoint[0],
        pretrained_sha256=checkpoint and checkpoint[1],
        archive=facts.archive,
        folds=facts.folds[site],
        inner_folds=inner_folds,
        validate_every=settings.crossval.validate_every,
    )
