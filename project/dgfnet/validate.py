"""`dgfnet validate`: a version of the registry on a labelled cohort folder, without any training here."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet import files, tracking
from dgfnet.cohort.manifest import read_cohort
from dgfnet.errors import InputError
from dgfnet.external.measures import level_shares, measure, recalibrated, set_coverage
from dgfnet.recalibrate import answered
from dgfnet.register.results_exchange import write_results
from dgfnet.registry.champion import Champion, attach, load_version
from dgfnet.registry.facts import external_values, with_limits
from dgfnet.registry.stored import chosen_version
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site


def validate(
    settings: Settings, site: Site, version: str, folder: Path, out: Path | None, key: Path | None
) -> str:
    """Measures a version on a cohort folder, and keeps the results with it; returns them in words.

    A nodule counts when the model itself answers it, with both modalities if it is a fusion. Boxes may stand
    for masks.

    Args:
        settings: for the registry.
        site: of the model.
        version: number, or `champion`.
        folder: a cohort folder with labels of the site.
        out: file that gets the results, signed; None for no file.
        key: private Ed25519 key, PEM, that signs them.

    Raises:
        InputError: when there is no such version, an image cannot be used, too few nodules of either class
            are answered, or only one of `out` and `key` is given.
    """
    if (out is None) != (key is None):
        raise InputError("--out and --key belong together: a file of results is signed")
    nodules = read_cohort(folder, boxes=True).nodules
    client = tracking.existing_registry(settings)
    registered = chosen_version(client, site, version)
    champion = load_version(client, registered)
    every = answered(settings, site, champion, nodules)
    table = every[every["whole"]]
    table = table.assign(prediction_set=champion.model.sets(table["probability"].to_numpy(float)))
    needed = settings.external.minimum_per_class
    for value in (0, 1):
        if (count := int((table["label"] == value).sum())) < needed:
            raise InputError(
                f"{folder}: {count} answered nodules have lnm_{site} {value}, at least {needed} are needed "
                f"(external.minimum_per_class); {len(nodules) - len(table)} of {len(nodules)} are left out"
            )
    refused = every[every["level"] == "no answer"]
    results = _measured(settings, champion, table, refused, len(nodules))
    digest = hashlib.md5(  # names the cohort, as DVC's hashes do
        b"".join((folder / name).read_bytes() for name in ("nodules.csv", "images.csv")),
        usedforsecurity=False,
    ).hexdigest()
    with tempfile.TemporaryDirectory(prefix="dgfnet-validate-") as place:
        columns = ["nodule_id", "patient_id", "label", "probability", "level", "prediction_set"]
        files.write_csv(table[columns], Path(place) / "predictions.csv")
        files.write_json(Path(place) / "metrics.json", results)
        attach(
            settings,
            champion,
            site,
            external_values(results["external"]),
            digest,
            "a cohort folder",
            Path(place),
        )
    lines = [_said(champion, results)]
    if out is not None and key is not None:
        signer = write_results(registered, site, results, out, key)
        lines.append(
            f"{out}: results without patients, signed with the key {signer}; there: dgfnet import {out.name}"
        )
    return "\n".join(lines)


def _measured(
    settings: Settings, champion: Champion, table: pd.DataFrame, refused: pd.DataFrame, nodules: int
) -> dict[str, Any]:
    """Returns what is measured: of the whole cohort alone, so that it can travel."""
    threshold = float(champion.metadata["threshold"])
    return {
        "nodules": len(table),
        "patients": int(table["patient_id"].nunique()),
        "left_out": nodules - len(table),
        "threshold": threshold,
        "external": measure(table, threshold, settings.base.confidence),
        "recalibrated": recalibrated(table),
        "levels": level_shares(pd.concat([table, refused])),
        "sets": set_coverage(table, champion.metadata),
    }


def _said(champion: Champion, results: dict[str, Any]) -> str:
    outside = results["external"]
    return (
        f"{champion.name} version {champion.version} on {results['nodules']} nodules of "
        f"{results['patients']} patients, {outside['positives']} with metastasis "
        f"({results['left_out']} left out): "
        f"AUC {with_limits(external_values(outside), 'auc')}, sensitivity {outside['sensitivity']:.2f}, "
        f"specificity {outside['specificity']:.2f}, calibration slope {outside['calibration']['slope']:.2f}, "
        f"{results['levels']['no answer']:.0%} without an answer"
    )
