"""What the store holds of a registered version: its out-of-fold table and the metrics of its fold."""

from __future__ import annotations

import tempfile
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.settings import Settings

TABLE = "out_of_fold.csv"


def version_of(client: MlflowClient, model: str, version: str) -> Any:
    """A version as the registry gives it.

    Raises:
        InputError: when there is none, naming those there are.
    """
    try:
        return client.get_model_version(model, version)
    except MlflowException:
        found = [str(one.version) for one in client.search_model_versions(f"name = '{model}'")]
        raise InputError(
            f"the registry has no {model} version {version}; it has {', '.join(sorted(found)) or 'none'}"
        ) from None


def out_of_fold(settings: Settings, version: Any) -> pd.DataFrame:
    """The out-of-fold table of a version's variant as its run holds it; ids are keyed hashes.

    Raises:
        InputError: when the store does not have it any more.
    """
    uri = tracking.store(settings)
    try:
        run = MlflowClient(uri).get_run(version.run_id)
        parent = run.data.tags["mlflow.parentRunId"]
        with tempfile.TemporaryDirectory() as folder:
            path = mlflow.artifacts.download_artifacts(
                run_id=parent, artifact_path=TABLE, dst_path=folder, tracking_uri=uri
            )
            return pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str})
    except (MlflowException, KeyError, OSError) as error:
        raise InputError(
            f"{version.name} version {version.version}: the store has no {TABLE} of its run ({error})"
        ) from None


def known_metrics(settings: Settings, version: Any) -> dict[str, float]:
    """The metrics of a version's fold as its run holds them.

    Raises:
        InputError: when the store does not have the run any more.
    """
    try:
        return dict(MlflowClient(tracking.store(settings)).get_run(version.run_id).data.metrics)
    except MlflowException as error:
        raise InputError(
            f"{version.name} version {version.version}: the store has no run of its fold ({error})"
        ) from None
