"""The stage `tune`: a search for settings inside the training part of every fold (nested cross-validation).

A trial trains on all inner parts but one and is judged on that one; the held-out fold of the cross-validation
is never seen, so what crossval reports afterwards is not chosen. How much better the chosen trial looked
inside than its settings do outside is the optimism that the stage compare reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from dgfnet import provenance, tracking
from dgfnet.pretrain import check_modalities, ensure, make_trial, run_tags
from dgfnet.settings import Range, Settings, Site, Variant, fingerprint
from dgfnet.training.search import Point, best, search
from dgfnet.training.sweep import cluster, sweep
from dgfnet.training.task import Task
from dgfnet.training.tasks import Facts, gather, inner_classification
from dgfnet.training.trial import Trial

SECTIONS = ("base", "preprocess", "network", "training", "pretrain", "tune", "crossval")


def run(settings: Settings) -> None:
    """Writes artifacts/tune: chosen.yaml, which crossval reads, and trials.csv.

    With `tune.trials: 0` nothing is searched, and chosen.yaml is empty.

    Raises:
        InputError: when an earlier stage has not run or a parent's fit failed.
    """
    folder = settings.artifacts("tune")
    chosen: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    if settings.tune.trials:
        check_modalities(settings, settings.tune.variants, "tune.variants")
        facts = gather(settings, settings.tune.variants, searched=False)
        with cluster():
            for site in settings.base.sites:
                for variant in settings.tune.variants if site in facts.labelled else ():
                    record, tried = _search(settings, facts, site, variant)
                    chosen.setdefault(site, {})[variant] = record
                    rows += tried
    else:
        Console(stderr=True).print(
            "tune: tune.trials is 0, nothing is searched; fits use params.yaml as it is"
        )
    columns = ["site", "variant", "fold", "score", "epoch", *settings.tune.space]
    with provenance.replacing(folder / "trials.csv") as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)
    with provenance.replacing(folder / "chosen.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    provenance.write(folder, settings, sections=SECTIONS)


def _search(
    settings: Settings, facts: Facts, site: Site, variant: Variant
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One search per fold, all below one MLflow run; the chosen points and every trial."""
    space = settings.tune.space_of(variant)
    first = _as_they_are(settings, space)
    tasks = [
        inner_classification(settings, facts, site, variant, fold, {}) for fold in range(facts.fold_count)
    ]
    roots = [parent for _, parents in tasks for parent in parents]
    uri = tracking.store(settings)
    experiment = tracking.prepare(uri, tracking.experiment_name(site))
    tags = run_tags(settings) | {"site": site, "variant": variant, "stage": "tune"}
    # not the number of trials: more of them extend the search
    searched = fingerprint(settings.tune.model_dump(mode="json", exclude={"variants", "trials"}))
    identity = fingerprint("tune", [task.key for task, _ in tasks], searched)
    parent = tracking.open_run(uri, experiment, f"tune {variant}", identity, tags)
    chosen, scores, rows = [], [], []
    with tracking.running(parent):
        _ensure_parents(settings, facts, roots, uri, experiment, parent.run_id, tags)
        for fold, (task, _) in enumerate(tasks):
            make = partial(_point, settings, facts, site, variant, fold, uri, experiment, parent.run_id, tags)
            label = f"tune {site} {variant} fold {fold}"
            ledger = settings.work / "tune" / f"{fingerprint(task.key, searched)[:20]}.json"
            seed = int(fingerprint(task.key)[:7], 16)
            points = search(
                label,
                make,
                first,
                settings.tune,
                space,
                settings.sweep,
                task.epochs,
                ledger,
                settings.work / "ray",
                seed,
            )
            tracking.end_children(parent)
            winner = best(points)
            chosen.append(winner.values)
            rows += [_row(site, variant, fold, point) for point in points]
            scores.append(winner.score)
            parent.metrics({f"inner_score_fold{fold}": winner.score or 0.0})
        parent.params({"variant": variant, "trials": settings.tune.trials, "folds": len(tasks)})
    record = {"folds": facts.folds[site], "inner_score": scores, "chosen": chosen}
    return record, rows


def _ensure_parents(
    settings: Settings,
    facts: Facts,
    roots: list[Task],
    uri: str,
    experiment: str,
    parent: str,
    tags: dict[str, str],
) -> None:
    """The segmentation fits, and for a fusion the unimodal fits on the inner parts."""
    ensure(settings, facts, [task for task in roots if task.phase == "segmentation"])
    inner = [task for task in roots if task.phase == "classification"]
    if not inner:
        return
    site = inner[0].site
    assert site is not None
    below = [
        origin
        for task in inner
        for origin in inner_classification(settings, facts, site, task.variant, task.fold, {})[1]
    ]
    ensure(settings, facts, below)
    trials = [
        make_trial(settings, task, uri, experiment, parent, tags | {"role": "parent"}) for task in inner
    ]
    sweep("tune parents", trials, settings.sweep, settings.work / "ray")


def _point(
    settings: Settings,
    facts: Facts,
    site: Site,
    variant: Variant,
    fold: int,
    uri: str,
    experiment: str,
    parent: str,
    tags: dict[str, str],
    values: Mapping[str, Any],
) -> Trial:
    task, _ = inner_classification(settings, facts, site, variant, fold, values)
    return make_trial(settings, task, uri, experiment, parent, tags | {"role": "trial"})


def _as_they_are(settings: Settings, space: Mapping[str, Range]) -> dict[str, Any]:
    """The searched settings' present values."""
    flat = tracking.flat(settings.model_dump(mode="json", include={"network", "training"}))
    return {name: flat.get(name) for name in space}


def _row(site: Site, variant: Variant, fold: int, point: Point) -> dict[str, Any]:
    return {
        "site": site,
        "variant": variant,
        "fold": fold,
        "score": point.score,
        "epoch": point.epoch,
        **point.values,
    }
