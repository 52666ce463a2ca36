"""The stage `audit`: leaks stop the pipeline, shortcuts are reported."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet import files, provenance
from dgfnet.audit.copies import find_copies
from dgfnet.audit.measurements import Measurements, measure, table
from dgfnet.audit.shortcuts import Baseline, ColumnAlone, baselines, columns_alone
from dgfnet.cohort.folds import Folds
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image
from dgfnet.cohort.records import Cohort, Image
from dgfnet.cohort.screened import load_screened, written_upon
from dgfnet.cohort.screening.decisions import DECISIONS, name_of, read_decisions
from dgfnet.cohort.sheet import caption, stack
from dgfnet.errors import InputError
from dgfnet.parallel import map_in_order, workers
from dgfnet.results import required, sources
from dgfnet.settings import Settings
from dgfnet.vocabulary import MODALITIES

SHOWN = 10  # pairs told in the message; all are in the table
COLUMNS = [
    *("modality", "correlation", "leak", "change"),
    *(f"{name}_{side}" for side in "ab" for name in ("patient_id", "nodule_id", "image", "slice")),
]


def run(settings: Settings) -> None:
    """Writes artifacts/audit: audit.json, same_picture.csv and, when there are such pairs, same_picture.png.

    Raises:
        InputError: when pictures of two patients are the same, or text in a picture may tell its label; the
            artifacts show which.
    """
    cohort = load_screened(settings)
    folds = Folds.read(required(settings, "cohort", "folds.csv"))
    folder = settings.artifacts("audit")
    folder.mkdir(parents=True, exist_ok=True)
    processes = workers(settings.resources.memory_mb)
    measured = [
        image for images in map_in_order(measure, cohort.nodules, processes, "audit") for image in images
    ]
    different = read_decisions(read_cohort(settings.data)).different
    written = written_upon(settings)
    alike = _pairs(measured, folds, settings.audit.same_picture, processes)
    pairs = [pair for pair in alike if _names(pair, cohort) not in different]
    shortcuts, columns = _shortcuts(cohort, measured, folds, settings)
    table = pd.DataFrame([_row(pair, cohort.root) for pair in pairs], columns=COLUMNS)
    files.write_csv(table, folder / "same_picture.csv")
    sheet = folder / "same_picture.png"
    sheet.unlink(missing_ok=True)
    if pairs:
        _write_sheet(sheet, pairs)
    files.write_json(
        folder / "audit.json",
        {
            "images": {name: sum(image.source.modality == name for image in measured) for name in MODALITIES},
            "images_not_read": sum(len(nodule.images) for nodule in cohort.nodules) - len(measured),
            "same_picture": {
                "threshold": settings.audit.same_picture,
                "pairs": len(pairs),
                "decided_different": len(alike) - len(pairs),
            },
            "written_upon": len(written),
            "blocks": _blocks(pairs, written),
            "baselines": [vars(shortcut) | {"auc": vars(shortcut.auc)} for shortcut in shortcuts],
            "columns": {
                "limit": settings.audit.column_auc,
                "alone": [vars(column) | {"auc": vars(column.auc)} for column in columns],
            },
        },
    )
    tables = (
        settings.artifacts("cohort", name) for name in ("images.parquet", "suspicious.csv", "folds.csv")
    )
    provenance.write(folder, settings, ("base", "audit"), made_from=sources(settings, *tables))
    _report(shortcuts)
    _report_columns(columns, settings.audit.column_auc)
    if pairs or written:
        said = [_message(pairs, sheet)] if pairs else []
        raise InputError("\n".join(said + ([_written_message(written, settings)] if written else [])))


@dataclass(frozen=True)
class Pair:
    """One picture of two patients, how much the two correlate, how one was changed, where that leaks."""

    a: Measurements
    b: Measurements
    correlation: float
    change: str
    leak: str


def _pairs(measured: list[Measurements], folds: Folds, threshold: float, processes: int) -> list[Pair]:
    pairs = []
    for modality in MODALITIES:
        images = [image for image in measured if image.source.modality == modality]
        prints = [image.fingerprint for image in images]
        for copy in find_copies(prints, [image.patient_id for image in images], threshold, processes):
            a, b = images[copy.first], images[copy.second]
            pairs.append(Pair(a, b, copy.correlation, copy.change, _leak(a, b, folds)))
    return pairs


def _names(pair: Pair, cohort: Cohort) -> frozenset[str]:
    return frozenset((name_of(cohort, pair.a.source), name_of(cohort, pair.b.source)))


def _row(pair: Pair, root: Path) -> dict[str, Any]:
    sides = {
        f"{name}_{side}": value
        for side, image in (("a", pair.a), ("b", pair.b))
        for name, value in (
            ("patient_id", image.patient_id),
            ("nodule_id", image.source.nodule_id),
            ("image", image.source.image.relative_to(root).as_posix()),
            ("slice", image.source.slice),
        )
    }
    return {
        "modality": pair.a.source.modality,
        "correlation": round(pair.correlation, 4),
        "leak": pair.leak,
        "change": pair.change,
        **sides,
    }


def _leak(a: Measurements, b: Measurements, folds: Folds) -> str:
    if a.cohort != b.cohort:
        return "main and external"
    if a.cohort == "external":
        return "two external patients"
    fold_a, fold_b = folds.fold[a.source.nodule_id], folds.fold[b.source.nodule_id]
    return f"folds {fold_a} and {fold_b}" if fold_a != fold_b else f"two patients of fold {fold_a}"


def _shortcuts(
    cohort: Cohort, measured: list[Measurements], folds: Folds, settings: Settings
) -> tuple[list[Baseline], list[ColumnAlone]]:
    main = [nodule for nodule in cohort.nodules if nodule.cohort == "main"]
    rows = table(main, measured)
    attributes = pd.DataFrame([dict(nodule.attributes) for nodule in main], index=rows.index, dtype=object)
    fold = pd.Series(dict(folds.fold)).reindex(rows.index)
    alone, columns = [], []
    for site in settings.base.sites:
        alone += baselines(rows, fold, site, settings.base.confidence)
        columns += columns_alone(rows, attributes, fold, site, settings.base.confidence)
    return alone, columns


def _report(shortcuts: list[Baseline]) -> None:
    """Prints a line per baseline; a warning where the acquisition predicts the label."""
    for shortcut in shortcuts:
        auc = shortcut.auc
        warning = shortcut.kind == "acquisition" and auc.low > 0.5
        print(
            f"{'WARNING: ' if warning else ''}{shortcut.site}, {shortcut.kind} alone ({shortcut.model}): AUC "
            f"{auc.estimate:.3f} ({auc.low:.3f}-{auc.high:.3f}), {shortcut.nodules} nodules"
            f"{'; a network can learn that instead of the disease' if warning else ''}",
            file=sys.stderr,
        )


def _report_columns(columns: list[ColumnAlone], limit: float) -> None:
    """Warns of columns of nodules.csv that tell the label by themselves."""
    for column in columns:
        if column.auc.estimate > limit:
            print(
                f"WARNING: {column.site}, column {column.column!r} of nodules.csv alone: AUC "
                f"{column.auc.estimate:.3f}, above audit.column_auc {limit:g}; if it was derived from the "
                "label, or written down when that was known, keep it out of crossval.clinical",
                file=sys.stderr,
            )


def _blocks(pairs: list[Pair], written: list[str]) -> list[str]:
    """Returns the reasons that keep `pretrain` from training, a phrase each."""
    reasons = [f"{len(pairs)} pair(s) of pictures are the same in two patients"] if pairs else []
    return reasons + ([f"{len(written)} picture(s) are written upon and undecided"] if written else [])


def _written_message(written: list[str], settings: Settings) -> str:
    shown = ", ".join(written[:SHOWN]) + (" ..." if len(written) > SHOWN else "")
    return (
        f"text is written into what the network sees of {len(written)} picture(s), and may tell the label: "
        f"{shown}; look at {settings.artifacts('cohort', 'suspicious.png')}, decide in {DECISIONS} of the "
        f"cohort (image, slice, other, decision: keep or set_aside), then run the stage cohort again"
    )


def _message(pairs: list[Pair], sheet: Path) -> str:
    lines = [f"{len(pairs)} pair(s) of pictures are the same in two patients, which leaks:"]
    for pair in pairs[:SHOWN]:
        a, b = (f"{image.source.image.name} of patient {image.patient_id}" for image in (pair.a, pair.b))
        lines.append(f"{a} and {b} ({pair.change}; {pair.leak}, correlation {pair.correlation:.3f})")
    if len(pairs) > SHOWN:
        lines.append(f"... and {len(pairs) - SHOWN} more in same_picture.csv")
    lines.append(
        f"look at {sheet}; give both one patient_id or drop one, then run the stage cohort again; if they "
        f"show two patients, say so in {DECISIONS} of the cohort (image, slice, other, decision: different)"
    )
    return "\n".join(lines)


def _write_sheet(path: Path, pairs: list[Pair]) -> None:
    """Writes the first pairs side by side."""
    tiles = [_tile(image.source) for pair in pairs[:SHOWN] for image in (pair.a, pair.b)]
    picture = cv2.imencode(".png", stack(tiles, 2))[1].tobytes()
    with files.replacing(path) as temporary:
        temporary.write_bytes(picture)


def _tile(image: Image) -> NDArray[np.uint8]:
    """Stretches a picture to its own range, with the nodule's name below."""
    values = read_image(image).values.astype(np.float32)
    low, high = np.percentile(values, (1, 99))
    grey = np.clip((values - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    return caption(grey, image.nodule_id)
