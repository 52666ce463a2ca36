"""Two public sets, DDTI ultrasound and LIDC lung CT, are paired into a cohort folder of the manifest.

There is no public set with ultrasound, CT and lymph-node status of the same patients. These pairs put real
pixels through every stage, from screening to external validation. They have no clinical meaning: picture
and volume come from different people and organs, and the label, written to `lnm_central`, is how malignant
radiologists thought a nodule looked.

What the pairs assume beyond what `ddti`, `lidc` and `pairing` say:

- The view of a DDTI picture is not recorded: all are entered as transverse. Its scale is not known:
  `spacing_mm` is empty.
- A DDTI case or a LIDC patient stands in one pair: a pair is a patient of its own in folds and external
  cohort.
- `n_malignant_nodules` and `measurement_lines` are empty: unknown. Calipers in some pictures are not noted.
- CT slices carry a lung window; the settings' soft-tissue window would show all of the lung as black.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dgfnet.cohort import ddti as ultrasound
from dgfnet.cohort import lidc as tomography
from dgfnet.cohort.ddti import Case
from dgfnet.cohort.lidc import Lesion
from dgfnet.cohort.manifest import IMAGES, NODULES
from dgfnet.cohort.pairing import Candidate, NotUsed, hold_out, pair
from dgfnet.errors import InputError

WINDOW_LEVEL, WINDOW_WIDTH = -600, 1500  # HU, the usual lung window
# DDTI's words in the cohort's; "well defined", its most frequent, does not say whether a margin is smooth
MARGINS = {"well defined smooth": "smooth"} | dict.fromkeys(
    ("ill defined", "ill- defined", "macrolobulated", "microlobulated", "spiculated"), "non-smooth"
)
SUMMARY, LEFT_OUT = "import.json", "not_used.csv"
NOTICE = (
    "DDTI ultrasound and LIDC lung CT of different people, paired by class: figures have no clinical meaning."
)


@dataclass(frozen=True)
class ImportSummary:
    """What became of two public sets.

    Attributes:
        seed: seed of the pairing and of the held-out part.
        external_share: share of each class that was held out as the external cohort.
        used: counts by `<cohort>_<positive|negative>` for pairs, and `us_images`, `ct_slices`.
        not_used: everything else, one entry each, with its reason.
    """

    seed: int
    external_share: float
    used: Mapping[str, int]
    not_used: tuple[NotUsed, ...]

    def reasons(self) -> dict[str, int]:
        """How many entries were not used for each reason, the most frequent first."""
        counts = Counter(f"{item.source} {item.kind}: {item.reason}" for item in self.not_used)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def pair_ddti_lidc(ddti: Path, lidc: Path, out: Path, seed: int, external_share: float) -> ImportSummary:
    """Writes a cohort folder in which each DDTI case is paired with a LIDC nodule of its class.

    The same arguments give the same folder, byte for byte. The folder appears whole or not at all.

    Args:
        ddti: folder with `images/` and `xml/`.
        lidc: folder with `image/`, `nodule_mask/` and `metadata.csv`.
        out: folder to make; it must not exist or be empty.
        seed: seed of the pairing and of the held-out part.
        external_share: share of the pairs of each class that becomes the external cohort, between 0 and 1.

    Returns:
        What was used and what was not; also written to `out/import.json` and `out/not_used.csv`.

    Raises:
        InputError: for a folder that is not what it should be, an `out` in use, or too few pairs.
    """
    if not 0 < external_share < 1:
        raise InputError(f"external share: found {external_share}, expected a number between 0 and 1")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number from 0")
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; name a new folder or remove it first")
    paths = ultrasound.files(ddti)
    rows, not_used = tomography.read_rows(lidc)
    not_used = ultrasound.strays(ddti, paths) + not_used
    cases, lost_cases = ultrasound.read_cases(_progress(paths, "DDTI cases"))
    lesions, lost_lesions = tomography.open_lesions(_progress(rows, "LIDC nodules"))
    rng = np.random.default_rng(seed)
    pairs = _pair(cases, lesions, rng)
    held = hold_out({case.name: case.label for case, _ in pairs}, external_share, rng)
    not_used += [*lost_cases, *lost_lesions, *_unpaired(cases, lesions, pairs)]
    summary = ImportSummary(seed, external_share, _count(pairs, held), tuple(not_used))
    _write(out, pairs, held, summary)
    return summary


def _progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    return track(items, what, console=Console(stderr=True), transient=True)


def _pair(cases: list[Case], lesions: list[Lesion], rng: np.random.Generator) -> list[tuple[Case, Lesion]]:
    """The pairs in the order of the cases."""
    by_name = {lesion.row.name: lesion for lesion in lesions}
    candidates = [Candidate(name, lesion.row.patient, lesion.row.label) for name, lesion in by_name.items()]
    drawn = pair({case.name: case.label for case in cases}, candidates, rng)
    return [(case, by_name[drawn[case.name]]) for case in cases if case.name in drawn]


def _unpaired(cases: list[Case], lesions: list[Lesion], pairs: list[tuple[Case, Lesion]]) -> list[NotUsed]:
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


def _count(pairs: list[tuple[Case, Lesion]], held: set[str]) -> dict[str, int]:
    parts = Counter(
        f"{'external' if case.name in held else 'main'}_{'positive' if case.label else 'negative'}"
        for case, _ in pairs
    )
    return {
        **dict(sorted(parts.items())),
        "us_images": sum(len(case.views) for case, _ in pairs),
        "ct_slices": sum(len(lesion.slices) for _, lesion in pairs),
    }


def _write(out: Path, pairs: list[tuple[Case, Lesion]], held: set[str], summary: ImportSummary) -> None:
    """Builds the folder beside its place and moves it there when it is complete."""
    building = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        for part in ("us", "ct"):
            (building / part).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        for case, lesion in _progress(pairs, "Cohort"):
            images += _write_us(building, case) + _write_ct(building, case, lesion)
        _table(building / NODULES, [_nodule(case, lesion, case.name in held) for case, lesion in pairs])
        _table(building / IMAGES, images)
        _table(
            building / LEFT_OUT, [asdict(item) for item in summary.not_used], list(NotUsed.__annotations__)
        )
        facts = {
            "notice": NOTICE,
            "seed": summary.seed,
            "external_share": summary.external_share,
            "used": dict(summary.used),
            "not_used": summary.reasons(),
        }
        (building / SUMMARY).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        os.replace(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _nodule(case: Case, lesion: Lesion, external: bool) -> dict[str, Any]:
    sex = case.words.get("sex", "").upper()
    return {
        "patient_id": f"ddti-{case.name}",
        "nodule_id": f"ddti-{case.name}",
        "cohort": "external" if external else "main",
        "lnm_central": case.label,
        "lnm_lateral": "",
        "n_malignant_nodules": "",
        "margin": MARGINS.get(case.words.get("margins", ""), ""),
        "ddti_case": case.name,
        "lidc_patient": lesion.row.patient,
        "lidc_nodule": lesion.row.nodule,
        "tirads": case.tirads,
        "malignancy": lesion.row.malignancy,
        "age": case.words.get("age", ""),
        "sex": sex if sex in {"F", "M"} else "",
        "ddti_margins": case.words.get("margins", ""),
        "composition": case.words.get("composition", ""),
        "echogenicity": case.words.get("echogenicity", ""),
        "calcifications": case.words.get("calcifications", ""),
    }


def _write_us(folder: Path, case: Case) -> list[dict[str, Any]]:
    rows = []
    for view in case.views:
        image, mask = f"us/ddti-{view.name}.png", f"us/ddti-{view.name}_mask.png"
        _png(folder / image, view.pixels)
        _png(folder / mask, view.mask * np.uint8(255))
        rows.append(_image(case, "us", "transverse", image, mask))
    return rows


def _write_ct(folder: Path, case: Case, lesion: Lesion) -> list[dict[str, Any]]:
    image, mask = f"ct/ddti-{case.name}.nii.gz", f"ct/ddti-{case.name}_mask.nii.gz"
    shutil.copyfile(lesion.row.image, folder / image)
    shutil.copyfile(lesion.row.mask, folder / mask)
    known = {
        "spacing_mm": f"{lesion.spacing_mm:.6g}",
        "window_level": WINDOW_LEVEL,
        "window_width": WINDOW_WIDTH,
    }
    return [_image(case, "ct", "axial", image, mask, slice=index, **known) for index in lesion.slices]


def _image(case: Case, modality: str, view: str, image: str, mask: str, **known: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("spacing_mm", "slice", "window_level", "window_width", "measurement_lines"), "")
    start = {
        "nodule_id": f"ddti-{case.name}",
        "modality": modality,
        "view": view,
        "image": image,
        "mask": mask,
    }
    return {**start, **unknown, **known}


def _png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _table(path: Path, rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
