"""Fits as trials of Ray Tune, on this machine or on the cluster that RAY_ADDRESS names.

Ray only places and restarts trials. What a fit is, and what is left of one that was interrupted, lies in its
own folder (training/fit.py), so a sweep that was killed is simply run again.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.sections.fits import Sweep
from dgfnet.sweep.carried import SHARED, Files, Remote, carried, sees
from dgfnet.sweep.crash import cause, full_disk_said, last_line
from dgfnet.sweep.local import PATIENCE, private_folder, start
from dgfnet.sweep.progress import progress
from dgfnet.sweep.trial import Trial, run_trial, tell_restarts, track_finished, unfinished

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow tracks
    # else Ctrl-C ends a sweep as if it were done (findings/ray-tune-swallows-ctrl-c.sh)
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that is given no GPU sees none
}
FORWARDED = (  # to workers of a cluster, which have an environment of their own
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    *("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_DISABLE_TELEMETRY"),
    *("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "MLFLOW_S3_ENDPOINT_URL"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "DO_NOT_TRACK"),
)


def run_trials(label: str, trials: Sequence[Trial], settings: Sweep, storage: Path) -> None:
    """Runs the trials, with a progress bar, and returns when all are done.

    Raises:
        InputError: when a fit diverged or kept crashing, the others are finished first; or at once, when this
            machine has too few CPUs or GPUs for a trial.
    """
    waiting = unfinished(label, trials)
    if not waiting:
        return
    with cluster(), beside(waiting[0].places.work) as elsewhere:
        from ray import tune

        bar = progress(label, sum(trial.task.epochs for trial in waiting))
        own = resources(settings, max(trial.task.training.threads for trial in waiting))
        check_room(own)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable, trials=waiting, elsewhere=elsewhere), own),
            param_space={"index": tune.grid_search(list(range(len(waiting))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=run_config(label, settings, storage, [bar]),
        )
        with full_disk_said(storage):
            results = tuner.fit()
    crashed = [
        f"{trial.task.name}: {cause(error)}"
        for place, trial in enumerate(waiting)
        if (error := results[place].error)
    ]
    failed = [f"{trial.task.name}: {trial.failure()}" for trial in waiting if trial.failure()]
    tell_restarts(label, waiting)
    track_finished([trial for trial in waiting if trial.is_done()])  # what a store did not take
    missing = [trial.task.name for trial in waiting if not trial.is_done()]
    if missing:
        raise InputError(
            "\n".join([f"{len(missing)} fit(s) failed: {', '.join(missing)}", *failed, *crashed[:3]])
        )


@contextmanager
def cluster() -> Iterator[None]:
    """Starts or joins Ray for the time of a block; an inner block shares the outer one's.

    Raises:
        InputError: when Ray does not start, or the cluster that RAY_ADDRESS names does not answer.
    """
    for name, value in (QUIET if _named() else QUIET | PATIENCE).items():
        os.environ.setdefault(name, value)  # before the import, which reads some of them
    import ray

    if ray.is_initialized():
        yield
        return
    with nullcontext() if _named() else private_folder() as folder:
        start(ray, folder, _options()) if folder else _join(ray)
        try:
            yield
        finally:
            ray.shutdown()


def _named() -> str:
    """Returns the address of the cluster that the user names, empty when one is to be started here."""
    address = os.environ.get("RAY_ADDRESS", "")
    return "" if address == "local" else address


def resources(settings: Sweep, threads: int) -> dict[str, float]:
    """Returns the CPUs and GPUs that one trial occupies: a CPU for each of its threads, if not more."""
    gpus = settings.gpus_per_trial
    return {
        "cpu": max(settings.cpus_per_trial, threads if threads > 1 else 0),
        "gpu": automatic_gpus() if gpus == "auto" else gpus,
    }


def automatic_gpus() -> float:
    """Returns one GPU for a trial where Ray has any that torch can use, else none; says which, once.

    On a cluster that the user names, torch is that of its workers, and Ray is believed.
    """
    import ray

    count = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    usable = count > 0 and (bool(_named()) or _torch_sees_gpus())
    if count:
        _tell_gpus(count, usable)
    return float(usable)


def _torch_sees_gpus() -> bool:
    import torch  # where there is a GPU alone: the driver does without

    return torch.cuda.is_available()


@cache
def _tell_gpus(count: int, usable: bool) -> None:
    if usable:
        words = (
            "a trial is given one; --set sweep.gpus_per_trial=0.5 lets two trials share one, 0 takes the CPU"
        )
    else:
        words = "this torch cannot use them, and fits are trained on the CPU; install its CUDA or ROCm build"
    print(f"Ray sees {count} GPU(s): {words}", file=sys.stderr)


def check_room(needed: Mapping[str, float]) -> None:
    """Refuses trials that this machine has too few CPUs or GPUs for: they would wait for ever.

    A GPU that they leave idle is told. A cluster that the user names may grow, and is not asked.

    Raises:
        InputError: naming the setting, what a trial takes and what there is.
    """
    if not _named():
        import ray

        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        _compare(needed, there)
        if there.get("GPU") and not needed["gpu"]:
            tell_idle_gpu()


@cache
def tell_idle_gpu() -> None:
    """Says once that torch could use a GPU, which no trial is given."""
    if _torch_sees_gpus():
        print(
            "there are GPUs, and sweep.gpus_per_trial is 0: fits are trained on the CPU; "
            "--set sweep.gpus_per_trial=auto gives each trial one, 0.5 two trials one",
            file=sys.stderr,
        )


def _compare(needed: Mapping[str, float], there: Mapping[str, float]) -> None:
    said = {"cpu": "sweep.cpus_per_trial or training.threads", "gpu": "sweep.gpus_per_trial"}
    for name, settings in said.items():
        has = there.get(name.upper(), 0.0)
        if needed[name] > has:
            raise InputError(
                f"a trial takes {needed[name]:g} {name.upper()}(s), and this machine has {has:g}; "
                f"lower {settings}"
            )


def run_config(label: str, settings: Sweep, storage: Path, callbacks: list[Any]) -> Any:
    """Returns Ray's settings of a run: the folder of its own files, restarts of a trial, callbacks."""
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # tracebacks; what crashed is said at the end
    return tune.RunConfig(
        name=label,
        storage_path=str(storage),
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=settings.retries),
        callbacks=callbacks,
    )


