"""The stage `external`: the champion from the registry, its frozen threshold, another hospital."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from dgfnet import digests, files, provenance
from dgfnet.bundle.album import archived, with_record
from dgfnet.bundle.model import ScoringModel
from dgfnet.cohort.records import Cohort, Nodule
from dgfnet.cohort.screened import load_screened
from dgfnet.errors import InputError
from dgfnet.external import baselines
from dgfnet.external.casemix import case_mix
from dgfnet.external.measures import level_shares, measure, recalibrated, set_coverage
from dgfnet.imaging.boxes import MOVED
from dgfnet.metrics.discrimination import auc
from dgfnet.outline.boxed import Boxed, changes
from dgfnet.parallel import workers
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.build import build
from dgfnet.preprocess.sample import Redraw
from dgfnet.registry.champion import Champion, attach, champion_version, load_version
from dgfnet.registry.champions import check_noted
from dgfnet.registry.facts import external_values
from dgfnet.results import MEASURED, is_current, load_nodules, load_registered, load_results, load_table
from dgfnet.settings import Settings
from dgfnet.vocabulary import Baseline, Site


def run(settings: Settings) -> None:
    """Writes artifacts/external/<site>/predictions.csv and metrics.json (Table 4: internal beside external).

    Beside the champion stand the models of one modality that it was built from, as they are in its bundle:
    columns us_probability and ct_probability, and `alone` in metrics.json; and the baselines without a
    network that were cross-validated with it: columns size_probability and the like, and `baselines`.
    case_mix.csv says how the two cohorts differ; metrics.json of both sites is what `dvc metrics` shows.

    A site without enough external labels, or without results, is skipped, and skipped.json says so.

    Raises:
        InputError: when the cohort has no external part.
    """
    provenance.same_md5(settings)
    screened = load_screened(settings)
    external = tuple(nodule for nodule in screened.nodules if nodule.cohort == "external")
    if not external:
        raise InputError("no nodule of cohort 'external' passed the screening; nothing to validate on")
    files.write_csv(case_mix(screened.nodules), settings.artifacts("external", "case_mix.csv"))
    compared: dict[str, Any] = {}
    for site in settings.base.sites:
        labelled = tuple(nodule for nodule in external if nodule.labels[site] is not None)
        reason = _why_not(settings, site, labelled)
        if reason:
            Console(stderr=True).print(f"external: {site} skipped: {reason}", soft_wrap=True)
            _clear(settings, site)
            files.write_json(settings.artifacts("external", site, "skipped.json"), {"reason": reason})
            continue
        client, registered = champion_version(settings, site)
        check_noted(settings, site, str(registered.version))
        _clear(settings, site)
        champion = load_version(client, registered)
        compared[site] = _validate(settings, site, champion, Cohort(screened.root, labelled))
    files.write_json(settings.artifacts("external", "metrics.json"), compared)
    provenance.write(settings.artifacts("external"), settings, sections=("base", "external"))


def _clear(settings: Settings, site: Site) -> None:
    """Results of an earlier run do not outlive this one."""
    for name in ("skipped.json", "metrics.json", "predictions.csv", digests.NAME):
        settings.artifacts("external", site, name).unlink(missing_ok=True)


def _why_not(settings: Settings, site: Site, nodules: tuple[Nodule, ...]) -> str | None:
    registered = load_registered(settings, site)
    if registered is None:
        return "no model of this site was registered"
    if not registered["has_champion"]:
        return "no model of this site passed the gate, so it has no champion"
    needed = settings.external.minimum_per_class
    for value in (0, 1):
        count = sum(nodule.labels[site] == value for nodule in nodules)
        if count < needed:
            return f"{count} external nodules have lnm_{site} {value}, at least {needed} are needed"
    return None


def _validate(settings: Settings, site: Site, champion: Champion, cohort: Cohort) -> dict[str, Any]:
    """Writes the validation of a site's champion; returns its part of metrics.json of both."""
    internal, variant = _held_out(settings, site, champion), champion.metadata["variant"]
    frozen, left_out = baselines.load_frozen(settings, site, variant, internal is not None)
    table = pd.DataFrame(
        {
            "nodule_id": [nodule.nodule_id for nodule in cohort.nodules],
            "patient_id": [nodule.patient_id for nodule in cohort.nodules],
            "label": [int(nodule.labels[site] or 0) for nodule in cohort.nodules],
            **predict(champion, cohort, settings, frozen),
        }
    )
    left_out |= {
        name: "the external cohort has none of its columns"
        for name in frozen
        if f"{name}_probability" not in table
    }
    for name, reason in left_out.items():
        Console(stderr=True).print(f"external: {site} baseline {name} left out: {reason}", soft_wrap=True)
    folder = settings.artifacts("external", site)
    files.write_csv(table, folder / "predictions.csv")
    threshold, confidence = float(champion.metadata["threshold"]), settings.base.confidence
    unimodal = {}
    for modality, model in champion.model.unimodal.items():
        own = table.assign(probability=table[f"{modality}_probability"])
        identity = {"variant": model.metadata["variant"], "threshold": model.threshold}
        unimodal[modality] = identity | measure(own, model.threshold, confidence)
    metrics: dict[str, Any] = {
        "model": champion.name,
        "version": champion.version,
        "variant": variant,
        "scoring": champion.metadata["scoring"],
        "fit": result_key(champion.metadata["members"][0]),
        "threshold": threshold,
        "internal": None if internal is None else measure(internal, threshold, confidence),
        "external": measure(table, threshold, confidence),
        "recalibrated": recalibrated(table),
        "alone": unimodal,
        "levels": level_shares(table),
        "sets": set_coverage(table, champion.metadata),
        "boxes": _with_boxes(champion.model, cohort, settings, table["probability"].to_numpy()),
        "baselines": baselines.compared(table, frozen, confidence),
        "left_out": left_out,
    }
    files.write_json(folder / "metrics.json", metrics)
    digests.keep(folder)
    outside: dict[str, Any] = metrics["external"]
    values, calibration = external_values(outside), outside["calibration"]
    source = f"{settings.base.data}.dvc"
    attach(settings, champion, site, values, provenance.data_md5(settings), source, folder)
    shown = {name: outside[name] for name in ("auc", "sensitivity", "specificity")}
    shown |= {"brier": calibration["brier"], "calibration_slope": calibration["slope"]}
    return {f"external {variant}": shown}


