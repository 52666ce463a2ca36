"""The stage `cohort`: manifest to screened nodules and folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from dgfnet import provenance
from dgfnet.cohort import folds
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.cohort.screening import screen
from dgfnet.errors import InputError
from dgfnet.settings import SITES, Settings


def run(settings: Settings) -> None:
    """Writes artifacts/cohort: enrolment.json, nodules.parquet, images.parquet, folds.csv.

    Raises:
        InputError: for a faulty manifest, or when nothing is left.
    """
    screened = screen(read_cohort(settings.data))
    kept = screened.kept
    main = [nodule for nodule in kept.nodules if nodule.cohort == "main"]
    if not main:
        raise InputError(
            f"no nodule of cohort 'main' passed the screening: {screened.flow['main']['excluded']}"
        )
    folder = settings.artifacts("cohort")
    made = folds.make(main, settings.cohort.folds, settings.base.seed, settings.cohort.minimum_per_class)
    _write_parquet(pd.DataFrame([_nodule_row(nodule) for nodule in kept.nodules]), folder / "nodules.parquet")
    _write_parquet(
        pd.DataFrame([_image_row(kept, image) for n in kept.nodules for image in n.images]),
        folder / "images.parquet",
    )
    made.write(folder / "folds.csv")
    provenance.write_json(folder / "enrolment.json", {**screened.flow, "excluded_nodules": screened.excluded})
    provenance.write(folder, settings, sections=("base", "cohort"))


def load_screened(settings: Settings) -> Cohort:
    """The cohort as the stage `cohort` kept it.

    Raises:
        InputError: when the stage has not run, or the cohort folder has changed since.
    """
    path = settings.artifacts("cohort", "images.parquet")
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage cohort first")
    cohort = read_cohort(settings.data)
    table = pd.read_parquet(path)
    kept = {tuple(row) for row in table[["nodule_id", "image", "slice"]].itertuples(index=False)}
    nodules = []
    for nodule in cohort.nodules:
        images = tuple(image for image in nodule.images if _identity(cohort, image) in kept)
        if images:
            nodules.append(replace(nodule, images=images))
    if sum(len(nodule.images) for nodule in nodules) != len(table):
        raise InputError(f"{settings.data}: the cohort has changed since the stage cohort ran; run it again")
    return Cohort(cohort.root, tuple(nodules))


def load_nodules(settings: Settings) -> pd.DataFrame:
    """The screened nodules, one row each: ids, cohort, labels (NaN where unknown) and attributes.

    Raises:
        InputError: when the stage has not run.
    """
    path = settings.artifacts("cohort", "nodules.parquet")
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage cohort first")
    return pd.read_parquet(path)


def _nodule_row(nodule: Nodule) -> dict[str, Any]:
    labels = {f"lnm_{site}": nodule.labels[site] for site in SITES}
    ids = {"nodule_id": nodule.nodule_id, "patient_id": nodule.patient_id, "cohort": nodule.cohort}
    return {**ids, **labels, "n_malignant_nodules": nodule.n_malignant_nodules, **nodule.attributes}


def _image_row(cohort: Cohort, image: Image) -> dict[str, Any]:
    nodule_id, path, index = _identity(cohort, image)
    return {
        "nodule_id": nodule_id,
        "modality": image.modality,
        "view": image.view,
        "image": path,
        "slice": index,
    }


def _identity(cohort: Cohort, image: Image) -> tuple[str, str, int]:
    return (
        image.nodule_id,
        image.image.relative_to(cohort.root).as_posix(),
        -1 if image.slice is None else image.slice,
    )


def _write_parquet(table: pd.DataFrame, path: Any) -> None:
    labels = [f"lnm_{site}" for site in SITES if f"lnm_{site}" in table]
    table = table.astype(dict.fromkeys(labels, "float32"))
    with provenance.replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
