"""`dgfnet predict`: a champion scores a cohort folder, with or without labels, with or without CT."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet import provenance
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.parallel import cores
from dgfnet.cohort.records import Cohort
from dgfnet.dataset.pairs import centre
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.stage import build
from dgfnet.registry.bundle import Bundle
from dgfnet.registry.champion import Champion, load_champion
from dgfnet.registry.ranges import outside
from dgfnet.settings import MODALITIES, Modality, Settings, Site

WITHOUT = {
    ("us", "ct"): "",
    ("us",): "no CT: scored from ultrasound alone, by the model the fusion was built from",
    ("ct",): "no ultrasound: scored from CT alone, by the model the fusion was built from",
}


def predict(settings: Settings, site: Site, folder: Path, out: Path, nodule: str | None) -> pd.DataFrame:
    """Scores nodules and writes them to a CSV file.

    Args:
        settings: for the registry.
        site: whose champion scores.
        folder: a cohort folder; labels may be empty, and are not looked at.
        out: the CSV file.
        nodule: one nodule's id, None for all.

    Returns:
        Columns nodule_id, patient_id, probability, decision (1 at or above the frozen threshold), threshold,
        variant (whichever scored), statement (what is missing, and what that means), warnings (what of the
        crops lies outside the training's range), model, version.

    Raises:
        InputError: when a nodule has no image that the champion can use, or an image cannot be used.
    """
    if out.is_dir() or not os.access(_nearest(out.parent.resolve()), os.W_OK):
        raise InputError(f"{out}: cannot be written; expected the path of a CSV file")
    cohort = read_cohort(folder)
    chosen = tuple(one for one in cohort.nodules if nodule in (None, one.nodule_id))
    if not chosen:
        raise InputError(f"{folder}: no nodule {nodule}; it has {len(cohort.nodules)} others")
    champion = load_champion(settings, site)
    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.work, prefix="predict-") as place:
        archive = build(Cohort(cohort.root, chosen), champion.preprocess, Path(place), processes=cores())
        rows = pd.concat([_scored(champion, archive, *group) for group in _groups(archive, chosen, champion)])
    table = pd.DataFrame({"nodule_id": [one.nodule_id for one in chosen]})
    table["patient_id"] = [one.patient_id for one in chosen]
    table = table.merge(rows, on="nodule_id", validate="one_to_one")
    table = table.assign(model=champion.name, version=champion.version)
    provenance.write_csv(table, out)
    return table


def _nearest(folder: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return folder if folder.is_dir() else _nearest(folder.parent)


def _groups(
    archive: Archive, nodules: tuple[Any, ...], champion: Champion
) -> list[tuple[tuple[Modality, ...], Bundle, list[str]]]:
    """Nodules by the modalities that they show, and the model for these."""
    largest = {modality: archive.largest(modality) for modality in archive.pictured()}
    groups: dict[tuple[Modality, ...], list[str]] = {}
    for one in nodules:
        shown = tuple(name for name in MODALITIES if one.nodule_id in largest.get(name, {}))
        groups.setdefault(shown, []).append(one.nodule_id)
    found = []
    for shown, ids in groups.items():
        bundle = _model_for(shown, champion)
        if bundle is None:
            raise InputError(
                f"nodule {ids[0]}: found images of {' and '.join(shown) or 'neither us nor ct'}, and "
                f"{champion.name} version {champion.version} has no model for that"
            )
        found.append((shown, bundle, ids))
    return found


def _model_for(shown: tuple[Modality, ...], champion: Champion) -> Bundle | None:
    needed = champion.bundle.model.modalities
    if set(needed) <= set(shown):
        return champion.bundle
    return champion.alone.get(shown[0]) if shown else None


def _scored(
    champion: Champion, archive: Archive, shown: tuple[Modality, ...], bundle: Bundle, ids: list[str]
) -> pd.DataFrame:
    crops: dict[str, NDArray[np.uint8]] = {}
    warnings: list[list[str]] = [[] for _ in ids]
    for modality in bundle.model.modalities:
        largest = archive.largest(modality)
        planes = archive.planes(modality)[[largest[name] for name in ids], 0]
        crops[modality] = np.array(centre(planes, archive.size[modality]))
        told = outside(crops[modality], champion.facts["ranges"][modality])
        for found, more in zip(warnings, told, strict=True):
            found += [f"{modality} {text}" for text in more]
    scored = bundle.score(crops)
    missing = WITHOUT[shown] if bundle is not champion.bundle else ""
    return pd.DataFrame(
        {
            "nodule_id": ids,
            "probability": scored["probability"].to_numpy(),
            "decision": scored["decision"].to_numpy(),
            "threshold": bundle.threshold,
            "variant": bundle.facts["variant"],
            "statement": missing,
            "warnings": ["; ".join(found) for found in warnings],
        }
    )