def _held_out(settings: Settings, site: Site, champion: Champion) -> pd.DataFrame | None:
    """Returns out-of-fold predictions by the champion's networks: of an ensemble all, else of its one fold.

    None when it comes from another cross-validation than today's.
    """
    members = champion.model.metadata["members"][: len(champion.model.scoring)]
    variant = str(champion.metadata["variant"])
    metrics = load_results(settings, site).get(variant)
    if metrics is None or not all(is_current(metrics, m["fold"], result_key(m)) for m in members):
        return None
    table = load_table(settings, site, variant)
    return table[table["fold"].isin([member["fold"] for member in members])]


def result_key(member: Mapping[str, Any]) -> str:
    """Returns the key that the fold of a member has in metrics.json: of its fit, or of its regression."""
    return str(member["stacked"]["key"] if member["stacked"] else member["fit"])


def _with_boxes(
    model: ScoringModel, cohort: Cohort, settings: Settings, drawn: NDArray[np.float64]
) -> dict[str, dict[str, Any]]:
    """Compares answers to boxes with those to the outlines that were drawn, and to boxes that were moved.

    Returns:
        `tight`, boxes that just hold the outline, beside outlines; `moved`, boxes whose edges were moved by
        at most MOVED of the side, beside tight ones: `auc`, `changed_calls`, and `largest_change` of a
        probability.
    """
    ids = [nodule.nodule_id for nodule in cohort.nodules]
    label = [int(nodule.labels[model.metadata["site"]] or 0) for nodule in cohort.nodules]
    rows, before = {}, drawn
    for name, jitter in (("tight", 0.0), ("moved", MOVED)):
        redraw = Boxed(dict.fromkeys(ids, model.outline), jitter)
        with _archive_of(model, cohort, settings, model.units is not None, redraw) as archive:
            table = pd.read_parquet(archive.folder / MEASURED) if model.units is not None else None
            album = archived(archive, table, model.inputs, ids, model.units)
            album = with_record(album, load_nodules(settings), ids, model.record)
            probability = model.score(album)["probability"].to_numpy()
        rows[name] = {"auc": auc(label, probability), **changes(before, probability, model.threshold)}
        before = probability
    return rows


@contextmanager
def _archive_of(
    model: ScoringModel,
    cohort: Cohort,
    settings: Settings,
    measuring: bool,
    redraw: Redraw | None = None,
) -> Iterator[Archive]:
    """Yields a temporary archive of a cohort, as the model expects it."""
    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.work, prefix="external-") as folder:
        processes = workers(settings.resources.memory_mb)
        yield build(cohort, model.preprocess, Path(folder), processes, measuring, redraw)


def predict(
    champion: Champion, cohort: Cohort, settings: Settings, frozen: Mapping[Baseline, baselines.Frozen]
) -> dict[str, Any]:
    """Scores nodules, in order, preprocessed as the champion expects.

    Returns:
        `probability`, `level` and `prediction_set` of the champion, `us_probability`, `ct_probability`
        of its models of one modality, and `<baseline>_probability` of each baseline that finds any of its
        columns.
    """
    units = champion.model.units
    measuring = "radiomics" in frozen or units is not None
    with _archive_of(champion.model, cohort, settings, measuring) as archive:
        table = pd.read_parquet(archive.folder / MEASURED) if measuring else None
        ids = [nodule.nodule_id for nodule in cohort.nodules]
        album = archived(archive, table, champion.model.inputs, ids, units)
        album = with_record(album, load_nodules(settings), ids, champion.model.record)
        probability = champion.model.score(album)["probability"].to_numpy()
        scores: dict[str, Any] = {
            "probability": probability,
            "level": [verdict.level for verdict in champion.model.verdicts(album)],
            "prediction_set": champion.model.sets(probability),
        }
        for modality, model in champion.model.unimodal.items():
            scores[f"{modality}_probability"] = model.score(album)["probability"]
        for name, probability in baselines.score(settings, frozen, archive, ids).items():
            scores[f"{name}_probability"] = probability
        return scores
