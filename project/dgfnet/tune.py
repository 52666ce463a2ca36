"""The stage `tune`: a search for settings inside the training part of every fold (nested cross-validation).

A trial trains on all inner parts but one and is judged on that one; the held-out fold of the cross-validation
is never seen, so what crossval reports afterwards is not chosen. How much better the chosen trial looked
inside than its settings do outside is the optimism that the stage compare reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from dgfnet import files, provenance, tracking
from dgfnet.sections.fits import Range
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.cluster import cluster
from dgfnet.sweep.group import Group, check_modalities, open_group, train, train_segmentation
from dgfnet.sweep.plan import Inputs, gather, inner_classification
from dgfnet.sweep.search import Point, Search, best, search
from dgfnet.sweep.trial import Trial
from dgfnet.training.task import Task
from dgfnet.vocabulary import Site, Variant

CHOSEN = "chosen"  # tag of a trial's run: yes or no
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
        inputs = gather(settings, settings.tune.variants, searched=False)
        with cluster():
            for site in settings.base.sites:
                for variant in settings.tune.variants if site in inputs.labelled else ():
                    record, tried = _search(settings, inputs, site, variant)
                    chosen.setdefault(site, {})[variant] = record
                    rows += tried
    else:
        Console(stderr=True).print(
            "tune: tune.trials is 0, nothing is searched; fits use params.yaml as it is"
        )
    columns = ["site", "variant", "fold", "score", "epoch", *settings.tune.space]
    with files.replacing(folder / "trials.csv") as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)
    with files.replacing(folder / "chosen.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    provenance.write(folder, settings, sections=SECTIONS)


def _search(
    settings: Settings, inputs: Inputs, site: Site, variant: Variant
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs one search per fold, all below one MLflow run; returns the chosen points and every trial."""
    space = settings.tune.space_of(variant)
    first = _as_they_are(settings, space)
    tasks = [
        inner_classification(settings, inputs, site, variant, fold, {}) for fold in range(inputs.fold_count)
    ]
    # not the number of trials: more of them extend the search
    searched = fingerprint(settings.tune.model_dump(mode="json", exclude={"variants", "trials"}))
    identity = fingerprint("tune", [task.key for task, _ in tasks], searched)
    tags = {"site": site, "variant": variant, "stage": "tune"}
    chosen, scores, rows = [], [], []
    with open_group(settings, site, f"tune {variant}", identity, tags) as group:
        _train_origins(settings, inputs, [origin for _, origins in tasks for origin in origins], group)
        for fold, (task, _) in enumerate(tasks):
            request = Search(
                label=f"tune {site} {variant} fold {fold}",
                make=partial(_point, inputs, site, variant, fold, group),
                first=first,
                settings=settings.tune,
                space=space,
                sweep=settings.sweep,
                threads=settings.training.threads,
                epochs=task.epochs,
                ledger=settings.work / "tune" / f"{fingerprint(task.key, searched)[:20]}.json",
                storage=settings.work / "ray",
                work=settings.work,
                seed=int(fingerprint(task.key)[:7], 16),
            )
            points = search(request)
            tracking.end_children(group.run)
            winner = best(points)
            _mark_trials(request, points, winner, group)
            chosen.append(winner.values)
            rows += [_row(site, variant, fold, point) for point in points]
            scores.append(winner.score)
            if winner.score is not None:
                group.run.metrics({f"inner_score_fold{fold}": winner.score})
        group.run.params({"variant": variant, "trials": settings.tune.trials, "folds": len(tasks)})
    record = {"folds": inputs.folds[site], "inner_score": scores, "chosen": chosen}
    return record, rows


def _train_origins(settings: Settings, inputs: Inputs, origins: list[Task], group: Group) -> None:
    """Trains the fits that the trials start from; of a fusion, unimodal fits on the inner parts too."""
    inner = [task for task in origins if task.phase == "classification"]
    below = [
        origin
        for task in inner
        if task.site is not None
        for origin in inner_classification(settings, inputs, task.site, task.variant, task.fold, {})[1]
    ]
    train_segmentation(settings, [task for task in [*origins, *below] if task.phase == "segmentation"])
    train(settings, "tune parents", [group.trial(task, role="parent") for task in inner])


def _mark_trials(request: Search, points: Sequence[Point], winner: Point, group: Group) -> None:
    """Tags the runs of the trials, chosen or not, and logs what that was decided by, once."""
    client = tracking.client(group.uri)
    for point in points:
        key = request.make(point.values).task.key
        run = tracking.find_run(client, group.experiment_id, key, group.run_id)
        wanted = "yes" if point is winner else "no"
        if run is None:
            continue
        found = tracking.Run(client, run.info.run_id, group.experiment_id)
        if run.data.tags.get(CHOSEN) != wanted:
            found.tags({CHOSEN: wanted})
        # val_auc alone would call a trial the best that ASHA stopped after a lucky first epoch
        judged = {"epochs_trained": float(point.epoch)}
        judged |= {} if point.score is None else {"inner_score": point.score}
        if judged.items() - run.data.metrics.items():
            found.metrics(judged)


def _point(
    inputs: Inputs, site: Site, variant: Variant, fold: int, group: Group, values: Mapping[str, Any]
) -> Trial:
    task, _ = inner_classification(group.settings, inputs, site, variant, fold, values)
    return group.trial(task, values=values, role="trial")


def _as_they_are(settings: Settings, space: Mapping[str, Range]) -> dict[str, Any]:
    """Returns the present values of the searched settings."""
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