def _options() -> dict[str, Any]:
    environment: dict[str, Any] = {"env_vars": {name: os.environ[name] for name in QUIET}}
    if _named():  # every worker runs the code of this command, whatever is installed on its machine
        environment["py_modules"] = [str(Path(__file__).parents[1])]
    return {"logging_level": "ERROR", "log_to_driver": False, "runtime_env": environment}


def _join(ray: Any) -> None:
    """Joins the cluster of RAY_ADDRESS, by its own rules.

    Raises:
        InputError: when it does not answer, or refuses.
    """
    try:
        ray.init(**_options())
    except Exception as error:
        raise InputError(
            f"RAY_ADDRESS: no Ray cluster can be joined at {_named()} ({last_line(error)}); start it, or "
            "name its token in RAY_AUTH_TOKEN, or unset RAY_ADDRESS to use this machine"
        ) from None


def forwarded() -> dict[str, str]:
    """Returns the variables by which workers reach tracking server and artifact store.

    They travel with the trials, through Ray's object store: a `runtime_env` stands in logs and dashboard.
    """
    return {name: os.environ[name] for name in FORWARDED if name in os.environ}


@dataclass(frozen=True)
class Elsewhere:
    """Carries to workers what they need on other machines than that of the command.

    Attributes:
        variables: of `forwarded`.
        nonce: by which a worker knows that it sees the work folder.
        files: actor that reads and writes it for those who do not; None on a cluster of this machine.
    """

    variables: Mapping[str, str]
    nonce: str
    files: Any | None


@contextmanager
def beside(work: Path) -> Iterator[Elsewhere]:
    """Yields what workers elsewhere need, for a block."""
    if not _named():
        yield Elsewhere({}, "", None)
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(Files)
    options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 8}
    options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    nonce = secrets.token_hex(8)
    work.mkdir(parents=True, exist_ok=True)
    (work / SHARED).write_text(nonce, encoding="utf-8")
    files = actor.options(**options).remote(str(work))
    try:
        yield Elsewhere(forwarded(), nonce, files)
    finally:
        ray.kill(files)
        (work / SHARED).unlink(missing_ok=True)


def run_here(trial: Trial, report: Callable[[dict[str, Any]], None], elsewhere: Elsewhere) -> None:
    """Runs a trial in a worker, which may see the project's folder or not."""
    os.environ.update(elsewhere.variables)
    if elsewhere.files is None or sees(trial.places.work, elsewhere.nonce):
        run_trial(trial, report)
        return
    if not trial.uri.startswith("http"):  # a file beside the project: the command logs what comes back
        trial = replace(trial, uri="")
    with carried(trial, Remote(elsewhere.files)) as (own, send):
        run_trial(own, report, send)


def _trainable(config: dict[str, Any], trials: Sequence[Trial], elsewhere: Elsewhere) -> None:
    from ray import tune

    report: Callable[[dict[str, Any]], None] = tune.report
    run_here(trials[config["index"]], report, elsewhere)
