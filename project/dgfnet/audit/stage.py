"""The stage `audit`: leaks stop the pipeline, shortcuts are told."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet import provenance
from dgfnet.audit.facts import Facts, look, table
from dgfnet.audit.fingerprint import near_identical
from dgfnet.audit.shortcuts import Baseline, baselines
from dgfnet.cohort.folds import Folds
from dgfnet.cohort.readers import read_image
from dgfnet.cohort.records import Cohort, Image
from dgfnet.cohort.stage import load_screened
from dgfnet.errors import InputError
from dgfnet.preprocess.parallel import each
from dgfnet.settings import MODALITIES, Settings

SHOWN = 10  # pairs told in the message; all are in the table
COLUMNS = [
    *("modality", "correlation", "leak"),
    *(f"{name}_{side}" for side in "ab" for name in ("patient_id", "nodule_id", "image", "slice")),
]
TILE = 240  # pixels of a picture in the sheet of pairs


def run(settings: Settings) -> None:
    """Writes artifacts/audit: audit.json, same_picture.csv and, when there are such pairs, same_picture.png.

    Raises:
        InputError: when pictures of two patients are the same; the artifacts show which.
    """
    cohort = load_screened(settings)
    folds = Folds.read(settings.artifacts("cohort", "folds.csv"))
    folder = settings.artifacts("audit")
    folder.mkdir(parents=True, exist_ok=True)
    processes = len(os.sched_getaffinity(0))
    facts = [one for found in each(look, cohort.nodules, processes, "audit") for one in found]
    pairs = _pairs(facts, folds, settings.audit.same_picture)
    found = _baselines(cohort, facts, folds, settings)
    with provenance.replacing(folder / "same_picture.csv") as temporary:
        pd.DataFrame([_row(pair, cohort.root) for pair in pairs], columns=COLUMNS).to_csv(
            temporary, index=False
        )
    sheet = folder / "same_picture.png"
    sheet.unlink(missing_ok=True)
    if pairs:
        _write_sheet(sheet, pairs)
    provenance.write_json(
        folder / "audit.json",
        {
            "images": {name: sum(one.source.modality == name for one in facts) for name in MODALITIES},
            "images_not_read": sum(len(nodule.images) for nodule in cohort.nodules) - len(facts),
            "same_picture": {"threshold": settings.audit.same_picture, "pairs": len(pairs)},
            "baselines": [vars(one) | {"auc": vars(one.auc)} for one in found],
        },
    )
    provenance.write(folder, settings, sections=("base", "audit"))
    _tell(found)
    if pairs:
        raise InputError(_message(pairs, sheet))


@dataclass(frozen=True)
class Pair:
    """One picture of two patients, how much the two correlate, and where that leaks."""

    a: Facts
    b: Facts
    correlation: float
    leak: str


def _pairs(facts: list[Facts], folds: Folds, threshold: float) -> list[Pair]:
    found = []
    for modality in MODALITIES:
        some = [one for one in facts if one.source.modality == modality]
        if some:
            prints = np.stack([one.print_ for one in some])
            for i, j, alike in near_identical(prints, [one.patient_id for one in some], threshold):
                found.append(Pair(some[i], some[j], alike, _leak(some[i], some[j], folds)))
    return found


def _row(pair: Pair, root: Path) -> dict[str, Any]:
    sides = {
        f"{name}_{side}": value
        for side, one in (("a", pair.a), ("b", pair.b))
        for name, value in (
            ("patient_id", one.patient_id),
            ("nodule_id", one.source.nodule_id),
            ("image", one.source.image.relative_to(root).as_posix()),
            ("slice", one.source.slice),
        )
    }
    return {
        "modality": pair.a.source.modality,
        "correlation": round(pair.correlation, 4),
        "leak": pair.leak,
        **sides,
    }


def _leak(a: Facts, b: Facts, folds: Folds) -> str:
    if a.cohort != b.cohort:
        return "main and external"
    if a.cohort == "external":
        return "two external patients"
    one, two = folds.fold[a.source.nodule_id], folds.fold[b.source.nodule_id]
    return f"folds {one} and {two}" if one != two else f"two patients of fold {one}"


def _baselines(cohort: Cohort, facts: list[Facts], folds: Folds, settings: Settings) -> list[Baseline]:
    main = [nodule for nodule in cohort.nodules if nodule.cohort == "main"]
    rows = table(main, facts)
    fold = pd.Series(dict(folds.fold)).reindex(rows.index)
    return [
        one for site in settings.base.sites for one in baselines(rows, fold, site, settings.base.confidence)
    ]


def _tell(found: list[Baseline]) -> None:
    """One line per baseline; a warning where acquisition alone tells the label."""
    for one in found:
        warning = one.kind == "acquisition" and one.auc.low > 0.5
        print(
            f"{'WARNING: ' if warning else ''}{one.site}, {one.kind} alone ({one.model}): AUC "
            f"{one.auc.estimate:.3f} ({one.auc.low:.3f}-{one.auc.high:.3f}), {one.nodules} nodules"
            f"{'; a network can learn that instead of the disease' if warning else ''}",
            file=sys.stderr,
        )


def _message(pairs: list[Pair], sheet: Path) -> str:
    lines = [f"{len(pairs)} pair(s) of pictures are the same in two patients, which leaks:"]
    for pair in pairs[:SHOWN]:
        a, b = (f"{one.source.image.name} of patient {one.patient_id}" for one in (pair.a, pair.b))
        lines.append(f"{a} and {b} ({pair.leak}, correlation {pair.correlation:.3f})")
    if len(pairs) > SHOWN:
        lines.append(f"... and {len(pairs) - SHOWN} more in same_picture.csv")
    lines.append(f"look at {sheet}; give both one patient_id or drop one, then run the stage cohort again")
    return "\n".join(lines)


def _write_sheet(path: Path, pairs: list[Pair]) -> None:
    """The first pairs side by side."""
    rows = [np.hstack([_tile(pair.a.source), _tile(pair.b.source)]) for pair in pairs[:SHOWN]]
    picture = cv2.imencode(".png", np.vstack(rows))[1].tobytes()
    with provenance.replacing(path) as temporary:
        temporary.write_bytes(picture)


def _tile(image: Image) -> NDArray[np.uint8]:
    """A picture stretched to its own range, with the nodule's name below."""
    values = read_image(image).values.astype(np.float32)
    low, high = np.percentile(values, (1, 99))
    grey = np.clip((values - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    scale = TILE / max(grey.shape)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE + 24, TILE + 8), 255, dtype=np.uint8)
    tile[: grey.shape[0], : grey.shape[1]] = grey
    cv2.putText(tile, image.nodule_id[:30], (4, TILE + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return tile
