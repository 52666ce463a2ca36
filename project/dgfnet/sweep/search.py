"""A search for settings: Optuna suggests, Ray places, ASHA stops what does not keep up.

The points tried stand in a ledger, a JSON file the driver writes after every result. A search that was killed
is simply run again: finished points are given to Optuna, interrupted ones go on from their own checkpoints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.files import keep_away, read_json, write_json
from dgfnet.settings import Range, Sweep, Tune
from dgfnet.sweep.cluster import cluster, progress, resources, run_config
from dgfnet.sweep.crash import cause, full_disk_said
from dgfnet.sweep.trial import Trial, run_trial

Values = Mapping[str, Any]


@dataclass
class Point:
    """One trial of a search.

    Attributes:
        values: `section.key` to value.
        score: AUC on the nodules that judge, at its last look; None before the first.
        epoch: of that look.
        done: trained to its end or stopped by ASHA; False for one that was interrupted.
    """

    values: dict[str, Any]
    score: float | None = None
    epoch: int = 0
    done: bool = False


def best(points: list[Point]) -> Point:
    """Returns the best of the points trained longest: a score from before the end does not compare."""
    longest = max(point.epoch for point in points)
    return max((p for p in points if p.epoch == longest), key=lambda p: -1.0 if p.score is None else p.score)


def read_ledger(path: Path) -> list[Point]:
    """Reads the points tried so far; none without a ledger, or with one that cannot be read."""
    if not path.is_file():
        return []
    try:
        return [Point(**record) for record in read_json(path)]
    except (InputError, TypeError):
        print(f"{keep_away(path)}: a damaged ledger; its search begins again", file=sys.stderr)
        return []


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        label: for the progress bar.
        make: a point's values to its trial; pickled, and called in the worker.
        first: the point tried first: the settings as they are.
        settings: number of trials, and when ASHA stops one.
        space: the settings in which a trial may differ.
        sweep: resources of a trial.
        threads: of a trial.
        epochs: of a trial that is not stopped.
        ledger: file of the points tried.
        storage: folder of Ray's own files.
        seed: of Optuna. With several trials at a time their order, and so the suggestions, may differ.
    """

    label: str
    make: Callable[[Values], Trial]
    first: Values
    settings: Tune
    space: Mapping[str, Range]
    sweep: Sweep
    threads: int
    epochs: int
    ledger: Path
    storage: Path
    seed: int


def search(request: Search) -> list[Point]:
    """Tries `settings.trials` points and returns them all.

    Raises:
        InputError: when every trial crashed.
    """
    settings, space = request.settings, request.space
    points = read_ledger(request.ledger)
    done = [point for point in points if point.done]
    if len(done) >= settings.trials:
        return done
    with cluster(), full_disk_said(request.storage):
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        interrupted = [point.values for point in points if not point.done]
        begin = interrupted or ([dict(request.first)] if not points and _within(request.first, space) else [])
        searcher = OptunaSearch(
            _distributions(space), "score", "max", points_to_evaluate=begin, seed=request.seed
        )
        for point in done:
            searcher.add_evaluated_point(point.values, point.score or 0.0)
        scheduler = ASHAScheduler(
            time_attr="epoch",
            metric="score",
            mode="max",
            max_t=request.epochs + 1,  # who gets to the end ends on its own
            grace_period=min(settings.grace_epochs, request.epochs),
            reduction_factor=settings.reduction,
        )
        count = settings.trials - len(done)
        results = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, make=request.make), resources(request.sweep, request.threads)
            ),
            tune_config=tune.TuneConfig(
                search_alg=searcher, scheduler=scheduler, num_samples=count, reuse_actors=True
            ),
            run_config=run_config(
                request.label,
                request.sweep,
                request.storage,
                [progress(request.label, count * request.epochs), _keeper(request.ledger, points)],
            ),
        ).fit()
    finished = [point for point in read_ledger(request.ledger) if point.done]
    if not finished:
        reason = cause(results.errors[0]) if results.errors else "none was reported"
        raise InputError(f"{request.label}: no trial came to an end; the first error: {reason}")
    return finished


def _trainable(config: dict[str, Any], make: Callable[[Values], Trial]) -> None:
    from ray import tune

    scored = False

    def report(values: dict[str, Any]) -> None:
        nonlocal scored
        score = values.get("val_auc")
        if score is not None:
            scored = True
            tune.report({"epoch": values["epoch"], "score": score})

    trial = make(config)
    run_trial(trial, report)
    if not scored:  # diverged before the first look
        tune.report({"epoch": trial.task.epochs, "score": 0.0})


def _distributions(space: Mapping[str, Range]) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for name, limits in space.items():
        if limits.choices is not None:
            distributions[name] = optuna.distributions.CategoricalDistribution(limits.choices)
        elif limits.low is not None and limits.high is not None:
            distributions[name] = optuna.distributions.FloatDistribution(
                limits.low, limits.high, log=limits.log
            )
    return distributions


def _within(values: Values, space: Mapping[str, Range]) -> bool:
    """Returns True when the point lies in the space."""
    for name, limits in space.items():
        value = values[name]
        if limits.choices is not None:
            if value not in limits.choices:
                return False
        elif limits.low is None or limits.high is None or not limits.low <= value <= limits.high:
            return False
    return True


def _keeper(path: Path, points: list[Point]) -> Any:
    """A Tune callback that writes the ledger."""
    from ray.tune import Callback

    tried = {json.dumps(point.values, sort_keys=True): point for point in points}

    def point_of(trial: Any) -> Point:
        values = {name: value for name, value in trial.config.items() if name != "make"}
        return tried.setdefault(json.dumps(values, sort_keys=True), Point(values))

    def write() -> None:
        write_json(path, [asdict(point) for point in tried.values()])

    class Keeper(Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            point_of(trial)
            write()

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            if "score" in result:
                point = point_of(trial)
                point.score, point.epoch = float(result["score"]), int(result["epoch"])
                write()

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            point_of(trial).done = True
            write()

    return Keeper()
