"""Draws and writes one patient: pictures, masks, planes of the truth, and the rows of both tables."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dgfnet.extent import maximum_diameter
from dgfnet.phantom import signal as shown
from dgfnet.phantom.enrolment import STREAMS, Patient
from dgfnet.phantom.lesions import ct_lesion, us_lesion
from dgfnet.phantom.styles import STYLES, Style, StyleName
from dgfnet.phantom.tomography import CtLesion
from dgfnet.phantom.ultrasound import UsLesion, UsScanner

VIEWS = ("transverse", "transverse", "longitudinal", "longitudinal")
SLICES = (-0.55, 0.0, 0.55)
LOCATIONS = {-1: "right lobe", 0: "isthmus", 1: "left lobe"}
CT_STREAM = 2  # of a nodule's own: no US picture changes a draw of CT's
SMOOTH_BELOW = 0.06  # contour waves, share of the radius
PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_COMPRESSION, 1)

Rows = list[dict[str, str | int | float]]


def draw_patient(task: tuple[Patient, Path, Path, int, StyleName]) -> tuple[Rows, Rows]:
    """Draws and writes one patient's pictures and their truth; returns the rows of both tables."""
    patient, folder, truth, seed, name = task
    style = STYLES[name]
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
            else _draw_us(nodule_id, us, patient, style, folder, truth, rng)
        )
        sizes = _measure([mask for _, mask in pictures], style.us_scanners[patient.cohort])
        images += [row for row, _ in pictures]
        if patient.flaw != "missing_modality" or patient.index % 2:
            own = np.random.default_rng([seed, CT_STREAM, STREAMS[patient.cohort], patient.index, number])
            ct = ct_lesion(patient.latents.factors, place, size, own)
            images += _draw_ct(nodule_id, ct, patient, style, folder, truth, own)
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
    lesion: UsLesion,
    patient: Patient,
    style: Style,
    folder: Path,
    truth: Path,
    rng: np.random.Generator,
) -> list[tuple[dict[str, str | int | float], NDArray[np.uint8]]]:
    scanner = style.us_scanners[patient.cohort]
    lines = patient.flaw == "measurement_lines"
    drawn = []
    for number, view in enumerate(VIEWS):
        picture, mask, bits = style.draw_us(lesion, view, lines, scanner, rng)
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
    lesion: CtLesion,
    patient: Patient,
    style: Style,
    folder: Path,
    truth: Path,
    rng: np.random.Generator,
) -> Rows:
    scanner = style.ct_scanners[patient.cohort]
    slices, masks, signals = style.draw_ct(lesion, SLICES, scanner, rng)
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


def _measure(masks: list[NDArray[np.uint8]], scanner: UsScanner) -> dict[str, float]:
    """Measures the largest diameter over all views, and height over width in the first transverse view."""
    if not masks:
        return {}
    boxes = [cv2.boundingRect(mask) for mask in masks]
    return {
        "max_diameter_mm": round(max(map(maximum_diameter, masks)) * scanner.spacing_mm, 2),
        "aspect_ratio": round(boxes[0][3] / boxes[0][2], 3),
    }


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    done, encoded = cv2.imencode(".png", picture, PNG)
    if not done:
        raise OSError(f"{path}: OpenCV could not encode the picture")
    path.write_bytes(encoded.tobytes())
