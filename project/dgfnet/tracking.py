"""MLflow runs as contexts, found again by their identity.

Only clients are used, no fluent state: several processes write to one store, and a run interrupted by SIGKILL
is found again by its identity tag and continued. Nothing is sent anywhere but to the store, and no identifier
of a patient or nodule is sent there: tables go with keyed hashes in their place.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dgfnet import moved, pseudonyms
from dgfnet.errors import InputError
from dgfnet.settings import Settings, fingerprint
from dgfnet.vocabulary import VARIANTS, Site

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER

# it prints the traceback of a fault of its database that it then raises; errors.py says what that means
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

IDENTITY = "dgfnet.identity"
PARENT = "mlflow.parentRunId"
PROJECT_RUN = "dgfnet.project_run"
PROCESS = "dgfnet.process"
STOPPED = "dgfnet.stopped"
RESULTS = "dgfnet.results"  # tag: digest of the results that were logged last, and in full
# the UI opens with runs and charts, not traces; that of MLflow 3.17 looks at its address alone: see `make ui`
KIND = {"mlflow.experimentKind": "custom_model_development"}
ELSEWHERE = (  # what to do when something was logged to a store that is not this one
    "bring that store here (mlflow.db, mlruns and id.key beside params.yaml), or name its server in "
    "MLFLOW_TRACKING_URI"
)
BATCH = 900  # MLflow takes at most 1000 metrics in one call
CHANGED = "INVALID_PARAMETER_VALUE"  # MLflow's code of a parameter that has another value
LONGEST = 6000  # letters of a parameter
UPLOAD = 900  # seconds
PAGE = 400  # runs that one search returns; a busy server takes seconds for a thousand
ALIVE = "dgfnet.alive"  # tag: when its process was alive, in seconds since 1970
DEAD = 300.0  # seconds of silence after which a running run has died


def experiment_name(site: Site | None, part: str | None = None) -> str:
    """Returns the experiment of a site; the segmentation phase, which knows no site, has its own.

    Args:
        site: None for the segmentation phase.
        part: of runs that are no candidates, and would stand in the charts of those that are.
    """
    return "-".join(["dgfnet", site or "pretrain", *([part] if part else [])])


def store(settings: Settings) -> str:
    """Returns the tracking URI: MLFLOW_TRACKING_URI, or SQLite beside params.yaml, which follows a move.

    Raises:
        InputError: when there is no such SQLite file and none can be made.
    """
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    database = settings.home / "mlflow.db"
    if not database.exists() and not os.access(settings.home, os.W_OK):  # MLflow would try for two minutes
        raise InputError(
            f"{settings.home}: may not be written, and has no MLflow store mlflow.db; change that, or name a "
            "store elsewhere with MLFLOW_TRACKING_URI"
        )
    _follow_once(database)
    return f"sqlite:///{database}"


def has_store(settings: Settings) -> bool:
    """Returns False where store and registry are a file to which nothing was logged yet: to ask makes one."""
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("MLFLOW_REGISTRY_URI")
    return bool(elsewhere) or (settings.home / "mlflow.db").is_file()


@cache
def _follow_once(database: Path) -> None:
    moved.follow(database)


def existing_registry(settings: Settings) -> MlflowClient:
    """Returns a client of the model registry for somebody who reads: it makes none.

    Raises:
        InputError: when nothing was logged to it yet.
    """
    if not has_store(settings):
        raise InputError(f"there is no MLflow store in {settings.home}: {ELSEWHERE}")
    return registry(settings)


def client(uri: str) -> MlflowClient:
    """Returns a client of a tracking store."""
    return MlflowClient(uri)


def registry(settings: Settings) -> MlflowClient:
    """Returns a client of the model registry: MLFLOW_REGISTRY_URI where it differs from the tracking store.

    The fluent interface, which alone can log models, is pointed at the same places.
    """
    uri = store(settings)
    models = os.environ.get("MLFLOW_REGISTRY_URI") or uri
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(models)
    return MlflowClient(uri, models)


def leave_project_run() -> str | None:
    """Takes the run of `mlflow run` out of the environment, so that no trial resumes it; returns its id."""
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if run_id:
        os.environ[PROJECT_RUN] = run_id
    return os.environ.get(PROJECT_RUN)


@contextmanager
def patient() -> Iterator[None]:
    """Lets a server take UPLOAD seconds for an answer in a block: large files it passes on first."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    os.environ[name] = str(max(UPLOAD, int(before or 0)))
    try:
        yield
    finally:
        os.environ.pop(name)
        os.environ.update({} if before is None else {name: before})


