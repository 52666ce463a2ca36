"""Fits as trials of Ray Tune, on this machine or on the cluster that RAY_ADDRESS names.

Ray only places and restarts trials. What a fit is, and what is left of one that was interrupted, lies in its
own folder (training/fit.py), so a sweep that was killed is simply run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.settings import Sweep
from dgfnet.sweep.trial import Trial, run_trial, tell_restarts, unfinished

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow tracks
    # else Ctrl-C ends a sweep as if it were done (findings/ray-tune-swallows-ctrl-c.sh)
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL = {  # of a cluster that is started here; one that RAY_ADDRESS names keeps its own rules
    "RAY_AUTH_MODE": "disabled",  # nobody outside this machine reaches it
    # The node's address becomes 127.0.0.1, and Ray then binds every socket there, on Linux too. (It replaces
    # ray.init(_node_ip_address="127.0.0.1") by the machine's outer address, and then binds every interface.)
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_gcs_server_port_wait_time_s": "120",  # Ray's 30 s are too short on a busy machine
    "RAY_raylet_start_wait_time_s": "120",
}
STARTS = 2
OBJECT_STORE = 100 * 2**20  # bytes; trials read the archive from disk


def run_trials(label: str, trials: Sequence[Trial], settings: Sweep, storage: Path) -> None:
    """Runs the trials, with a progress bar, and returns when all are done.

    Raises:
        InputError: when a fit diverged or kept crashing; the others are finished first.
    """
    waiting = unfinished(label, trials)
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
    tell_restarts(label, waiting)
    missing = [trial.task.name for trial in waiting if not trial.is_done()]
    if missing:
        raise InputError(
            "\n".join([f"{len(missing)} fit(s) failed: {', '.join(missing)}", *failed, *crashed[:1]])
        )


@contextmanager
def cluster() -> Iterator[None]:
    """Starts or joins Ray for the time of a block; an inner block shares the outer one's.

    Raises:
        InputError: when Ray does not start, or the cluster that RAY_ADDRESS names does not answer.
    """
    for name, value in (QUIET if os.environ.get("RAY_ADDRESS") else QUIET | LOCAL).items():
        os.environ.setdefault(name, value)  # before the import, which reads some of them
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
    """Returns the CPUs and GPUs that one trial occupies."""
    return {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}


def run_config(label: str, settings: Sweep, storage: Path, callbacks: list[Any]) -> Any:
    """Returns Ray's settings of a run: the folder of its own files, restarts of a trial, callbacks."""
    from ray import tune

    return tune.RunConfig(
        name=label,
        storage_path=str(storage),
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=settings.retries),
        callbacks=callbacks,
    )


def _start(ray: Any) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one on this machine's CPUs and GPUs.

    Raises:
        InputError: when the named cluster does not answer, or no start of a local one came up in time.
    """
    options: dict[str, Any] = {
        "logging_level": "ERROR",
        "log_to_driver": False,
        "runtime_env": {"env_vars": {name: os.environ[name] for name in QUIET}},
    }
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise InputError(
                f"RAY_ADDRESS: no Ray cluster can be joined at {address} ({_last_line(error)}); start it, or "
                "unset RAY_ADDRESS to use this machine"
            ) from None
        return
    cpus = len(os.sched_getaffinity(0))
    options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    for start in range(1, STARTS + 1):
        own = _children()
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises a plain Exception when its processes are late
            ray.shutdown()
            _end(_children() - own)
            if start == STARTS:
                raise InputError(
                    f"Ray did not start on this machine in {STARTS} tries ({_last_line(error)}); run the "
                    "same command again when the machine is less busy, or raise "
                    "RAY_raylet_start_wait_time_s and RAY_gcs_server_port_wait_time_s (seconds)"
                ) from None


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")


def _children() -> set[Any]:
    """Processes that descend from this one; Ray brings psutil along."""
    import psutil

    return set(psutil.Process().children(recursive=True))


def _end(processes: set[Any]) -> None:
    """Ends what a failed start left behind: Ray forgets it, and it would take the next start's time."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _trainable(config: dict[str, Any], trials: Sequence[Trial]) -> None:
    from ray import tune

    report: Callable[[dict[str, Any]], None] = tune.report
    run_trial(trials[config["index"]], report)


def progress(label: str, epochs: int) -> Any:
    """Returns a Tune callback that moves a progress bar of so many epochs."""
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
