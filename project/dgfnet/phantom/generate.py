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

import cv2
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dgfnet.cohort.records import Source
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.phantom import latents, tomography, ultrasound
from dgfnet.phantom import signal as shown
from dgfnet.phantom.enrolment import STREAMS, Patient, enrol_external, enrol_main
from dgfnet.phantom.lesions import ct_lesion, us_lesion
from dgfnet.vocabulary import MODALITIES, SITES

VIEWS = ("transverse", "transverse", "longitudinal", "longitudinal")
SLICES = (-0.55, 0.0, 0.55)
LOCATIONS = {-1: "right lobe", 0: "isthmus", 1: "left lobe"}
CT_STREAM = 2  # of a nodule's own: no US picture changes a draw of CT's
SMOOTH_BELOW = 0.06  # contour waves, share of the radius
PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_COMPRESSION, 1)


def generate(
    out: Path,
    truth: Path,
    patients: int,
    external_patients: int,
    seed: int,
    signal: float,
    informative: latents.Informative,
    interaction: float = 0.0,
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
    drawn = list(_draw_all(everyone, temporary, beside, seed))
    _write_table(temporary / "nodules.csv", (row for nodules, _ in drawn for row in nodules))
    _write_table(temporary / "images.csv", (row for _, images in drawn for row in images))
    made: dict[str, object] = {"patients": patients, "external_patients": external_patients}
    made |= {"seed": seed, "signal": signal}
    if informative != MODALITIES:  # the bytes of the usual phantom are older than this
        made["informative"] = list(informative)
    if interaction:
        made["interaction"] = interaction
    write_json(temporary / "phantom.json", {**made, "note": "generated pictures, not patients"})
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)
    truth.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(truth / shown.FOLDER, ignore_errors=True)
    os.replace(beside / shown.FOLDER, truth / shown.FOLDER)
    beside.rmdir()
    _write_truth(truth, everyone, rule)


Rows = list[dict[str, str | int | float]]


def _draw_all(
    patients: Sequence[Patient], folder: Path, truth: Path, seed: int
) -> Iterable[tuple[Rows, Rows]]:
    tasks = [(patient, folder, truth, seed) for patient in patients]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        drawn = pool.map(_draw_patient, tasks, chunksize=4)
        yield from track(drawn, "phantom", total=len(tasks), console=Console(stderr=True))


def _draw_patient(task: tuple[Patient, Path, Path, int]) -> tuple[Rows, Rows]:
    """Draws and writes one patient's pictures and their truth; returns the rows of both tables."""
    patient, folder, truth, seed = task
    rng = np.random.default_rng([seed, 1, STREAMS[patient.cohort], patient.index])
    nodules: Rows = []
    images: Rows = []
    age, sex = int(np.clip(rng.normal(45, 12), 18, 80)), "F" if rng.random() < 0.75 else "M"
    for number in range(patient.nodules):
        nodule_id = f"{patient.patient_id}-{number + 1}"
        place = int(rng.choice([-1, 1, 0], p=[0.46, 0.44, 0.10]))
        size = float(np.clip(np.exp(rng.normal(np.log(14), 0.3)), 7, 26))
        us = us_lesion(patient.latents.factors, place, size, rng)
        pictures = (
            []
            if patient.flaw == "missing_modality" and patient.index % 2
            else _draw_us(nodule_id, us, patient, folder, truth, rng)
        )
        sizes = _measure([mask for _, mask in pictures], patient.cohort) if pictures else {}
        images += [row for row, _ in pictures]
        if patient.flaw != "missing_modality" or patient.index % 2:
            own = np.random.default_rng([seed, CT_STREAM, STREAMS[patient.cohort], patient.index, number])
            ct = ct_lesion(patient.latents.factors, place, size, own)
            images += _draw_ct(nodule_id, ct, patient, folder, truth, own)
        nodules.append(
            {
                "patient_id": patient.patient_id,
                "nodule_id": nodule_id,
                "cohort": patient.cohort,
                "lnm_central": patient.labels["central"],
                "lnm_lateral": patient.labels["lateral"],
                # never from the label: the column would tell it
                "n_malignant_nodules": patient.nodules if patient.flaw == "several_malignant" else 1,
                "margin": "smooth" if us.irregularity < SMOOTH_BELOW else "non-smooth",
                "location": LOCATIONS[place],
                "max_diameter_mm": sizes.get("max_diameter_mm", ""),
                "aspect_ratio": sizes.get("aspect_ratio", ""),
                "age": age,
                "sex": sex,
            }
        )
    return nodules, images