@dataclass(frozen=True)
class Run:
    """An open MLflow run.

    Attributes:
        client: of its store.
        run_id: its id.
        experiment_id: of its experiment.
        logged: epochs whose metrics the store has.
        has_dataset: a dataset is the run's input already.
        results: digest of the results that the store has; empty without any.
    """

    client: MlflowClient
    run_id: str
    experiment_id: str
    logged: set[int] = field(default_factory=set)
    has_dataset: bool = False
    results: str = ""

    def epochs(self, epochs: Sequence[tuple[int, int, Mapping[str, float]]], tags: Mapping[str, Any]) -> None:
        """Logs the metrics of epochs; one repeated after a restart is logged once.

        Args:
            epochs: number, milliseconds since 1970, and metrics of each. Sent twice with the same time, as
                after an answer that was lost, they are in the store once.
            tags: set in the same call.
        """
        new = [epoch for epoch in epochs if epoch[0] not in self.logged]
        metrics = [
            Metric(name, float(value), when, step)
            for step, when, record in new
            for name, value in record.items()
        ]
        labels = [RunTag(name, str(value)) for name, value in tags.items()]
        for start in range(0, len(metrics), BATCH):
            part = metrics[start : start + BATCH]
            self.client.log_batch(self.run_id, part, tags=labels if start == 0 else [])
        if labels and not metrics:
            self.client.log_batch(self.run_id, tags=labels)
        self.logged.update(step for step, _, _ in new)

    def metrics(self, values: Mapping[str, float]) -> None:
        """Logs final metrics; NaN is left out, as the comparison page cannot show it."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, 0) for name, value in values.items() if value == value]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs parameters; the comparison page shows these. One that has a value already keeps it."""
        given = [Param(name, str(value)[:LONGEST]) for name, value in values.items()]
        try:
            self.client.log_batch(self.run_id, params=given)
        except MlflowException as error:
            if error.error_code != CHANGED:
                raise
            logged = self.client.get_run(self.run_id).data.params
            new = [param for param in given if param.key not in logged]
            self.client.log_batch(self.run_id, params=new)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Sets tags; two processes may set the same new one at once, which MLflow's `set_tag` refuses."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in values.items()])

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Logs the cohort as the run's input, with its DVC md5 as digest.

        Args:
            name: of the data.
            digest: of it.
            source: its file for DVC.
            context: what it is used for.
        """
        if not self.has_dataset:
            entity = Dataset(name=name, digest=digest[:36], source_type="dvc", source=source)
            tag = InputTag("mlflow.data.context", context)
            self.client.log_inputs(self.run_id, [DatasetInput(entity, [tag])])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file; for tables with identifiers there is `table`."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def table(self, path: Path, key: bytes) -> None:
        """Uploads a CSV file in which keyed hashes stand for patients and nodules."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(pseudonyms.hidden(path, key))
            self.artifact(copy)


def opened(client: MlflowClient, run: Any, logged: Iterable[int] = ()) -> Run:
    """Returns a run that the store gave, to log more to it.

    Args:
        client: of its store.
        run: as the store gives it.
        logged: epochs whose metrics it has.
    """
    has_dataset = bool(run.inputs and run.inputs.dataset_inputs)
    results = run.data.tags.get(RESULTS, "")
    return Run(client, run.info.run_id, run.info.experiment_id, set(logged), has_dataset, results)


def prepare(uri: str, experiment: str) -> str:
    """Makes store and experiment if they are new and returns the experiment's id.

    The driver calls this before any trial starts: several processes that create one SQLite store at once
    break it.
    """
    client = MlflowClient(uri)
    stored = client.get_experiment_by_name(experiment)
    if stored is not None:
        _end_orphans(client, stored.experiment_id)
    if stored is None:
        try:
            location = None
            if uri.startswith("sqlite:///"):  # beside the database, wherever the command was started
                location = (
                    Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns" / experiment
                ).as_uri()
            return client.create_experiment(experiment, artifact_location=location, tags=KIND)
        except MlflowException:  # another driver was faster
            stored = client.get_experiment_by_name(experiment)
            if stored is None:
                raise
    if stored.lifecycle_stage == "deleted":
        client.restore_experiment(stored.experiment_id)
    return str(stored.experiment_id)


def _end_orphans(client: MlflowClient, experiment_id: str) -> None:
    """Marks runs as KILLED whose process is gone, or silent for DEAD seconds; those resumed reopen."""
    host, now = socket.gethostname(), time.time()
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        name, _, pid = run.data.tags.get(PROCESS, "").rpartition(":")
        gone = name == host and not Path("/proc", pid).exists()
        if gone or now - float(run.data.tags.get(ALIVE, now)) > DEAD:
            client.set_terminated(run.info.run_id, "KILLED")


def find_run(
    client: MlflowClient, experiment_id: str, identity: str, parent: str | None = None
) -> Any | None:
    """Returns the run with this identity (below this parent), or None."""
    where = f"tags.`{IDENTITY}` = '{identity}'" + (f" and tags.`{PARENT}` = '{parent}'" if parent else "")
    runs = client.search_runs([experiment_id], where, max_results=1)
    return runs[0] if runs else None


