"""One fit as a worker runs it: MLflow child run, failure noted where the driver finds it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dgfnet.digests import Damaged
from dgfnet.files import write_json
from dgfnet.training.task import DAMAGED, FAILURE, Places, Task, finished, set_aside


@dataclass(frozen=True)
class Trial:
    """A task with what a worker needs to run and track it.

    Attributes:
        uri: MLflow tracking URI.
        experiment_id: of the experiment, which exists.
        parent: id of the parent run.
        tags: of the child run.
        workers: threads that prepare batches for a GPU.
        checkpoint_every: epochs between checkpoints.
        values: of the settings that a search varies, `section.key` to value; empty outside a search.
    """

    task: Task
    places: Places
    uri: str
    experiment_id: str
    parent: str
    tags: Mapping[str, str]
    workers: int
    checkpoint_every: int
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the child run: its fold, and in a search what it tries."""
        tried = [f"{name.rsplit('.', 1)[-1]} {_short(value)}" for name, value in self.values.items()]
        return ", ".join([f"fold{self.task.fold}", *tried])

    def is_done(self) -> bool:
        """Returns True when the fit's result is on disk."""
        return finished(self.places, self.task.key) is not None

    def failure(self) -> str | None:
        """Returns the error of the fit's last attempt, None when it did not fail."""
        path = self.places.fit(self.task.key) / FAILURE
        return str(json.loads(path.read_text())["error"]) if path.is_file() and not self.is_done() else None

    def started_again(self) -> str | None:
        """Says that the fit was trained from its first epoch, where its checkpoint could not be read."""
        path = self.places.fit(self.task.key) / DAMAGED
        again = f"{path}: cannot be read; {self.task.name} was trained from its first epoch"
        return again if path.is_file() else None


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def unfinished(label: str, trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that are not done; damaged ones are set aside, and those that are done tracked."""
    waiting = []
    for trial in trials:
        damage: list[str] = []
        while (done := _done(trial, damage)) is None:  # one may lie in work, and one among the outputs
            pass
        for words in damage:
            then = f"taken from {trial.places.fit(trial.task.key)}" if done else "trained again"
            print(f"{label}: {words}, and {trial.task.name} is {then}", file=sys.stderr)
        if done:
            ensure_tracked(trial)
        else:
            waiting.append(trial)
    return waiting


def _done(trial: Trial, damage: list[str]) -> bool | None:
    """Says that a fit is done; None after a damaged one was set aside, and noted."""
    try:
        return trial.is_done()
    except Damaged as error:
        damage.append(f"{error}; set aside in {set_aside(trial.places, trial.task.key)}")
        return None


def tell_restarts(label: str, trials: Sequence[Trial]) -> None:
    """Prints which of the trials had to start again, for their checkpoint could not be read."""
    for trial in trials:
        if again := trial.started_again():
            print(f"{label}: {again}", file=sys.stderr)


def run_trial(trial: Trial, report: Callable[[dict[str, Any]], None]) -> None:
    """Fits the trial's task and logs it as a child run; a diverged fit leaves failure.json and a FAILED run.

    It is not raised, since training again would diverge again.
    """
    from dgfnet.training.loop import TrainingDiverged

    failure = trial.places.fit(trial.task.key) / FAILURE
    failure.unlink(missing_ok=True)
    try:
        track(trial, report)
    except TrainingDiverged as error:
        write_json(failure, {"error": str(error)})
        report({"epoch": trial.task.epochs})


def _params(trial: Trial) -> dict[str, Any]:
    """Returns what the comparison page shows of a trial."""
    task = trial.task
    return {
        "fold": task.fold,
        "epochs": task.epochs,
        "encoder": task.encoder,
        "variant": task.variant,
        "learning_rate": task.training.learning_rate,
        "weight_decay": task.training.weight_decay,
        "dropout": task.network.dropout,
        **trial.values,
    }


def ensure_tracked(trial: Trial) -> None:
    """Logs a fit that is done already to a store that does not know it, or knows it as interrupted."""
    from dgfnet import tracking

    run = tracking.find_run(tracking.client(trial.uri), trial.experiment_id, trial.task.key, trial.parent)
    if run is None or run.info.status != "FINISHED":
        track(trial, lambda _: None)


def track(trial: Trial, report: Callable[[dict[str, Any]], None]) -> None:
    """Runs the fit inside its child run, or logs the record of one that is done already."""
    from dgfnet import tracking
    from dgfnet.training.fit import fit

    task = trial.task
    run = tracking.open_run(trial.uri, trial.experiment_id, trial.name, task.key, trial.tags, trial.parent)
    with tracking.running(run):
        run.params(_params(trial))  # first: those of a trial that is stopped are wanted too

        def on_epoch(epoch: int, record: Mapping[str, float]) -> None:
            run.epoch(epoch, record)
            report({"epoch": epoch, **record})

        record = fit(task, trial.places, trial.checkpoint_every, on_epoch, trial.workers)
        for epoch, values in enumerate(record["history"], start=1):
            run.epoch(epoch, values)
        final = {f"final_{kind}_{k}": v for kind in ("dice", "iou") for k, v in record[kind].items()}
        run.metrics({**final, **{k: v for k, v in record.get("scores", {}).items() if v is not None}})
        origin = {f"head.{name}": value for name, value in record.get("head", {}).items()}
        origin |= {f"pretrained.{name}": value for name, value in record.get("pretrained", {}).items()}
        if origin:
            run.params(origin)
    report({"epoch": task.epochs, "val_auc": record.get("scores", {}).get("auc")})
