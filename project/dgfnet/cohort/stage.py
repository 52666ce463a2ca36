"""The stage `cohort`: manifest to screened nodules and folds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dgfnet import files, provenance
from dgfnet.cohort import folds
from dgfnet.cohort.manifest import read_cohort, unknown_columns
from dgfnet.cohort.persons import check_spellings
from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.cohort.screened import identity
from dgfnet.cohort.screening import flowchart, review
from dgfnet.cohort.screening.criteria import screen
from dgfnet.cohort.screening.decisions import DECISIONS, read_decisions
from dgfnet.cohort.screening.review import Suspicion
from dgfnet.errors import InputError
from dgfnet.parallel import workers
from dgfnet.settings import Settings
from dgfnet.vocabulary import SITES


def run(settings: Settings) -> None:
    """Writes artifacts/cohort: enrolment.json and .png, suspicious.csv and .png, the kept nodules, the folds.

    Raises:
        InputError: for a faulty manifest or table of decisions, or when nothing is left.
    """
    md5 = provenance.checked_md5(settings)
    cohort = read_cohort(settings.data)
    _check_modalities(cohort, settings)
    if settings.cohort.spellings == "stop":
        check_spellings(nodule.patient_id for nodule in cohort.nodules)
    processes = workers(settings.resources.memory_mb)
    suspicions = review.review(cohort, read_decisions(cohort), settings.preprocess.us_dilations, processes)
    decided = review.apply(cohort, suspicions, settings.cohort.undecided)
    screened = screen(decided, settings.cohort.modalities)
    kept = screened.kept
    folder = settings.artifacts("cohort")
    for name in ("nodules.parquet", "images.parquet", "folds.csv"):  # of an earlier run: they end with it
        (folder / name).unlink(missing_ok=True)
    review.write(folder, suspicions)
    flowchart.draw(folder / "enrolment.png", screened.flow)
    details = {"drawings": review.counts(suspicions), "excluded_nodules": screened.excluded}
    files.write_json(folder / "enrolment.json", {**screened.flow, **details})
    _report(unknown_columns(settings.data), suspicions, settings)
    made = _folds(kept, screened.flow["main"], settings)
    _write_parquet(pd.DataFrame([_nodule_row(nodule) for nodule in kept.nodules]), folder / "nodules.parquet")
    _write_parquet(
        pd.DataFrame([_image_row(kept, image) for n in kept.nodules for image in n.images]),
        folder / "images.parquet",
    )
    made.write(folder / "folds.csv")
    provenance.write(folder, settings, ("base", "cohort"), md5)


def _folds(kept: Cohort, flow: Mapping[str, Any], settings: Settings) -> folds.Folds:
    """Makes the folds of the main cohort; an error names the screening, which may be its reason."""
    main = [nodule for nodule in kept.nodules if nodule.cohort == "main"]
    where = settings.artifacts("cohort", "enrolment.json")
    screening = f"the screening kept {len(main)} of {flow['enrolled']['nodules']} main nodules ({where})"
    if not main:
        raise InputError(f"nothing to train on: {screening}")
    section, centre = settings.cohort, _centres(main, settings)
    try:
        if section.split == "centres":
            return folds.by_centre(main, centre, section.minimum_per_class)
        return folds.make(main, section.folds, settings.base.seed, section.minimum_per_class)
    except InputError as error:
        raise InputError(f"{error}; {screening}") from None


def _centres(main: Sequence[Nodule], settings: Settings) -> dict[str, str]:
    """Returns the centre of each nodule by its id; empty where settings name no column.

    Raises:
        InputError: when a nodule has none.
    """
    column = settings.cohort.centre
    if column is None:
        return {}
    centre = {nodule.nodule_id: str(nodule.attributes.get(column) or "").strip() for nodule in main}
    if without := sorted(nodule for nodule, name in centre.items() if not name):
        raise InputError(
            f"cohort.centre: nodules.csv has no {column} of {', '.join(without[:3])} ({len(without)} in "
            "all); fill the column, name another, or null for none"
        )
    return centre


def _check_modalities(cohort: Cohort, settings: Settings) -> None:
    """Refuses images of a modality that settings do not name: they would reach some nodules only."""
    modalities = settings.cohort.modalities
    other = Counter(i.modality for n in cohort.nodules for i in n.images if i.modality not in modalities)
    if other:
        raise InputError(
            f"{settings.data}: images.csv has {dict(other)} images besides cohort.modalities "
            f"{list(modalities)}; drop their rows, or name the modality"
        )


def _report(unknown: dict[str, list[str]], suspicions: list[Suspicion], settings: Settings) -> None:
    """Prints unknown columns, and drawings that wait for a decision."""
    for table, columns in unknown.items():
        print(f"{table}: unknown column(s) {', '.join(columns)}", file=sys.stderr)
    waiting = review.undecided(suspicions)
    if waiting:
        print(
            f"WARNING: something is drawn in {len(waiting)} US picture(s), {settings.cohort.undecided} until "
            f"decided; look at {settings.artifacts('cohort', 'suspicious.png')} and write decisions into "
            f"{settings.data / DECISIONS} (image, slice, other, decision: keep or set_aside)",
            file=sys.stderr,
        )


def _nodule_row(nodule: Nodule) -> dict[str, Any]:
    labels = {f"lnm_{site}": nodule.labels[site] for site in SITES}
    ids = {"nodule_id": nodule.nodule_id, "patient_id": nodule.patient_id, "cohort": nodule.cohort}
    return {**ids, **labels, "n_malignant_nodules": nodule.n_malignant_nodules, **nodule.attributes}


def _image_row(cohort: Cohort, image: Image) -> dict[str, Any]:
    nodule_id, path, index = identity(cohort, image)
    return {
        "nodule_id": nodule_id,
        "modality": image.modality,
        "view": image.view,
        "image": path,
        "slice": index,
    }


def _write_parquet(table: pd.DataFrame, path: Any) -> None:
    labels = [f"lnm_{site}" for site in SITES if f"lnm_{site}" in table]
    table = table.astype(dict.fromkeys(labels, "float32"))
    with files.replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