def children(client: MlflowClient, experiment_id: str, parent: str) -> dict[str, Any]:
    """Returns the runs below a parent by their identity, in as few requests as there are pages."""
    found: dict[str, Any] = {}
    where, token = f"tags.`{PARENT}` = '{parent}'", None
    while True:
        page = client.search_runs([experiment_id], where, max_results=PAGE, page_token=token)
        found |= {run.data.tags.get(IDENTITY, ""): run for run in page}
        token = page.token
        if not token:
            return found


def crossval_identity(metrics: Mapping[str, Any]) -> str:
    """Returns the identity of the run of a cross-validation: by the fits or regressions it is made of.

    Args:
        metrics: content of metrics.json, or as much of it: `variant`, and `key` of every one of the `folds`.
    """
    keys = [fold["key"] for fold in metrics["folds"]]
    # two baselines may be the same regressions, an ablation may become what dgf is
    return fingerprint(keys) if metrics["variant"] in VARIANTS else fingerprint(metrics["variant"], keys)


def crossval_run(settings: Settings, site: Site, metrics: Mapping[str, Any]) -> Any:
    """Returns the run of a cross-validated variant or baseline, as the store gives it.

    Args:
        settings: for the store.
        site: where it was cross-validated.
        metrics: content of its metrics.json.

    Raises:
        InputError: when the store does not know it.
    """
    uri, variant = store(settings), metrics["variant"]
    experiment = client(uri).get_experiment_by_name(experiment_name(site))
    identity = identity_of(settings, crossval_identity(metrics))
    run = find_run(client(uri), experiment.experiment_id, identity) if experiment else None
    if run is None:
        raise InputError(
            f"{uri} has no run of the cross-validation of {site} {variant}, it was logged to another store: "
            f"{ELSEWHERE}; or run dgfnet crossval, which logs fits that are done and trains none"
        )
    return run


def identity_of(settings: Settings, identity: str) -> str:
    """Returns the identity of a run that hashes people by this project's key.

    Another clone or project on the same server, with a key of its own, has runs of its own: else each would
    overwrite the other's tables, in which the same patients have other pseudonyms.
    """
    return f"{identity}.{pseudonyms.pseudonym(pseudonyms.identity_key(settings), 'project')[:8]}"


def open_run(
    uri: str, experiment_id: str, name: str, identity: str, tags: Mapping[str, Any], parent: str | None = None
) -> Run:
    """Finds the run with this identity (below this parent), or creates it, and marks it as running."""
    client = MlflowClient(uri)
    process = f"{socket.gethostname()}:{os.getpid()}"
    existing = find_run(client, experiment_id, identity, parent)
    if existing is not None:
        run_id = existing.info.run_id
        client.update_run(run_id, "RUNNING")
        now = {PROCESS: process, ALIVE: f"{time.time():.0f}"}
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in now.items()])
        names = [n for n in existing.data.metrics if n.startswith("loss_")]
        history = client.get_metric_history(run_id, names[0]) if names else []
        return opened(client, existing, (metric.step for metric in history))
    labels = {
        **_made_by(tags),
        IDENTITY: identity,
        PROCESS: process,
        ALIVE: f"{time.time():.0f}",
        **({PARENT: parent} if parent else {}),
        **{k: str(v) for k, v in tags.items()},
    }
    run = client.create_run(experiment_id, tags=labels, run_name=name)
    return Run(client, run.info.run_id, experiment_id)


def _made_by(tags: Mapping[str, Any]) -> dict[str, str]:
    """Returns MLflow's own tags of who made a run and with what; the UI's columns User, Source, Version."""
    commit = str(tags.get("git_commit", "unknown"))
    made = {MLFLOW_USER: user(), MLFLOW_SOURCE_TYPE: "LOCAL"}
    if "stage" in tags:
        made[MLFLOW_SOURCE_NAME] = f"dgfnet {tags['stage']}"
    return made if commit == "unknown" else made | {MLFLOW_GIT_COMMIT: commit}


def user() -> str:
    """Returns the login name, `unknown` where the machine has none for this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a bare number for a user
        return "unknown"


def end_children(parent: Run) -> None:
    """Ends the child runs that a scheduler stopped before their process could."""
    where = f"tags.`{PARENT}` = '{parent.run_id}' and attributes.status = 'RUNNING'"
    for run in parent.client.search_runs([parent.experiment_id], where):
        opened(parent.client, run).tags({STOPPED: "by the scheduler"})
        parent.client.set_terminated(run.info.run_id, "FINISHED")


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """The run ends FINISHED when the block does, FAILED when it raises."""
    try:
        yield run
    except BaseException as error:
        with suppress(Exception):  # the store may be what failed
            run.tags({"error": f"{type(error).__name__}, see the terminal"})  # its message may name a file
            run.client.set_terminated(run.run_id, "FAILED")
        raise
    run.client.set_terminated(run.run_id, "FINISHED")


@contextmanager
def running_all(runs: Sequence[Run]) -> Iterator[None]:
    """`running` for several runs at once."""
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(running(run))
        yield


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as `section.key` pairs."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result
