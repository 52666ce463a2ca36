"""Writes a phantom cohort: pictures, masks and manifest in one folder, the truth in another beside it.

Every patient has a random stream of their own, so that the result depends neither on the number of processes
nor on their order. Compression uses run lengths only (PNG) or nothing (NIfTI): no file depends on the CPU or
a system library.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import track

from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.phantom import latents
from dgfnet.phantom import signal as shown
from dgfnet.phantom.enrolment import Patient, enrol_external, enrol_main
from dgfnet.phantom.pictures import Rows, draw_patient
from dgfnet.phantom.styles import StyleName
from dgfnet.vocabulary import MODALITIES, SITES


def generate(
    out: Path,
    truth: Path,
    patients: int,
    external_patients: int,
    seed: int,
    signal: float,
    informative: latents.Informative,
    interaction: float = 0.0,
    style: StyleName = "first",
) -> None:
    """Writes a cohort and its truth (latents.csv, bayes.json, signal/), replacing what stood there.

    Args:
        out: folder of the cohort.
        truth: folder of the truth, outside the cohort.
        patients: enrolled patients of the main cohort; 4 % each are made to meet one of the exclusion
            criteria.
        external_patients: patients of the external cohort, 37 % of them with central metastasis.
        seed: of everything.
        signal: scales the log odds of the factors; 0 gives labels that no picture can tell.
        informative: modalities whose factors decide the labels; the other's are drawn, and mean nothing.
        interaction: share of the log odds that is a product of both modalities, 0 to 1.
        style: how the factors are drawn (`styles.py`).

    Raises:
        InputError: when `out` holds something that is not a phantom.
    """
    if out.exists() and any(out.iterdir()) and not (out / "phantom.json").is_file():
        raise InputError(f"{out}: holds files that no phantom made; choose another folder or empty it")
    informative = tuple(name for name in MODALITIES if name in informative)
    rule = latents.Rule(signal, informative, interaction)
    everyone = [*enrol_main(patients, seed, rule), *enrol_external(external_patients, seed, rule)]
    temporary, beside = (folder.with_name(f".{folder.name}.partial") for folder in (out, truth))
    for folder in (temporary, beside):
        shutil.rmtree(folder, ignore_errors=True)
    for modality in MODALITIES:
        (temporary / modality).mkdir(parents=True)
        (beside / shown.FOLDER / modality).mkdir(parents=True)
    drawn = list(_draw_all(everyone, temporary, beside, seed, style))
    _write_table(temporary / "nodules.csv", (row for nodules, _ in drawn for row in nodules))
    _write_table(temporary / "images.csv", (row for _, images in drawn for row in images))
    made: dict[str, object] = {"patients": patients, "external_patients": external_patients}
    made |= {"seed": seed, "signal": signal}
    if informative != MODALITIES:  # the bytes of the usual phantom are older than this
        made["informative"] = list(informative)
    if interaction:
        made["interaction"] = interaction
    if style != "first":
        made["style"] = style
    write_json(temporary / "phantom.json", {**made, "note": "generated pictures, not patients"})
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)
    truth.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(truth / shown.FOLDER, ignore_errors=True)
    os.replace(beside / shown.FOLDER, truth / shown.FOLDER)
    beside.rmdir()
    _write_truth(truth, everyone, rule)


def _draw_all(
    patients: Sequence[Patient], folder: Path, truth: Path, seed: int, style: StyleName
) -> Iterable[tuple[Rows, Rows]]:
    tasks = [(patient, folder, truth, seed, style) for patient in patients]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        drawn = pool.map(draw_patient, tasks, chunksize=4)
        yield from track(drawn, "phantom", total=len(tasks), console=Console(stderr=True))


def _write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    buffer = io.StringIO()
    table = list(rows)
    writer = csv.DictWriter(buffer, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def _write_truth(folder: Path, patients: Sequence[Patient], rule: latents.Rule) -> None:
    rows = (
        {
            "patient_id": patient.patient_id,
            "cohort": patient.cohort,
            **patient.latents.factors,
            "us_score": round(patient.latents.us, 6),
            "ct_score": round(patient.latents.ct, 6),
            **{f"p_{site}": round(latents.probability(patient.latents, site, rule), 6) for site in SITES},
        }
        for patient in patients
    )
    _write_table(folder / "latents.csv", rows)
    write_json(folder / "bayes.json", latents.bayes_auc(rule))
