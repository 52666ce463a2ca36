"""Fits as trials of Ray Tune, on this machine or on the cluster that RAY_ADDRESS names.

Ray only places and restarts trials. What a fit is, and what is left of one that was interrupted, lies in its
own folder (training/fit.py), so a sweep that was killed is simply run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.settings import Sweep
from dgfnet.sweep.trial import Trial, ensure_tracked, run_trial

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # a local cluster on the loopback interface
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow tracks
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE = 100 * 2**20  # bytes; trials read the archive from disk


def run_trials(label: str, trials: Sequence[Trial], settings: Sweep, storage: Path) -> None:
    """Runs the trials, with a progress bar, and returns when all are done.

    Raises:
        InputError: when a fit diverged or kept crashing; the others are finished first.
    """
    waiting = [trial for trial in trials if not trial.is_done()]
    for trial in trials:
        if trial.is_done():
            ensure_tracked(trial)
    if not waiting:
        return
    with cluster():
        from ray import tune

        bar = progress(label, sum(trial.task.epochs for trial in waiting))
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable, trials=waiting), resources(settings)),
            param_space={"index": tune.grid_search(list(range(len(waiting))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=run_config(label, settings, storage, [bar]),
        )
        results = tuner.fit()
    crashed = [str(error) for error in results.errors]
    failed = [f"{trial.task.name}: {trial.failure()}" for trial in waiting if trial.failure()]
    missing = [trial.task.name for trial in waiting if not trial.is_done()]
    if missing:
        raise InputError(
            "\n".join([f"{len(missing)} fit(s) failed: {', '.join(missing)}", *failed, *crashed[:1]])
        )


@contextmanager
def cluster() -> Iterator[None]:
    """Ray for the time of a block; inside another such block, that one's."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    _start(ray)
    try:
        yield
    finally:
        ray.shutdown()


def resources(settings: Sweep) -> dict[str, float]:
    """What one trial occupies."""
    return {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}


def run_config(label: str, settings: Sweep, storage: Path, callbacks: list[Any]) -> Any:
    """Where Ray keeps its own files, and how often it restarts a trial."""
    from ray import tune

    return tune.RunConfig(
        name=label,
        storage_path=str(storage),
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=settings.retries),
        callbacks=callbacks,
    )


def _start(ray: Any) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one on this machine's CPUs and GPUs."""
    ray_env = {name: os.environ[name] for name in QUIET}
    options: dict[str, Any] = {
        "logging_level": "ERROR",
        "log_to_driver": False,
        "runtime_env": {"env_vars": ray_env},
    }
    if not os.environ.get("RAY_ADDRESS"):
        cpus = len(os.sched_getaffinity(0))
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    ray.init(**options)


def _trainable(config: dict[str, Any], trials: Sequence[Trial]) -> None:
    from ray import tune

    report: Callable[[dict[str, Any]], None] = tune.report
    run_trial(trials[config["index"]], report)


def progress(label: str, epochs: int) -> Any:
    """A Tune callback that moves a progress bar of so many epochs."""
    from ray.tune import Callback
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    class Bar(Callback):
        def setup(self, *_: Any, **__: Any) -> None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("epochs"),
            )
            self.progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self.bar = self.progress.add_task(label, total=epochs)
            self.done: dict[str, int] = {}
            self.progress.start()

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            self.done[trial.trial_id] = max(result.get("epoch", 0), self.done.get(trial.trial_id, 0))
            self.progress.update(self.bar, completed=sum(self.done.values()))

        def on_experiment_end(self, *_: Any, **__: Any) -> None:
            self.progress.stop()

    return Bar()
