"""Measures what the networks of a project read from the pictures, and what is made of it when they answer.

    python benchmarks/reading.py PROJECT

PROJECT is a folder in which `dgfnet crossval` has run; nothing is trained, and nothing there is changed.
Five tables are printed, and written to artifacts/benchmarks/reading.json of this repository:

images    pooled out-of-fold AUC of every network, once from the pair with the largest nodules and once from
          all images, and the difference, paired over nodules (clustered DeLong)
external  AUC on the external cohort of one fold's network (the mean over the folds) and of the average of all
          folds' networks, from the largest pair and from all images
reading   R2 with which a ridge regression predicts each measured feature of a nodule, and on a phantom each
          true factor, from the values of a network's encoder before fusion: mean over the folds
truth     on a phantom, the AUC of the true scores of US, of CT and of both, among main and external patients
follow    on a phantom, for every true factor the measured feature that follows it best among main patients,
          and the rank correlation of the two among main and among external ones

R2 is of held-out nodules by a network that never saw their patients; the regression is fitted on values of
the nodules that the network was trained on, its penalty by leave-one-out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from machine import machine
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dgfnet.cohort.records import Cohort
from dgfnet.cohort.screened import load_screened
from dgfnet.dataset.pairs import Nodules, evaluation_batches, pairs_of
from dgfnet.files import write_json
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import auc_difference
from dgfnet.network.variants import DGFNet
from dgfnet.parallel import workers
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.build import build
from dgfnet.results import MEASURED, load_nodules, load_results
from dgfnet.settings import Settings, load
from dgfnet.sweep.plan import classification, gather, places
from dgfnet.tabular import design
from dgfnet.training.hardware import choose
from dgfnet.training.inference import BATCH, predict
from dgfnet.training.partition import select, split
from dgfnet.training.start import restore
from dgfnet.vocabulary import SPECS, VARIANTS, Modality, Scored, Site, Variant

ROOT = Path(__file__).parents[1]
IMAGES: tuple[Scored, ...] = ("largest", "all")
FACTORS: dict[Modality, tuple[str, ...]] = {
    "us": ("hypoechogenicity", "irregularity", "tallness", "microcalcification"),
    "ct": ("enhancement", "extension", "nodes"),
}
TABLES = ("images", "external", "reading", "truth", "follow")
PENALTIES = np.logspace(-2, 4, 13)


def main() -> None:
    """Measures the three tables of a project."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("project", type=Path)
    settings = load(parser.parse_args().project / "params.yaml")
    found: dict[str, Any] = {"machine": machine(), **{name: [] for name in TABLES}}
    with TemporaryDirectory() as folder:
        outside = _external(settings, Path(folder))
        for site in settings.base.sites:
            for variant in (name for name in load_results(settings, site) if name in VARIANTS):
                _one(settings, site, variant, outside, found)
        factors = settings.root / settings.base.truth / "latents.csv"
        if factors.is_file() and outside is not None:
            truth = pd.read_csv(factors, dtype={"patient_id": str}).set_index("patient_id")
            found["truth"] = _truth(settings, truth)
            found["follow"] = _follow(settings, outside[0], truth)
    for name in TABLES:
        Console(width=140).print(f"{name}\n{pd.DataFrame(found[name]).round(3).to_string(index=False)}\n")
    write_json(ROOT / "artifacts/benchmarks/reading.json", found)


def _external(settings: Settings, folder: Path) -> tuple[Archive, pd.DataFrame] | None:
    """Preprocesses the external nodules; None without any."""
    screened = load_screened(settings)
    nodules = tuple(nodule for nodule in screened.nodules if nodule.cohort == "external")
    if not nodules:
        return None
    cohort = Cohort(screened.root, nodules)
    archive = build(cohort, settings.preprocess, folder, workers(settings.resources.memory_mb), True)
    table = load_nodules(settings).set_index("nodule_id").loc[[nodule.nodule_id for nodule in nodules]]
    return archive, table.reset_index()


def _one(
    settings: Settings,
    site: Site,
    variant: Variant,
    outside: tuple[Archive, pd.DataFrame] | None,
    found: dict[str, list[dict[str, Any]]],
) -> None:
    """Adds the rows of one variant at one site."""
    inputs, where, hardware = gather(settings, (variant,)), places(settings), choose("auto")
    archive = Archive.open(where.archive)
    inside: dict[Scored, list[pd.DataFrame]] = {images: [] for images in IMAGES}
    beyond: dict[Scored, list[NDArray[np.float64]]] = {images: [] for images in IMAGES}
    scores: list[dict[tuple[str, str], float]] = []
    strangers = None if outside is None else select(outside[1], outside[0], site)
    for fold in range(inputs.fold_count):
        task, _ = classification(settings, inputs, site, variant, fold)
        model = restore(task, where)
        training, held_out = split(task, where, archive)
        for images in IMAGES:
            own = predict(model, archive, held_out, hardware, images, segment=False).probability
            table = pd.DataFrame({"patient": held_out.patients, "label": held_out.labels, "p": own})
            inside[images].append(table)
            if outside is not None and strangers is not None:
                other = predict(model, outside[0], strangers, hardware, images, segment=False).probability
                beyond[images].append(np.log(other / (1 - other)))
        if isinstance(model, DGFNet) and not SPECS[variant].parents:
            scores.append(_read(settings, model, archive, training, held_out))
    name = {"site": site, "variant": variant}
    pooled = {images: pd.concat(tables, ignore_index=True) for images, tables in inside.items()}
    found["images"].append(name | _images(pooled, settings.base.confidence))
    if strangers is not None:
        known = ~np.isnan(strangers.labels)
        found["external"].append(name | _folds(strangers.labels[known], beyond, known))
    for key in scores[0] if scores else ():
        values = [score[key] for score in scores]
        found["reading"].append(name | {"kind": key[0], "what": key[1], "r2": float(np.mean(values))})


