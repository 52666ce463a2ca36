"""A search for settings: Optuna suggests, Ray places, ASHA stops what does not keep up.

The points tried stand in a ledger, a JSON file the driver writes after every result. A search that was killed
is simply run again: finished points are given to Optuna, interrupted ones go on from their own checkpoints.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.files import keep_away, read_json, write_json
from dgfnet.sections.fits import Range, Sweep, Tune
from dgfnet.sweep.cluster import (
    Elsewhere,
    beside,
    check_room,
    cluster,
    resources,
    run_config,
    run_here,
)
from dgfnet.sweep.crash import cause, full_disk_said
from dgfnet.sweep.progress import progress
from dgfnet.sweep.space import Values, decoded, distributions, encoded, every_point, size, within
from dgfnet.sweep.trial import Trial


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
        work: folder of the fits.
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
    work: Path
    seed: int


def search(request: Search) -> list[Point]:
    """Tries `settings.trials` different points, or all there are, and returns them.

    A search that has them all trains nothing. Where Optuna suggested points that are known, the rest is taken
    from those not tried, in their order.

    Raises:
        InputError: when every trial crashed.
    """
    wanted = int(min(request.settings.trials, size(request.space, request.first)))
    if len(_done(request)) < wanted:
        with cluster(), full_disk_said(request.storage), beside(request.work) as elsewhere:
            begin = _begin(request)
            while (missing := wanted - len(_done(request))) > 0:
                errors = _round(request, missing, begin, elsewhere)
                if errors:
                    _tell_crashed(request, len(errors), len(_done(request)), cause(errors[0]))
                    break
                begin = _untried(request, wanted)
    return _done(request)


def _done(request: Search) -> list[Point]:
    return [point for point in read_ledger(request.ledger) if point.done]


def _begin(request: Search) -> Sequence[Values]:
    """Returns the points to try first: the interrupted ones, or at the start the settings as they are."""
    points = read_ledger(request.ledger)
    if size(request.space, request.first) <= request.settings.trials:
        return _untried(request, request.settings.trials)  # all of them: nothing is left to suggest
    interrupted = [point.values for point in points if not point.done]
    known = bool(points) or not within(request.first, request.space)
    return interrupted or ([] if known else [dict(request.first)])


def _untried(request: Search, count: int) -> Sequence[Values]:
    """Returns points that are not done, in their order, at most so many; none of an infinite space.

    Of such a space Optuna does not suggest a point twice.
    """
    if math.isinf(size(request.space, request.first)):
        return []
    done = {_name(point.values) for point in _done(request)}
    left = (values for values in every_point(request.space, request.first) if _name(values) not in done)
    return list(islice(left, count))


def _round(request: Search, count: int, begin: Sequence[Values], elsewhere: Elsewhere) -> list[Any]:
    """Tries so many points, those given first; returns the errors of trials that crashed."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    settings, points = request.settings, read_ledger(request.ledger)
    searcher = OptunaSearch(
        distributions(request.space, request.first),
        "score",
        "max",
        points_to_evaluate=[encoded(values) for values in begin],
        seed=request.seed + len(points),
    )
    for point in (point for point in points if point.done):
        searcher.add_evaluated_point(encoded(point.values), point.score or 0.0)
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=request.epochs + 1,  # who gets to the end ends on its own
        grace_period=min(settings.grace_epochs, request.epochs),
        reduction_factor=settings.reduction,
    )
    made, own = partial(_made, request.make, request.space), resources(request.sweep, request.threads)
    check_room(own)
    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trainable, make=made, elsewhere=elsewhere), own),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=scheduler, num_samples=count, reuse_actors=True
        ),
        run_config=run_config(
            request.label,
            request.sweep,
            request.storage,
            [
                progress(request.label, count * request.epochs),
                _keeper(request.ledger, points, request.space),
            ],
        ),
    ).fit()
    return list(results.errors)


def _tell_crashed(request: Search, crashed: int, done: int, why: str) -> None:
    """Says how many trials crashed.

    Raises:
        InputError: when no trial came to an end.
    """
    if not done:
        raise InputError(f"{request.label}: no trial came to an end; the first error: {why}")
    print(
        f"{request.label}: {crashed} trial(s) crashed, {done} came to their end and are compared; the first "
        f"error: {why}. Run it again to try them once more",
        file=sys.stderr,
    )


def _made(make: Callable[[Values], Trial], space: Mapping[str, Range], config: Values) -> Trial:
    return make(decoded(config, space))


def _trainable(config: dict[str, Any], make: Callable[[Values], Trial], elsewhere: Elsewhere) -> None:
    from ray import tune

    scored = False

    def report(values: dict[str, Any]) -> None:
        nonlocal scored
        score = values.get("val_auc")
        if score is not None:
            scored = True
            tune.report({"epoch": values["epoch"], "score": score})

    trial = make(config)
    run_here(trial, report, elsewhere)
    if not scored:  # diverged before the first look
        tune.report({"epoch": trial.task.epochs, "score": 0.0})


def _name(values: Values) -> str:
    return json.dumps(values, sort_keys=True)


def _keeper(path: Path, points: list[Point], space: Mapping[str, Range]) -> Any:
    """A Tune callback that writes the ledger."""
    from ray.tune import Callback

    tried = {_name(point.values): point for point in points}

    def point_of(trial: Any) -> Point:
        values = decoded(trial.config, space)
        return tried.setdefault(_name(values), Point(values))

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
