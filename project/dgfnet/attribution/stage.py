"""The stage `attribute`: explains the predictions of a fusion (the paper's Figures 3 and 4)."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from dgfnet import digests, files, provenance, pseudonyms, tracking
from dgfnet.attribution import figures, localisation, randomised, repeatability
from dgfnet.attribution.contributions import COLUMNS, centred, correct, summary
from dgfnet.attribution.fold import FoldExplanation, Job, explain_fold
from dgfnet.attribution.saliency import SaliencyCase, mass_differences, pick
from dgfnet.parallel import cores
from dgfnet.results import SHOWN, check_same, is_cross_validated, load_metrics, load_table, tables_of
from dgfnet.settings import Settings
from dgfnet.vocabulary import SPECS, Site

SECTIONS = ("base", "preprocess", "network", "training", "crossval", "attribute")
NAMES = (
    *("contributions.csv", "stability.csv", "masses.csv", "cases.csv", "summary.json", "checks.json"),
    *("localisation.csv", "repeatability.csv"),
    *("contributions.png", "saliency.png", "checks.png", "skipped.json", digests.NAME),
)


def run(settings: Settings) -> None:
    """Writes artifacts/attribution/<site>/: see docs/reference/files-and-runs.md.

    A site where the fusion or a variant it starts from was not cross-validated is skipped, and skipped.json
    says so.

    Raises:
        InputError: when settings, data or code have changed since the cross-validation, or a network of the
            label check cannot be trained.
    """
    tables: dict[Site, dict[str, pd.DataFrame]] = {}
    for site in settings.base.sites:
        folder = settings.artifacts("attribution", site)
        for name in NAMES:
            (folder / name).unlink(missing_ok=True)
        if reason := _why_not(settings, site):
            Console(stderr=True).print(f"attribute: {site} skipped: {reason}", soft_wrap=True)
            files.write_json(folder / "skipped.json", {"reason": reason})
            continue
        tables[site] = _tables(settings, site)
    jobs = [job for site, each in tables.items() for job in _jobs(settings, site, each)]
    if jobs and settings.attribute.random_labels:
        randomised.train(settings, [(job.site, job.fold) for job in jobs if job.check])
    results = _all(jobs)
    for site, each in tables.items():
        own = [result for job, result in zip(jobs, results, strict=True) if job.site == site]
        _write(settings, site, each, own)
    provenance.write(settings.artifacts("attribution"), settings, sections=SECTIONS)


def _variants(settings: Settings) -> dict[str, str]:
    us, ct = SPECS[settings.attribute.variant].parents
    return {"us": us, "ct": ct, "both": settings.attribute.variant}


def _why_not(settings: Settings, site: Site) -> str | None:
    absent = [name for name in _variants(settings).values() if not is_cross_validated(settings, site, name)]
    return f"not cross-validated: {', '.join(absent)}" if absent else None


def _tables(settings: Settings, site: Site) -> dict[str, pd.DataFrame]:
    tables = {name: load_table(settings, site, variant) for name, variant in _variants(settings).items()}
    check_same(tables)
    return tables


def _jobs(settings: Settings, site: Site, tables: dict[str, pd.DataFrame]) -> list[Job]:
    cases = tuple(pick(tables["us"], tables["ct"], tables["both"], settings.attribute.cases))
    folds = sorted(int(fold) for fold in tables["both"]["fold"].unique())
    return [Job(settings, site, fold, cases, fold == folds[0], cores() == 1) for fold in folds]


def _all(jobs: Sequence[Job]) -> list[FoldExplanation]:
    """Explains folds side by side: one core each is faster than one after the other on all cores."""
    if cores() == 1 or len(jobs) < 2:
        return [explain_fold(job) for job in jobs]
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(min(cores(), len(jobs)), mp_context=context) as pool:
        return list(pool.map(explain_fold, jobs))


def _write(
    settings: Settings, site: Site, tables: dict[str, pd.DataFrame], folds: Sequence[FoldExplanation]
) -> None:
    folder, wanted = settings.artifacts("attribution", site), settings.attribute
    known = tables["both"][["nodule_id", "patient_id", "label"]].assign(
        us_correct=correct(tables["us"]), ct_correct=correct(tables["ct"]), correct=correct(tables["both"])
    )
    patients = known[["nodule_id", "patient_id"]]
    table = pd.concat([each.table for each in folds]).merge(known, on="nodule_id", validate="one_to_one")
    table = table.sort_values("nodule_id", ignore_index=True)
    table = table.join(centred(table).add_prefix("centred_"))
    table = table[[name for name in COLUMNS if name in table]]
    others = pd.concat([each.others for each in folds], ignore_index=True).merge(known, on="nodule_id")
    masses = pd.concat([each.masses for each in folds], ignore_index=True).merge(patients, on="nodule_id")
    how = (settings.base.confidence, wanted.replicates, settings.base.seed)
    results: dict[str, Any] = {
        "site": site,
        "variant": wanted.variant,
        "baseline_family": wanted.baselines[0],
    }
    results |= summary(table, others, wanted.tolerance, *how)
    results["masses"] = mass_differences(masses, *how)
    results["grad_cam_masses"] = mass_differences(masses, *how, kind="grad_cam_")
    located = pd.concat([each.located for each in folds], ignore_index=True).merge(patients, on="nodule_id")
    results["localisation"] = _localisation(settings, located)
    results["repeatability"] = _repeatability(settings, folds)
    own_checks = next(each.checks for each in folds if each.checks is not None)
    checks = repeatability.judged(own_checks, results["repeatability"])
    files.write_csv(table, folder / "contributions.csv")
    files.write_csv(others, folder / "stability.csv")
    files.write_csv(masses, folder / "masses.csv")
    again = [each.external.table.assign(fold=each.table["fold"].iloc[0]) for each in folds if each.external]
    if again:
        files.write_csv(pd.concat(again, ignore_index=True), folder / "repeatability.csv")
    if len(located):
        files.write_csv(located, folder / "localisation.csv")
    files.write_json(folder / "summary.json", results)
    files.write_json(folder / "checks.json", checks)
    _draw(site, table, [case for each in folds for case in each.cases], checks, folder)
    digests.keep(folder, tables_of(settings, site, _variants(settings).values()))
    _log(settings, site, folder)


def _draw(
    site: Site, table: pd.DataFrame, shown: Sequence[SaliencyCase], checks: dict[str, Any], folder: Path
) -> None:
    """Draws the figures, each with the checks that failed; writes which case is which nodule."""
    labels = dict(zip(table["nodule_id"], table["label"].astype(int), strict=True))
    ids = [case.nodule_id for case in shown]
    files.write_csv(
        table[table["nodule_id"].isin(ids)].assign(
            case=lambda part: [ids.index(name) + 1 for name in part["nodule_id"]]
        ),
        folder / "cases.csv",
    )
    files.write_figure(figures.contributions(site, table, checks["failed"]), folder / "contributions.png")
    files.write_figure(figures.saliency(site, shown, labels, checks["failed"]), folder / "saliency.png")
    files.write_figure(figures.checks(site, checks), folder / "checks.png")


def _localisation(settings: Settings, located: pd.DataFrame) -> dict[str, Any]:
    """Compares attributions with the phantom's truth; or gives the reason why there is none."""
    if reason := localisation.why_not(settings):
        return {"reason": reason, "regions": []}
    if located.empty:
        return {"reason": f"the truth in {settings.base.truth} is not of these pictures", "regions": []}
    how = (settings.base.confidence, settings.attribute.replicates, settings.base.seed)
    return {"reason": None, "regions": localisation.summary(located, *how)}


