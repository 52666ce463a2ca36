"""`dgfnet predict`: a champion answers for a cohort folder, or for one case by its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet import files
from dgfnet.cohort.manifest import read_cohort
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import Box
from dgfnet.parallel import map_in_order, workers
from dgfnet.registry.champion import Champion, load_champion
from dgfnet.serving.answers import COLUMNS, answer, explain
from dgfnet.serving.cases import Case, Reading, loose_image, read_moved, read_nodule, read_spacing
from dgfnet.serving.overlay import draw
from dgfnet.serving.record import record_of_options
from dgfnet.settings import Settings
from dgfnet.vocabulary import Modality, Site


def predict(
    settings: Settings, site: Site, folder: Path, out: Path, nodule: str | None, overlays: Path | None
) -> pd.DataFrame:
    """Scores nodules of a cohort folder and writes them to a CSV file.

    Args:
        settings: for the registry.
        site: whose champion scores.
        folder: a cohort folder; labels may be empty, and are not looked at.
        out: the CSV file.
        nodule: one nodule's id, None for all.
        overlays: folder for a picture of every scored nodule, None for no pictures.

    Returns:
        Columns nodule_id, patient_id, those of `serving.answers.answer`, model, version. A nodule with an
        image that cannot be used, or without one, has no numbers; its statement says why.

    Raises:
        InputError: when the cohort folder, the registry or the place to write to cannot be used.
    """
    _check_writable(out, overlays)
    if out.resolve() in {(folder / name).resolve() for name in ("nodules.csv", "images.csv")}:
        raise InputError(f"{out}: belongs to the cohort; expected the path of another CSV file")
    cohort = read_cohort(folder, boxes=True)
    chosen = tuple(candidate for candidate in cohort.nodules if nodule in (None, candidate.nodule_id))
    if not chosen:
        raise InputError(f"{folder}: no nodule {nodule}; it has {len(cohort.nodules)} others")
    champion = load_champion(settings, site)
    model = champion.model
    work = partial(read_nodule, reading=Reading.of(model), moves=True)
    cases = list(map_in_order(work, chosen, workers(settings.resources.memory_mb), "predict"))
    table = _answered(champion, cases)
    table.insert(0, "nodule_id", [candidate.nodule_id for candidate in chosen])
    table.insert(1, "patient_id", [candidate.patient_id for candidate in chosen])
    files.write_csv(table, out)
    if overlays is not None:
        _draw_all(champion, cases, table, overlays)
    return table


def predict_case(
    settings: Settings,
    site: Site,
    pictures: Mapping[Modality, Sequence[tuple[Path, Path | Box]]],
    out: Path | None,
    overlays: Path | None,
    segment: str | None = None,
    spacings: Mapping[Modality, float] | None = None,
    record: Sequence[str] = (),
) -> pd.DataFrame:
    """Scores one case by its files.

    Args:
        settings: for the registry.
        site: whose champion scores.
        pictures: images, each with the mask of the nodule or a box around it.
        out: the CSV file, None for none.
        overlays: folder for a picture, None for no picture.
        segment: the region of the masks that is the nodule.
        spacings: side of the pixels in mm, where the files do not say.
        record: what is known beside pictures, texts such as `age=47`.

    Raises:
        InputError: when a file cannot be used, or the champion has no model for what the case shows.
    """
    _check_writable(out, overlays)
    files_read = [file for pairs in pictures.values() for pair in pairs for file in pair]
    sources = {file.resolve() for file in files_read if isinstance(file, Path)}
    if out is not None and out.resolve() in sources:
        raise InputError(f"{out}: is one of the images; expected the path of another file")
    sides = {name: read_spacing(side, f"--spacing {name}") for name, side in (spacings or {}).items()}
    images = [
        loose_image(
            modality,
            image.resolve(),
            mark.resolve() if isinstance(mark, Path) else mark,
            segment,
            sides.get(modality),
        )
        for modality, pairs in pictures.items()
        for image, mark in pairs
    ]
    champion = load_champion(settings, site)
    model = champion.model
    known = record_of_options(record, model.record)
    case = replace(read_moved(images, Reading.of(model)), record=known)
    table = _answered(champion, [case])
    if table["probability"].isna().any():
        raise InputError(table["statement"][0])
    if out is not None:
        files.write_csv(table, out)
    if overlays is not None:
        _draw_all(champion, [case], table.assign(nodule_id="case"), overlays)
    return table


def _answered(champion: Champion, cases: Sequence[Case]) -> pd.DataFrame:
    """Returns the answers as a table for people: warnings are one text."""
    table = pd.DataFrame(answer(champion.model, cases), columns=list(COLUMNS))
    table["decision"] = table["decision"].astype("Int64")
    table["warnings"] = ["; ".join(warnings) for warnings in table["warnings"]]
    return table.assign(model=champion.name, version=champion.version)


def _draw_all(champion: Champion, cases: Sequence[Case], table: pd.DataFrame, folder: Path) -> None:
    """Draws a picture per scored nodule; numbered, for ids may hold what file names cannot."""
    rows: list[Any] = table.to_dict("records")
    for place, (case, row) in enumerate(zip(cases, rows, strict=True)):
        if case.chosen and not pd.isna(row["probability"]):
            name = "".join(letter if letter.isalnum() else "_" for letter in str(row["nodule_id"]))[:80]
            maps = explain(champion.model, case)
            draw(case, row, maps, champion.preprocess, folder / f"{place:04d}_{name}.png")


def _check_writable(out: Path | None, overlays: Path | None) -> None:
    """Refuses places that cannot be written to, before the work and not after it."""
    if out is not None and (out.is_dir() or not _open_to_us(out.parent)):
        raise InputError(f"{out}: cannot be written; expected the path of a CSV file")
    if overlays is not None and not _open_to_us(overlays):
        raise InputError(f"{overlays}: cannot be written; expected the path of a folder")


def _open_to_us(folder: Path) -> bool:
    """Returns True when files can be written to the folder, it and those above it made when absent."""
    path = folder.resolve()
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)
