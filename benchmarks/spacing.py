"""Measures what a champion loses at another hospital whose files do not say how large a pixel is.

    python benchmarks/spacing.py PROJECT

PROJECT is a folder in which `dgfnet external` has run with a stacked champion; nothing there is changed. The
external nodules are read once as they are, and once as if images.csv did not say the side of a pixel of US,
of CT, of both (a file that says it itself is believed all the same): AUC, its difference (paired, clustered
DeLong), calls that change, largest change of a probability. Written to artifacts/benchmarks/spacing.json of
this repository.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from machine import machine
from rich.console import Console

from dgfnet.bundle.album import archived, with_record
from dgfnet.cohort.records import Cohort, Nodule
from dgfnet.cohort.screened import load_screened
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import auc_difference
from dgfnet.parallel import workers
from dgfnet.preprocess.build import build
from dgfnet.registry.champion import Champion, load_champion
from dgfnet.results import MEASURED, load_nodules, load_registered
from dgfnet.settings import Settings, load
from dgfnet.vocabulary import Modality, Site

ROOT = Path(__file__).parents[1]
UNKNOWN: dict[str, tuple[Modality, ...]] = {"US": ("us",), "CT": ("ct",), "both": ("us", "ct")}


def forgetful(nodules: tuple[Nodule, ...], modalities: tuple[Modality, ...]) -> tuple[Nodule, ...]:
    """Returns nodules whose manifest does not say the side of a pixel for these modalities."""
    return tuple(
        replace(
            nodule,
            images=tuple(
                replace(image, spacing_mm=None) if image.modality in modalities else image
                for image in nodule.images
            ),
        )
        for nodule in nodules
    )


def answers(settings: Settings, champion: Champion, cohort: Cohort) -> pd.DataFrame:
    """Returns probability and decision of the nodules of a cohort, read as the champion reads pictures."""
    model = champion.model
    with TemporaryDirectory() as folder:
        processes = workers(settings.resources.memory_mb)
        archive = build(cohort, champion.preprocess, Path(folder), processes, measuring=True)
        table = pd.read_parquet(archive.folder / MEASURED)
        ids = [nodule.nodule_id for nodule in cohort.nodules]
        album = archived(archive, table, model.inputs, ids, model.units)
        return model.score(with_record(album, load_nodules(settings), ids, model.record))


def compare(settings: Settings, site: Site) -> list[dict[str, Any]]:
    """Returns a row per modality whose pixels are of unknown size."""
    champion, screened = load_champion(settings, site), load_screened(settings)
    if champion.model.units is None:
        raise InputError(f"{champion.name} version {champion.version} reads no measured features")
    nodules = tuple(
        nodule
        for nodule in screened.nodules
        if nodule.cohort == "external" and nodule.labels[site] is not None
    )
    label = np.array([nodule.labels[site] for nodule in nodules])
    patients = [nodule.patient_id for nodule in nodules]
    known = answers(settings, champion, Cohort(screened.root, nodules))
    rows = []
    for name, modalities in UNKNOWN.items():
        unknown = answers(settings, champion, Cohort(screened.root, forgetful(nodules, modalities)))
        gap = auc_difference(
            label, unknown["probability"], known["probability"], patients, settings.base.confidence
        )
        rows.append(
            {
                **{"site": site, "unknown": name, "n": len(nodules)},
                "known_auc": auc(label, known["probability"]),
                "auc": auc(label, unknown["probability"]),
                **{"difference": gap.estimate, "low": gap.low, "high": gap.high},
                "calls": int((unknown["decision"] != known["decision"]).sum()),
                "largest": float((unknown["probability"] - known["probability"]).abs().max()),
            }
        )
    return rows


def main() -> None:
    """Prints a line per site and modality, and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("project", type=Path)
    settings = load(parser.parse_args().project.resolve() / "params.yaml")
    rows = [
        row
        for site in settings.base.sites
        if load_registered(settings, site) is not None
        for row in compare(settings, site)
    ]
    for row in rows:
        Console().print(
            f"{row['site']} {row['unknown']} of unknown scale: AUC {row['auc']:.3f} in place of "
            f"{row['known_auc']:.3f} ({row['difference']:+.3f}, {row['low']:+.3f} to {row['high']:+.3f}), "
            f"{row['calls']} of {row['n']} calls change, a probability by {row['largest']:.2f} at most",
            soft_wrap=True,
        )
    path = ROOT / "artifacts" / "benchmarks" / "spacing.json"
    write_json(path, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