def _repeatability(settings: Settings, folds: Sequence[FoldExplanation]) -> dict[str, Any]:
    """Compares the folds' networks on external nodules; or gives the reason why this is not possible."""
    if reason := repeatability.why_not(settings):
        return {"reason": reason}
    external = [each.external for each in folds if each.external]
    random_labels = next((each.random_labels for each in folds if each.random_labels), None)
    how = (settings.base.confidence, settings.attribute.replicates, settings.base.seed)
    return {"reason": None, **repeatability.summary(external, random_labels, *how)}


def _log(settings: Settings, site: Site, folder: Path) -> None:
    """Logs on the run of the variant's cross-validation, so that explanations lie beside its ROC curve."""
    uri, variant = tracking.store(settings), settings.attribute.variant
    own = tracking.crossval_identity(load_metrics(settings, site, variant))
    identity = tracking.identity_of(settings, own)
    experiment = tracking.prepare(uri, tracking.experiment_name(site))
    labels = {"site": site, "variant": variant, "stage": "crossval"}
    # the run of the cross-validation is known by the fits it is made of
    run = tracking.open_run(uri, experiment, variant, identity, labels)
    results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    checks = json.loads((folder / "checks.json").read_text(encoding="utf-8"))
    above = results["centred"]["us_above_ct"]
    with tracking.running(run):
        run.metrics(
            {
                "attribution_us_above_ct": above["estimate"],
                "attribution_largest_completeness_error": results["completeness"]["largest"],
                "attribution_checks_passed": float(checks["passed"]),
            }
        )
        run.table(folder / "contributions.csv", pseudonyms.identity_key(settings))
        for name in SHOWN:
            run.artifact(folder / name, "attribution")
