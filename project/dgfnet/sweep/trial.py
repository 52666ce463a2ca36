"""One fit as a worker runs it: MLflow child run, failure noted where the driver finds it."""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from dgfnet.digests import Damaged
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.training.task import DAMAGED, FAILURE, Places, Task, code_digest, finished, set_aside

if TYPE_CHECKING:
    from dgfnet.tracking import Run


@dataclass(frozen=True)
class Trial:
    """A task with what a worker needs to run and track it.

    Attributes:
        uri: MLflow tracking URI; empty where a worker cannot reach it.
        experiment_id: of the experiment, which exists.
        parent: id of the parent run.
        tags: of the child run.
        workers: threads that prepare batches for a GPU.
        checkpoint_every: epochs between checkpoints.
        values: of the settings that a search varies, `section.key` to value; empty outside a search.
        gpu_share: of the memory of its GPU, where it has one; 1 for whole GPUs.
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
    gpu_share: float = 1.0

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
        if not done:
            waiting.append(trial)
    track_finished([trial for trial in trials if trial not in waiting])
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


def run_trial(
    trial: Trial, report: Callable[[dict[str, Any]], None], kept: Callable[[], None] = lambda: None
) -> None:
    """Fits the trial's task and logs it as a child run; a diverged fit leaves failure.json and a FAILED run.

    It is not raised, since training again would diverge again.

    Args:
        trial: to run.
        report: called with what a scheduler is told, an epoch each.
        kept: called after each epoch, when its checkpoint is on the disk.
    """
    gc.set_threshold(100_000, 50, 50)  # as in cli.py: most of a short fit is imports, whose objects stay
    from dgfnet.training.loop import TrainingDiverged

    failure = trial.places.fit(trial.task.key) / FAILURE
    failure.unlink(missing_ok=True)
    if (here := code_digest()) != trial.task.code:
        raise InputError(
            f"{socket.gethostname()} has other code ({here[:8]}) than where the command was started "
            f"({trial.task.code[:8]}); install one release on every node, or run the command again if the "
            "code was edited meanwhile"
        )
    try:
        _track(trial, report, kept)
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


def track_finished(trials: Sequence[Trial]) -> None:
    """Logs fits that are done to a store that does not know them, or knows them as interrupted.

    Raises:
        MlflowException: when the store cannot be asked.
    """
    from dgfnet import tracking

    for uri, experiment, parent in dict.fromkeys((t.uri, t.experiment_id, t.parent) for t in trials):
        known = tracking.children(tracking.client(uri), experiment, parent)
        for trial in trials:
            run = known.get(trial.task.key)
            if trial.parent == parent and (run is None or run.info.status != "FINISHED"):
                _track_again(trial)


def _open(trial: Trial) -> Run:
    from dgfnet import tracking

    if not trial.uri:
        raise InputError("the store cannot be reached from here; the command logs the fit")
    name, key = trial.name, trial.task.key
    run = tracking.open_run(trial.uri, trial.experiment_id, name, key, trial.tags, trial.parent)
    run.params(_params(trial))  # at once: those of a trial that is stopped are wanted too
    return run


def _track_again(trial: Trial) -> None:
    """Logs the record of a fit that is done."""
    from dgfnet import tracking

    record = finished(trial.places, trial.task.key)
    if record is None:
        return
    with tracking.running(_open(trial)) as run:
        now = int(time.time() * 1000)
        run.epochs([(step, now, values) for step, values in enumerate(record["history"], start=1)], {})
        metrics, params = _remembered(record)
        run.metrics(metrics)
        run.params(params)


def _remembered(record: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Returns final metrics and parameters of a fit."""
    final = {f"final_{kind}_{k}": v for kind in ("dice", "iou") for k, v in record[kind].items()}
    final |= {k: v for k, v in record.get("scores", {}).items() if v is not None}
    origin = {f"head.{name}": value for name, value in record.get("head", {}).items()}
    origin |= {f"pretrained.{name}": value for name, value in record.get("pretrained", {}).items()}
    return final, origin


def _track(trial: Trial, report: Callable[[dict[str, Any]], None], kept: Callable[[], None]) -> None:
    """Runs the fit, and tells its child run what happens."""
    from dgfnet.sweep.telling import telling
    from dgfnet.training.fit import fit

    task = trial.task
    with telling(partial(_open, trial)) as teller:

        def on_epoch(epoch: int, record: Mapping[str, float]) -> None:
            teller.epoch(epoch, record)
            kept()
            report({"epoch": epoch, **record})

        record = fit(task, trial.places, trial.checkpoint_every, on_epoch, trial.workers, trial.gpu_share)
        for epoch, values in enumerate(record["history"], start=1):
            teller.epoch(epoch, values)  # those of an earlier process that it could not tell any more
        teller.conclude(*_remembered(record))
    report({"epoch": task.epochs, "val_auc": record.get("scores", {}).get("auc")})
