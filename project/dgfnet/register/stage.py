"""The stage `register`: the networks of a variant become a version of dgfnet-<site>, and perhaps champion."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from dgfnet import provenance, tracking
from dgfnet.bundle.layout import FORMAT
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.network import BundledNetwork
from dgfnet.bundle.write import Answers, members, stacked, write_bundle
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.metrics.conformal import held_out_sets, set_shares
from dgfnet.metrics.ensemble import common_threshold
from dgfnet.register.boxes import outlined_by, outlines, with_boxes
from dgfnet.register.described import describe, labels, links
from dgfnet.register.logged import log_version
from dgfnet.register.measure import album_of, measure, simpler_than
from dgfnet.registry.aliases import CHALLENGER, CHAMPION, champion_of
from dgfnet.registry.champion import open_bundle
from dgfnet.registry.champions import note_champions
from dgfnet.registry.commands import GATE, judgement
from dgfnet.registry.evidence import Evidence
from dgfnet.registry.facts import facts, keep_facts, keep_metrics
from dgfnet.registry.lineage import trained_on
from dgfnet.registry.origin import IMPORTED, ORIGIN, RECALIBRATED, keep_origin
from dgfnet.registry.promotion import ROLLED_BACK, newest, promote
from dgfnet.registry.seal import SEAL
from dgfnet.registry.stored import NETWORK_RUN, keep_tables, run_of, table_digests
from dgfnet.results import (
    check_current,
    check_sources,
    checked_folder,
    is_cross_validated,
    load_metrics,
    load_model,
    load_nodules,
    load_results,
    load_table,
)
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.plan import Inputs, classification, gather, places
from dgfnet.training.task import Task, finished
from dgfnet.vocabulary import BASELINES, SPECS, Modality, Site, is_stacked

SECTIONS = ("base", "preprocess", "network", "training", "crossval", "register")


def run(settings: Settings) -> None:
    """Writes artifacts/register/<site>.json, version, promotion and lineage, for every site with results.

    Raises:
        InputError: when the variant to register was not cross-validated at any site.
    """
    checked_folder(settings, "preprocess", thorough=True)
    if settings.reads_masks:  # a version brings networks of it, and says what they cost
        checked_folder(settings, "outline", thorough=True)
        check_sources(settings, "outline")
    inputs = gather(settings, variants=(settings.registered_network,))
    variant = settings.register_.variant
    done = [site for site in settings.base.sites if is_cross_validated(settings, site, variant)]
    if not done:
        needed = f" with {settings.registered_network} among crossval.variants" if is_stacked(variant) else ""
        raise InputError(
            f"register.variant {variant} was not cross-validated at any site; run the stage crossval{needed}"
        )
    for site in set(settings.base.sites) - set(done):  # of an earlier run, which DVC leaves here
        settings.artifacts("register", f"{site}.json").unlink(missing_ok=True)
    for site in done:
        record = _register(settings, inputs, site, load_metrics(settings, site, variant))
        note_champions(tracking.registry(settings), settings)  # at once: an interruption may follow
        write_json(settings.artifacts("register", f"{site}.json"), record)
    provenance.write(settings.artifacts("register"), settings, sections=SECTIONS)


def best_fold(metrics: dict[str, Any], criterion: str) -> int:
    """Returns the fold whose model did best on its held-out nodules (the paper's rule); the first of equals.

    Raises:
        InputError: when the criterion is undefined in every fold.
    """
    values = [fold["scores"][criterion] for fold in metrics["folds"]]
    if all(value is None for value in values):
        raise InputError(f"no fold has {criterion} of its held-out nodules: every fold holds one class only")
    return int(np.nanargmax([np.nan if value is None else value for value in values]))


def _register(settings: Settings, inputs: Inputs, site: Site, metrics: dict[str, Any]) -> dict[str, Any]:
    """Registers the folds' networks, unless these very fits are registered already, and judges them."""
    criterion, variant = settings.register_.criterion, settings.register_.variant
    network = settings.registered_network
    fold = best_fold(metrics, criterion)
    others = [other for other in range(inputs.fold_count) if other != fold]
    fits = [classification(settings, inputs, site, network, other) for other in (fold, *others)]
    tasks = [task for task, _ in fits]
    task = tasks[0]
    parents = zip(*(origins for _, origins in fits), strict=True)
    unimodal = dict(zip(SPECS[network].modalities, parents, strict=True)) if SPECS[network].fuses else {}
    done = finished(places(settings), task.key) is not None
    trained = load_metrics(settings, site, network)
    check_current(trained, fold, task.key if done else "", f"{site} {network} fold {fold}")
    if is_stacked(variant) and metrics["networks"] != [network]:
        raise InputError(
            f"{site} {variant} joins {', '.join(metrics['networks'])}, crossval.stacked says {network}; "
            "run the stage crossval again"
        )
    name = f"dgfnet-{site}"
    client = tracking.registry(settings)
    known = _facts(settings, tasks, metrics, fold, criterion) | outlined_by(settings, fold)
    tables = table_digests(settings, site, variant, network)
    known |= tables
    versions = client.search_model_versions(f"name = '{name}'")
    registered = _find(versions, known)
    with (
        _written(settings, site, tasks, unimodal, metrics, describe(known))
        if registered is None
        else open_bundle(client, registered)
    ) as folder:
        # also of a version that is known: lineage, audit and settings of the gate may have changed since
        known[GATE] = _measure(settings, site, folder).text()
        if registered is None:
            number = _log(client, settings, site, task, metrics, known, folder)
        else:
            number = str(registered.version)
            _update(client, settings, site, registered, known)
        model, table = ScoringModel.open(folder), load_table(settings, site, variant)
        boxes = with_boxes(settings, model, table)
    keep_tables(client, versions, known["fits"], tables)
    registered, champion = client.get_model_version(name, number), champion_of(client, name)
    _show(client, settings, registered, metrics, known)
    rolled_back = ROLLED_BACK in registered.tags
    stays = _is_recalibrated(champion, known["fits"])
    is_champion = champion is not None and str(champion.version) == number
    promotion = newest(registered)
    if not stays and (promotion is None or not (is_champion or rolled_back)):
        promotion = promote(client, name, number, judgement(settings, registered, champion))
        is_champion = is_champion or bool(promotion["promoted"])
    promotion = promotion or {}
    return {
        "model": name,
        "version": number,
        "fits": known["fits"],
        "variant": variant,
        "alias": CHAMPION if is_champion else CHALLENGER,
        "promoted": is_champion,
        "has_champion": is_champion or champion is not None,
        "reason": _why(promotion, rolled_back, stays),
        # who decided and when differs each time, and stands in the registry: dgfnet history
        "promotion": {name: value for name, value in promotion.items() if name not in ("who", "when")},
        "criterion": {"name": criterion, "value": metrics["folds"][fold]["scores"][criterion]},
        "scoring": settings.register_.scoring,
        "fold": fold,
        "threshold": _threshold(settings, metrics, fold),
        "boxes": boxes,
        "held_out_levels": model.metadata["held_out_levels"],
        "sets": _sets(table, settings.register_.coverage),
        "git_commit": known["git_commit"],
        "data_md5": known["data_md5"],
    }


def _facts(
    settings: Settings, tasks: Sequence[Task], metrics: dict[str, Any], fold: int, criterion: str
) -> dict[str, str]:
    """Returns what is known of a version when it is registered."""
    task = tasks[0]
    interval, best = metrics["auc_interval"], metrics["folds"][fold]["scores"]
    values = {
        **FORMAT,
        "site": task.site,
        "variant": settings.register_.variant,
        "network": task.variant,
        "fold": fold,
        "fit": task.key,
        "fits": fingerprint([other.key for other in tasks], *_stacked_keys(metrics))[:20],
        "scoring": settings.register_.scoring,
        "coverage": settings.register_.coverage,
        "false_alarms": settings.register_.false_alarms,
        "pooled_auc": _four(interval["estimate"]),
        "pooled_auc_low": _four(interval["low"]),
        "pooled_auc_high": _four(interval["high"]),
        "selected_by": criterion,
        **{f"fold_{key}": _four(value) for key, value in best.items()},
        "threshold": f"{_threshold(settings, metrics, fold):.4f}",
        **trained_on(settings),
        "params_sha256": provenance.describe(settings, SECTIONS)["params_sha256"],
    }
    return {key: str(value) for key, value in values.items()}


def _stack(settings: Settings, site: Site, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns model.json and metrics.json of a stack."""
    return load_model(settings, site, name), load_metrics(settings, site, name)


def _stacked_keys(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Returns the keys of the regressions of a stacked model, in one list; nothing for a network."""
    return [[fold["key"] for fold in metrics["folds"]]] if is_stacked(metrics["variant"]) else []


def _threshold(settings: Settings, metrics: dict[str, Any], fold: int) -> float:
    """Returns the threshold of the version, as its bundle has it."""
    thresholds = [result["threshold"] for result in metrics["folds"]]
    return common_threshold(thresholds if settings.register_.scoring == "ensemble" else [thresholds[fold]])


def _sets(table: pd.DataFrame, coverage: float) -> dict[str, float | None]:
    """Returns what prediction sets of held-out nodules are worth, each by limits of the other folds."""
    sets = held_out_sets(table["label"], table["probability"], table["fold"], coverage)
    return {"coverage": coverage, **set_shares(table["label"], sets)}


def _four(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _find(versions: Iterable[Any], known: Mapping[str, str]) -> Any | None:
    """Returns the first of the versions of the same fits that scores in the same way, or None without one."""
    same = ("fits", "scoring", "outlines", "coverage", "false_alarms")
    wanted = FORMAT.items() | {(key, known[key]) for key in same}
    whole = (
        version
        for version in versions
        if {GATE, SEAL} <= facts(version).keys()
        and wanted <= facts(version).items()
        and not {RECALIBRATED, IMPORTED} & facts(version).keys()
    )
    return next(iter(whole), None)


@contextmanager
def _written(
    settings: Settings,
    site: Site,
    tasks: Sequence[Task],
    unimodal: Mapping[Modality, Sequence[Task]],
    metrics: Mapping[str, Any],
    description: str,
) -> Iterator[Path]:
    """Yields the bundle of the folds' networks, in a folder for a block."""
    variant, where = settings.register_.variant, places(settings)
    table, networks, units = load_table(settings, site, variant), members(tasks, where), None
    if is_stacked(variant):
        model, _ = _stack(settings, site, variant)
        networks, units = stacked(networks, model, metrics), model["units"]
    first, ids = networks[0], list(table["nodule_id"])
    album = album_of(settings, first.model.inputs, ids, units, first.record)
    parents = {modality: members(fits, where) for modality, fits in unimodal.items()}
    if is_stacked(variant):
        parents = {
            modality: stacked(own, *_stack(settings, site, f"{modality}_stack"))
            for modality, own in parents.items()
        }
    with tempfile.TemporaryDirectory() as place:
        write_bundle(
            folder := Path(place) / "bundle",
            networks,
            parents,
            Answers(settings.register_.scoring, settings.register_.coverage, settings.register_.false_alarms),
            table,
            album,
            settings.preprocess,
            description,
            outlines(settings, tasks[0].fold),
        )
        yield folder


def _log(
    client: MlflowClient,
    settings: Settings,
    site: Site,
    task: Task,
    metrics: Mapping[str, Any],
    known: Mapping[str, str],
    folder: Path,
) -> str:
    """Registers a bundle as a model of its run, with all that is known of it; returns the version."""
    trained = tracking.crossval_run(settings, site, load_metrics(settings, site, task.variant))
    network_run, experiment = _fold_run(client, task, trained), str(trained.info.experiment_id)
    # a stacked model is more than a fold's network: its run is that of its cross-validation
    joined = is_stacked(known["variant"])
    run = str(tracking.crossval_run(settings, site, metrics).info.run_id) if joined else network_run
    every = {**known, NETWORK_RUN: network_run, **keep_origin(client, settings, site, run)}
    read = labels(known)
    kept = {key: value for key, value in every.items() if key not in read}
    return log_version(
        client, site, experiment, run, folder, SPECS[task.variant].modalities, kept, read, describe(known)
    )


def _update(
    client: MlflowClient, settings: Settings, site: Site, registered: Any, known: Mapping[str, str]
) -> None:
    """Puts on a version that was registered before what is known of it now."""
    read, origin = labels(known), facts(registered).get(ORIGIN)
    kept = {key: value for key, value in known.items() if key not in read}
    kept |= keep_origin(client, settings, site, str(registered.run_id), origin)
    keep_facts(client, registered, kept)
    for key, value in read.items():
        if registered.tags.get(key) != value:
            client.set_model_version_tag(registered.name, str(registered.version), key, value)


def _show(
    client: MlflowClient,
    settings: Settings,
    registered: Any,
    metrics: Mapping[str, Any],
    known: Mapping[str, str],
) -> None:
    """Puts on a version the metrics by which MLflow compares, its cohort, and links for a person."""
    interval, pooled = metrics["auc_interval"], metrics["pooled"]
    values = {
        "pooled_auc": interval["estimate"],
        "pooled_auc_low": interval["low"],
        "pooled_auc_high": interval["high"],
        "pooled_sensitivity": pooled["sensitivity"],
        "pooled_specificity": pooled["specificity"],
        "calibration_slope": Evidence.read(known[GATE]).calibration_slope,
        "threshold": float(known["threshold"]),
    }
    keep_metrics(client, registered, values, "cohort", known["data_md5"])
    run = client.get_run(str(registered.run_id))
    source = f"{settings.base.data}.dvc"
    tracking.opened(client, run).dataset("cohort", known["data_md5"], source, "training")
    network = run_of(registered, network=True)
    network_run = run if network == registered.run_id else client.get_run(network)
    words = describe(known) + links(settings, registered, network_run, known)
    if registered.description != words:
        client.update_model_version(registered.name, str(registered.version), words)


def _is_recalibrated(champion: Any | None, fits: str) -> bool:
    """Returns True when the champion has these networks with another calibration: a person wanted it so."""
    return champion is not None and RECALIBRATED in facts(champion) and facts(champion).get("fits") == fits


def _why(promotion: Mapping[str, Any], rolled_back: bool, stays: bool) -> str:
    """Says why a version is champion, or is not."""
    if rolled_back:
        return "rolled back by hand; dgfnet promote can bring it back"
    if stays:
        return "its networks are champion with another calibration; dgfnet promote can bring it back"
    return str(promotion["why"])


def _measure(settings: Settings, site: Site, folder: Path) -> Evidence:
    """Measures a bundle folder, registered or about to be."""
    variant = settings.register_.variant
    metrics, table = load_metrics(settings, site, variant), load_table(settings, site, variant)
    nodules = load_nodules(settings).set_index("nodule_id")
    spec, joined = SPECS[settings.registered_network], is_stacked(variant)
    origins = spec.parents if spec.fuses else ()
    single = [f"{SPECS[name].modalities[0]}_stack" if joined else name for name in origins]
    results = load_results(settings, site)
    basic = simpler_than(settings.registered_network)
    alone, simpler, baselines = (
        {str(name): load_table(settings, site, name) for name in names if name in results}
        for names in (single, basic, BASELINES)
    )
    network, model = BundledNetwork.open(folder), ScoringModel.open(folder)
    return measure(settings, network, model, metrics, table, nodules, alone, simpler, baselines)


def _fold_run(client: MlflowClient, task: Task, parent: Any) -> str:
    """Returns the id of the MLflow child run of a fit, below the run of its cross-validation."""
    child = tracking.find_run(client, parent.info.experiment_id, task.key, parent.info.run_id)
    if child is None:
        raise InputError(
            f"{task.name}: the store has no run of this fit below {parent.info.run_id}; "
            "run the stage crossval"
        )
    return str(child.info.run_id)
