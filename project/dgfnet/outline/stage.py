"""The stage `outline`: a network per modality and fold that outlines a nodule in a box.

It knows neither label nor site. A registered version brings the networks of one fold, for cases that come
with a box in place of a mask.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet import provenance
from dgfnet.cohort.folds import Folds
from dgfnet.cohort.records import Cohort
from dgfnet.cohort.screened import load_screened
from dgfnet.files import write_csv
from dgfnet.outline.boxed import Boxed
from dgfnet.outline.export import graph_of
from dgfnet.outline.fit import quality, train
from dgfnet.outline.network import restore_outline, save_outline
from dgfnet.outline.outliner import Outliner, Radii
from dgfnet.parallel import cores, map_in_order, workers
from dgfnet.preprocess.archive import Archive, centre
from dgfnet.preprocess.build import build
from dgfnet.results import OUTLINES, outline_weights, required, sources
from dgfnet.sections.networks import OutlineSettings
from dgfnet.settings import Settings, fingerprint
from dgfnet.vocabulary import Modality

FEWEST = 8  # pictures to learn from; with fewer there is no network
SECTIONS = ("base", "preprocess", "network", "outline")


@dataclass(frozen=True)
class Part:
    """The data of one network.

    Attributes:
        modality: of the pictures.
        fold: held out.
        training: rows of the archive.
        held_out: rows of the archive.
        seed: of its training.
    """

    modality: Modality
    fold: int
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    seed: int


def run(settings: Settings) -> None:
    """Writes artifacts/outline: <modality>/fold<k>.safetensors, and outline.csv, how well each outlines.

    Pictures of the main cohort alone are learned from. With `outline.steps` 0 there is no network and the
    table is empty. Where networks read masks, boxed/ is an archive of the main cohort as if its nodules had
    come with boxes, outlined by the network that held their fold out.

    Raises:
        InputError: when an earlier stage has not run.
    """
    folder, where = settings.artifacts("outline"), settings.artifacts("preprocess")
    folds = Folds.read(required(settings, "cohort", "folds.csv"))
    archive = Archive.open(where)
    parts = _parts(settings, archive, folds) if settings.outline.steps else []
    wanted = {outline_weights(settings, part.modality, part.fold) for part in parts}
    for old in folder.rglob("*.safetensors"):
        if old not in wanted:
            old.unlink()
    work = partial(_fit, folder=folder, where=where, settings=settings.outline)
    rows = list(map_in_order(work, parts, min(cores(), max(1, len(parts))), "outline", few=1))
    columns = ["modality", "fold", "pictures", "dice", "ellipse_dice", "moved_dice", "moved_ellipse_dice"]
    write_csv(pd.DataFrame(rows, columns=columns), folder / OUTLINES)
    boxed = folder / "boxed"
    shutil.rmtree(boxed, ignore_errors=True)
    if settings.reads_masks:
        _build_boxed(settings, folds, archive.pictured(), boxed)
    made_from = sources(settings, settings.artifacts("cohort", "folds.csv"), where / "archive.json")
    provenance.write(folder, settings, SECTIONS, made_from=made_from)


def _build_boxed(settings: Settings, folds: Folds, modalities: Sequence[Modality], folder: Path) -> None:
    outliners = {}
    for fold in range(folds.count):
        found = {name: outline_weights(settings, name, fold) for name in modalities}
        graphs = {
            name: Radii(graph_of(restore_outline(path))) for name, path in found.items() if path.is_file()
        }
        outliners[fold] = Outliner(settings.preprocess, graphs)
    screened = load_screened(settings)
    main = tuple(nodule for nodule in screened.nodules if nodule.nodule_id in folds.fold)
    redraw = Boxed({nodule.nodule_id: outliners[folds.fold[nodule.nodule_id]] for nodule in main})
    processes = workers(settings.resources.memory_mb)
    build(Cohort(screened.root, main), settings.preprocess, folder, processes, True, redraw)


def _parts(settings: Settings, archive: Archive, folds: Folds) -> list[Part]:
    parts = []
    for modality in archive.pictured():
        rows = archive.rows(modality)
        # a speck may vanish when a crop is made small
        drawn = centre(archive.planes(modality)[:, 1], archive.size[modality]).any(axis=(1, 2))
        fold = rows["nodule_id"].map(folds.fold).to_numpy(dtype=float)  # nan outside the main cohort
        for number in range(folds.count):
            training = np.flatnonzero((fold != number) & ~np.isnan(fold) & drawn)
            seed = int(fingerprint(settings.base.seed, "outline", modality, number)[:7], 16)
            held_out = np.flatnonzero((fold == number) & drawn)
            if len(training) >= FEWEST and len(held_out):
                parts.append(Part(modality, number, training, held_out, seed))
    return parts


def _fit(part: Part, folder: Path, where: Path, settings: OutlineSettings) -> list[object]:
    """Trains and measures one network; returns its row of the table."""
    archive = Archive.open(where)
    planes = centre(archive.planes(part.modality), archive.size[part.modality])
    model = train(planes, part.training, settings, part.seed)
    save_outline(model, folder / part.modality / f"fold{part.fold}.safetensors")
    measured = quality(model, planes, part.held_out, settings.box_jitter, part.seed)
    return [part.modality, part.fold, len(part.held_out), *measured.values()]
