"""Two public sets, DDTI ultrasound and LIDC lung CT, alone or paired, become cohort folders of the manifest.

There is no public set with ultrasound, CT and lymph-node status of the same patients. Pairs put real pixels
through every stage, from screening to external validation. They have no clinical meaning: picture and
volume come from different people and organs, and the label, written to `lnm_central`, is how malignant
radiologists thought a nodule looked. That label is all the sets alone have, too.

What is assumed beyond what `ddti`, `lidc` and `pairing` say:

- The view of a DDTI picture is not recorded: all are entered as transverse. Its scale is not known:
  `spacing_mm` is empty.
- In pairs a DDTI case or a LIDC patient stands once: a pair is a patient of its own in folds and external
  cohort.
- `n_malignant_nodules` and `measurement_lines` are empty: unknown; the screening looks for calipers.
- CT slices carry a lung window; the settings' soft-tissue window would show all of the lung as black.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dgfnet.errors import InputError
from dgfnet.ingest import ddti as ultrasound
from dgfnet.ingest import lidc as tomography
from dgfnet.ingest.ddti import DdtiCase
from dgfnet.ingest.folder import (
    Account,
    NotUsed,
    building,
    image_row,
    png,
    progress,
    unpacked,
    write_account,
)
from dgfnet.ingest.lidc import LidcNodule
from dgfnet.ingest.pairing import Candidate, hold_out, pair

WINDOW_LEVEL, WINDOW_WIDTH = -600, 1500  # HU, the usual lung window
# DDTI's words in the cohort's; "well defined", its most frequent, does not say whether a margin is smooth
MARGINS = {"well defined smooth": "smooth"} | dict.fromkeys(
    ("ill defined", "ill- defined", "macrolobulated", "microlobulated", "spiculated"), "non-smooth"
)
MEANING = "figures have no clinical meaning."
NOTICES = {
    "pairs": f"DDTI ultrasound and LIDC lung CT of different people, paired by class: {MEANING}",
    "ddti": f"DDTI ultrasound; the label is a radiologist's TIRADS, not lymph-node status: {MEANING}",
    "lidc-voi": f"LIDC lung CT; the label is radiologists' rating of lung nodules: {MEANING}",
}

Rows = list[dict[str, Any]]


def pair_ddti_lidc(ddti: Path, lidc: Path, out: Path, seed: int, external_share: float) -> Account:
    """Writes a cohort folder in which each DDTI case is paired with a LIDC nodule of its class.

    The same arguments give the same folder, byte for byte. The folder appears whole or not at all.

    Args:
        ddti: folder or archive with `images/` and `xml/`.
        lidc: folder or archive with `image/`, `nodule_mask/` and `metadata.csv`.
        out: folder to make; it must not exist or be empty.
        seed: seed of the pairing and of the held-out part.
        external_share: share of the pairs of each class that becomes the external cohort, between 0 and 1.

    Returns:
        What was used and what was not; also written to `out/import.json` and `out/not_used.csv`.

    Raises:
        InputError: for a source that is not what it should be, an `out` in use, or too few pairs.
    """
    rng = _generator(seed, external_share)
    with building(out) as folder, _ddti(ddti) as us, _lidc(lidc) as ct:
        (cases, no_us), (lesions, no_ct) = us, ct
        pairs = _pair(cases, lesions, rng)
        held = hold_out({case.name: case.label for case, _ in pairs}, external_share, rng)
        nodules, images = [], []
        for case, lesion in progress(pairs, "Cohort"):
            name, part = f"ddti-{case.name}", "external" if case.name in held else "main"
            nodules.append(_nodule(name, name, part, case.label) | _of_case(case) | _of_lesion(lesion))
            images += _write_us(folder, name, case) + _write_ct(folder, name, lesion)
        not_used = (*no_us, *no_ct, *_unpaired(cases, lesions, pairs))
        return _finish(folder, "pairs", nodules, images, not_used, seed, external_share)


def import_ddti(source: Path, out: Path, seed: int, external_share: float) -> Account:
    """Writes a cohort folder of DDTI alone, ultrasound only; see `pair_ddti_lidc` for the arguments."""
    rng = _generator(seed, external_share)
    with building(out) as folder, _ddti(source) as (cases, not_used):
        held = hold_out({case.name: case.label for case in cases}, external_share, rng)
        nodules, images = [], []
        for case in progress(cases, "Cohort"):
            name, part = f"ddti-{case.name}", "external" if case.name in held else "main"
            nodules.append(_nodule(name, name, part, case.label) | _of_case(case))
            images += _write_us(folder, name, case)
        return _finish(folder, "ddti", nodules, images, tuple(not_used), seed, external_share)


def import_lidc(source: Path, out: Path, seed: int, external_share: float) -> Account:
    """Writes a cohort folder of LIDC VOI alone, CT only; see `pair_ddti_lidc` for the arguments.

    A patient with a positive nodule counts as positive when the external part is drawn.
    """
    rng = _generator(seed, external_share)
    with building(out) as folder, _lidc(source) as (lesions, not_used):
        labels: dict[str, int] = {}
        for lesion in lesions:
            labels[lesion.row.patient] = max(labels.get(lesion.row.patient, 0), lesion.row.label)
        held = hold_out(labels, external_share, rng)
        nodules, images = [], []
        for lesion in progress(lesions, "Cohort"):
            part = "external" if lesion.row.patient in held else "main"
            name = f"lidc-{lesion.row.name}"
            nodules.append(
                _nodule(name, f"lidc-{lesion.row.patient}", part, lesion.row.label) | _of_lesion(lesion)
            )
            images += _write_ct(folder, name, lesion)
        return _finish(folder, "lidc-voi", nodules, images, tuple(not_used), seed, external_share)


def _generator(seed: int, external_share: float) -> np.random.Generator:
    if not 0 < external_share < 1:
        raise InputError(f"external share: found {external_share}, expected a number between 0 and 1")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number from 0")
    return np.random.default_rng(seed)


@contextmanager
def _ddti(source: Path) -> Iterator[tuple[list[DdtiCase], list[NotUsed]]]:
    """Yields the usable cases, and what is not; files can be read inside the block."""
    with unpacked(source, "images", "xml") as folder:
        paths = ultrasound.files(folder)
        cases, lost = ultrasound.read_cases(paths)
        yield cases, [*ultrasound.strays(folder, paths, cases), *lost]


@contextmanager
def _lidc(source: Path) -> Iterator[tuple[list[LidcNodule], list[NotUsed]]]:
    with unpacked(source, "image", "nodule_mask", tomography.TABLE) as folder:
        rows, unusable = tomography.read_rows(folder)
        lesions, lost = tomography.open_nodules(rows)
        yield lesions, [*unusable, *lost]


def _finish(
    folder: Path,
    kind: str,
    nodules: Rows,
    images: Rows,
    not_used: tuple[NotUsed, ...],
    seed: int,
    external_share: float,
) -> Account:
    classes = Counter(
        f"{row['cohort']}_{'positive' if row['lnm_central'] else 'negative'}" for row in nodules
    )
    modalities = Counter(row["modality"] for row in images)
    shown = {"us": "us_images", "ct": "ct_slices"}
    used = dict(sorted(classes.items())) | {
        shown[name]: modalities[name] for name in shown if modalities[name]
    }
    origin = {"source": kind, "notice": NOTICES[kind], "seed": seed, "external_share": external_share}
    account = Account(origin, used, not_used)
    write_account(folder, nodules, images, account)
    return account


def _pair(
    cases: list[DdtiCase], lesions: list[LidcNodule], rng: np.random.Generator
) -> list[tuple[DdtiCase, LidcNodule]]:
    """Draws the pairs, in the order of the cases."""
    by_name = {lesion.row.name: lesion for lesion in lesions}
    candidates = [Candidate(name, lesion.row.patient, lesion.row.label) for name, lesion in by_name.items()]
    drawn = pair({case.name: case.label for case in cases}, candidates, rng)
    return [(case, by_name[drawn[case.name]]) for case in cases if case.name in drawn]


def _unpaired(
    cases: list[DdtiCase], lesions: list[LidcNodule], pairs: list[tuple[DdtiCase, LidcNodule]]
) -> list[NotUsed]:
    taken = {case.name for case, _ in pairs}
    nodules = {lesion.row.name for _, lesion in pairs}
    patients = {lesion.row.patient for _, lesion in pairs}
    lone = [case for case in cases if case.name not in taken]
    spare = [lesion.row for lesion in lesions if lesion.row.name not in nodules]
    return [NotUsed("ddti", "case", case.name, "no LIDC nodule of its class was left") for case in lone] + [
        NotUsed(
            "lidc",
            "nodule",
            row.name,
            "another nodule of its patient is used"
            if row.patient in patients
            else "no DDTI case of its class was left",
        )
        for row in spare
    ]


def _nodule(name: str, patient: str, cohort: str, label: int) -> dict[str, Any]:
    return {
        "patient_id": patient,
        "nodule_id": name,
        "cohort": cohort,
        "lnm_central": label,
        "lnm_lateral": "",
        "n_malignant_nodules": "",
    }


def _of_case(case: DdtiCase) -> dict[str, Any]:
    sex = case.words.get("sex", "").upper()
    return {
        "margin": MARGINS.get(case.words.get("margins", ""), ""),
        "ddti_case": case.name,
        "tirads": case.tirads,
        "age": case.words.get("age", ""),
        "sex": sex if sex in {"F", "M"} else "",
        "ddti_margins": case.words.get("margins", ""),
        "composition": case.words.get("composition", ""),
        "echogenicity": case.words.get("echogenicity", ""),
        "calcifications": case.words.get("calcifications", ""),
    }


def _of_lesion(lesion: LidcNodule) -> dict[str, Any]:
    return {
        "lidc_patient": lesion.row.patient,
        "lidc_nodule": lesion.row.nodule,
        "malignancy": lesion.row.malignancy,
    }


def _write_us(folder: Path, name: str, case: DdtiCase) -> Rows:
    rows = []
    for view in case.views:
        image, mask = f"us/ddti-{view.name}.png", f"us/ddti-{view.name}_mask.png"
        (folder / image).write_bytes(png(view.pixels))
        (folder / mask).write_bytes(png(view.mask * np.uint8(255)))
        rows.append(image_row(name, "us", "transverse", image, mask))
    return rows


def _write_ct(folder: Path, name: str, lesion: LidcNodule) -> Rows:
    image, mask = f"ct/{name}.nii.gz", f"ct/{name}_mask.nii.gz"
    shutil.copyfile(lesion.row.image, folder / image)
    shutil.copyfile(lesion.row.mask, folder / mask)
    cells = {
        "spacing_mm": f"{lesion.spacing_mm:.6g}",
        "window_level": WINDOW_LEVEL,
        "window_width": WINDOW_WIDTH,
    }
    return [image_row(name, "ct", "axial", image, mask, slice=index, **cells) for index in lesion.slices]