def _images(pooled: dict[Scored, pd.DataFrame], confidence: float) -> dict[str, float]:
    largest, every = pooled["largest"], pooled["all"]
    gap = auc_difference(every["label"], every["p"], largest["p"], every["patient"], confidence)
    areas = {images: auc(table["label"], table["p"]) for images, table in pooled.items()}
    return areas | {"gain": gap.estimate, "low": gap.low, "high": gap.high}


def _folds(
    label: NDArray[np.float32], beyond: dict[Scored, list[NDArray[np.float64]]], known: NDArray[np.bool_]
) -> dict[str, float]:
    rows: dict[str, float] = {}
    for images, odds in beyond.items():
        rows[f"one fold, {images}"] = float(np.mean([auc(label, own[known]) for own in odds]))
        rows[f"ensemble, {images}"] = auc(label, np.mean(odds, axis=0)[known])
    return rows


def _truth(settings: Settings, truth: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns per cohort and site the AUC of the true scores."""
    rows = []
    for (cohort, table), site in product(load_nodules(settings).groupby("cohort"), settings.base.sites):
        known = table[table[f"lnm_{site}"].notna()]
        own = truth.loc[known["patient_id"]]
        scores = {"us": "us_score", "ct": "ct_score", "both": f"p_{site}"}
        areas = {name: auc(known[f"lnm_{site}"], own[column]) for name, column in scores.items()}
        rows.append({"cohort": cohort, "site": site, "n": len(known)} | areas)
    return rows


def _follow(settings: Settings, outside: Archive, truth: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns per true factor the measured feature that follows it best, and how well in both cohorts."""
    folders = {"main": settings.artifacts("preprocess"), "external": outside.folder}
    measured, patients = {}, load_nodules(settings).set_index("nodule_id")
    for cohort, folder in folders.items():
        nodules = patients.index[patients["cohort"] == cohort].tolist()
        table = pd.read_parquet(folder / MEASURED)
        measured[cohort] = design.measured(Archive.open(folder), table, nodules)
    rows = []
    for modality, factor in ((name, factor) for name, factors in FACTORS.items() for factor in factors):
        by_cohort = {
            cohort: table.filter(regex=f"^{modality}_").corrwith(
                truth.loc[patients.loc[table.index, "patient_id"], factor].set_axis(table.index),
                method="spearman",
            )
            for cohort, table in measured.items()
        }
        best = by_cohort["main"].abs().idxmax()
        rows.append({"factor": factor, "feature": best} | {name: r[best] for name, r in by_cohort.items()})
    return rows


@torch.inference_mode()
def _values(model: DGFNet, archive: Archive, nodules: Nodules) -> NDArray[np.float64]:
    """Returns the encoder's values of a network of one modality, mean over the images of a nodule, (N, F)."""
    pairs = pairs_of(nodules, model.modalities, "all")
    parts = [
        model.features(batch.inputs)[0].double()
        for batch in evaluation_batches(archive, nodules, pairs, BATCH)
    ]
    return pairs.average(torch.cat(parts).numpy().T).T


def _read(
    settings: Settings, model: DGFNet, archive: Archive, training: Nodules, held_out: Nodules
) -> dict[tuple[str, str], float]:
    """Returns R2 of every quantity, by kind (measured, true) and name."""
    (modality,) = model.modalities
    inside, outside = _values(model, archive, training), _values(model, archive, held_out)
    result = {}
    for kind, table in _quantities(settings, archive, modality).items():
        for name in table:
            known = table[name].reindex(training.ids), table[name].reindex(held_out.ids)
            fitted, tested = (column.notna().to_numpy() for column in known)
            if fitted.sum() < 20 or tested.sum() < 20 or known[0].nunique() < 2:
                continue
            regression = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
            regression.fit(inside[fitted], known[0].to_numpy()[fitted])
            guess = regression.predict(outside[tested])
            result[kind, str(name)] = float(r2_score(known[1].to_numpy()[tested], guess))
    return result


def _quantities(settings: Settings, archive: Archive, modality: Modality) -> dict[str, pd.DataFrame]:
    """Returns a row per nodule of what can be read from its pictures: measured, and on a phantom true."""
    tables = {}
    path = settings.artifacts("preprocess", "measured.parquet")
    if path.is_file():
        measured = pd.read_parquet(path)
        measured = (
            measured[measured["modality"] == modality].set_index("row").drop(columns=["modality", "unit"])
        )
        owner = archive.rows(modality).set_index("row")["nodule_id"]
        tables["measured"] = measured.dropna(axis=1, how="all").groupby(owner).median()
    truth = settings.root / settings.base.truth / "latents.csv"
    if truth.is_file():
        factors = pd.read_csv(truth, dtype={"patient_id": str}).set_index("patient_id")
        whose = archive.rows(modality).drop_duplicates("nodule_id").set_index("nodule_id")["patient_id"]
        chosen: Sequence[str] = [name for name in FACTORS[modality] if name in factors]
        tables["true"] = factors[chosen].reindex(whose).set_axis(whose.index)
    return tables


if __name__ == "__main__":
    main()
