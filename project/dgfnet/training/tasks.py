"""Which fits a setting asks for, and what each starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest

import pandas as pd

from dgfnet.cohort.folds import Folds
from dgfnet.cohort.stage import load_nodules
from dgfnet.network.variants import SPECS
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import SITES, EncoderName, Modality, Settings, Site, Variant, fingerprint
from dgfnet.training.fit import Places, Task
from dgfnet.training.pretrained import resolve

UNIMODAL: dict[Modality, Variant] = {"us": "us_multitask", "ct": "ct_multitask"}


@dataclass(frozen=True)
class Facts:
    """What all tasks of a run share.

    Attributes:
        archive: digest of the images.
        folds: digest of folds and labels per site; under None without labels.
        fold_count: number of folds.
        pretrained: per encoder the path of a checkpoint, or None.
        labelled: sites that have labels.
    """

    archive: str
    folds: Mapping[Site | None, str]
    fold_count: int
    pretrained: Mapping[EncoderName, str | None]
    labelled: tuple[Site, ...]


def places(settings: Settings) -> Places:
    """Where a worker finds what it needs."""
    return Places(
        archive=settings.artifacts("preprocess"),
        nodules=settings.artifacts("cohort", "nodules.parquet"),
        folds=settings.artifacts("cohort", "folds.csv"),
        work=settings.work,
    )


def gather(settings: Settings) -> Facts:
    """Reads digests of the finished stages, and fetches pretrained encoders once, in the driver.

    Raises:
        InputError: when a stage has not run or the pretrained weights cannot be had.
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
    return Facts(
        archive=Archive.open(places(settings).archive).digest(),
        folds=digests,
        fold_count=folds.count,
        pretrained={name: resolve(settings, name) for name in sorted(encoders(settings))},
        labelled=tuple(site for site in SITES if main[f"lnm_{site}"].nunique() == 2),
    )


def encoders(settings: Settings) -> set[EncoderName]:
    """Encoders the chosen sites use."""
    return {settings.network.encoder_of(site) for site in settings.base.sites}


def segmentation(
    settings: Settings, facts: Facts, modality: Modality, encoder: EncoderName, fold: int
) -> Task:
    """The shared segmentation-only phase of one modality, encoder and fold."""
    path = facts.pretrained[encoder]
    return _task(
        settings,
        facts,
        "segmentation",
        UNIMODAL[modality],
        encoder,
        None,
        fold,
        settings.pretrain.epochs,
        {},
        path,
    )


def classification(
    settings: Settings, facts: Facts, site: Site, variant: Variant, fold: int
) -> tuple[Task, list[Task]]:
    """A variant's fit and those it starts from: segmentation for unimodal variants, these for fusions."""
    encoder = settings.network.encoder_of(site)
    spec = SPECS[variant]
    epochs = settings.crossval.multimodal_epochs if spec.parents else settings.crossval.unimodal_epochs
    if spec.parents:
        pairs = zip(spec.modalities, spec.parents, strict=True)
        origin = {m: classification(settings, facts, site, parent, fold)[0] for m, parent in pairs}
    else:
        origin = {m: segmentation(settings, facts, m, encoder, fold) for m in spec.modalities}
    parents = {modality: task.key for modality, task in origin.items()}
    task = _task(settings, facts, "classification", variant, encoder, site, fold, epochs, parents, None)
    return task, list(origin.values())


def _task(
    settings: Settings,
    facts: Facts,
    phase: str,
    variant: Variant,
    encoder: EncoderName,
    site: Site | None,
    fold: int,
    epochs: int,
    parents: Mapping[Modality, str],
    pretrained: str | None,
) -> Task:
    digest = None
    if pretrained is not None:
        with open(pretrained, "rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    return Task(
        phase=phase,  # type: ignore[arg-type]
        variant=variant,
        encoder=encoder,
        site=site,
        fold=fold,
        epochs=epochs,
        seed=int(fingerprint(settings.base.seed, phase, variant, site, fold)[:7], 16),
        parents=parents,
        network=settings.network,
        training=settings.training,
        pretrained=pretrained,
        pretrained_sha256=digest,
        archive=facts.archive,
        folds=facts.folds[site],
        validate_every=settings.crossval.validate_every,
    )