def _draw_us(
    nodule_id: str,
    lesion: ultrasound.UsLesion,
    patient: Patient,
    folder: Path,
    truth: Path,
    rng: np.random.Generator,
) -> list[tuple[dict[str, str | int | float], NDArray[np.uint8]]]:
    scanner = ultrasound.MAIN if patient.cohort == "main" else ultrasound.EXTERNAL
    lines = patient.flaw == "measurement_lines"
    drawn = []
    for number, view in enumerate(VIEWS):
        picture, mask, bits = ultrasound.draw(lesion, view, lines, scanner, rng)
        name = f"us/{nodule_id}_{number + 1}"
        _write_png(folder / f"{name}.png", picture)
        _write_png(folder / f"{name}_mask.png", mask)
        _write_png(shown.path_of(truth, f"{name}.png", None), bits)
        row: dict[str, str | int | float] = {
            "nodule_id": nodule_id,
            "modality": "us",
            "view": view,
            "image": f"{name}.png",
            "mask": f"{name}_mask.png",
            "spacing_mm": scanner.spacing_mm,
            "slice": "",
            "measurement_lines": int(lines),
        }
        drawn.append((row, mask))
    return drawn


def _draw_ct(
    nodule_id: str,
    lesion: tomography.CtLesion,
    patient: Patient,
    folder: Path,
    truth: Path,
    rng: np.random.Generator,
) -> Rows:
    scanner = tomography.MAIN if patient.cohort == "main" else tomography.EXTERNAL
    slices, masks, signals = tomography.draw(lesion, SLICES, scanner, rng)
    thickness = round(lesion.length_mm / 2 * (SLICES[1] - SLICES[0]), 2)
    affine = np.diag(
        [-scanner.spacing_mm, -scanner.spacing_mm, thickness, 1.0]
    )  # rows to posterior, columns to left
    name = f"ct/{nodule_id}"
    for suffix, values in (("", slices), ("_mask", masks)):
        picture = nib.Nifti1Image(values.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]
        picture.to_filename(folder / f"{name}{suffix}.nii")
    for index, bits in enumerate(signals):
        _write_png(shown.path_of(truth, f"{name}.nii", index), bits)
    return [
        {
            "nodule_id": nodule_id,
            "modality": "ct",
            "view": "axial",
            "image": f"{name}.nii",
            "mask": f"{name}_mask.nii",
            "spacing_mm": scanner.spacing_mm,
            "slice": index,
            "measurement_lines": 0,
        }
        for index in range(len(SLICES))
    ]


def _measure(masks: list[NDArray[np.uint8]], cohort: Source) -> dict[str, float]:
    """Measures the largest diameter over all views, and height over width in the first transverse view."""
    spacing = (ultrasound.MAIN if cohort == "main" else ultrasound.EXTERNAL).spacing_mm
    boxes = [cv2.boundingRect(mask) for mask in masks]
    return {
        "max_diameter_mm": round(max(max(w, h) for _, _, w, h in boxes) * spacing, 2),
        "aspect_ratio": round(boxes[0][3] / boxes[0][2], 3),
    }


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    done, encoded = cv2.imencode(".png", picture, PNG)
    if not done:
        raise OSError(f"{path}: OpenCV could not encode the picture")
    path.write_bytes(encoded.tobytes())


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
