"""Reads from the store what belongs to a registered version: out-of-fold table and metrics of its fold."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.results import required
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

if TYPE_CHECKING:
    import pandas as pd

TABLE = "out_of_fold.csv"
TABLE_SHA256 = "out_of_fold"  # tag of a version


class Distrusted(InputError):
    """A table of the store that may not be the one a version was registered with."""


def keep_table(
    client: MlflowClient, settings: Settings, site: Site, variant: str, model: str, fit: str
) -> None:
    """Puts the sha256 of the out-of-fold table on every version with a fit: of what was logged of today's.

    A champion of the same fit, registered before that was kept, is thereby comparable again.
    """
    path = required(settings, "crossval", site, variant, TABLE)
    digest = hashlib.sha256(tracking.hidden(path, tracking.identity_key(settings))).hexdigest()
    for registered in client.search_model_versions(f"name = '{model}'"):
        if registered.tags.get("fit") == fit:
            client.set_model_version_tag(model, str(registered.version), TABLE_SHA256, digest)


def version_of(client: MlflowClient, model: str, version: str) -> Any:
    """Returns a version as the registry gives it.

    Raises:
        InputError: when there is none, naming those there are.
    """
    try:
        return client.get_model_version(model, version)
    except MlflowException:
        numbers = [
            str(registered.version) for registered in client.search_model_versions(f"name = '{model}'")
        ]
        raise InputError(
            f"the registry has no {model} version {version}; it has {', '.join(sorted(numbers)) or 'none'}"
        ) from None


def out_of_fold(settings: Settings, version: Any) -> pd.DataFrame:
    """Returns the out-of-fold table of a version's variant as its run holds it; ids are keyed hashes.

    Raises:
        Distrusted: when it is not the one the version was registered with, or nobody can tell.
        InputError: when the store does not have it any more.
    """
    uri, title = tracking.store(settings), f"{version.name} version {version.version}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = MlflowClient(uri).get_run(version.run_id)
            path = mlflow.artifacts.download_artifacts(
                run_id=run.data.tags["mlflow.parentRunId"],
                artifact_path=TABLE,
                dst_path=folder,
                tracking_uri=uri,
            )
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except (MlflowException, KeyError, OSError) as error:
            raise InputError(f"{title}: the store has no {TABLE} of its run ({error})") from None
        if TABLE_SHA256 not in version.tags:
            raise Distrusted(
                f"{title} was registered before the sha256 of its {TABLE} was kept; the stage register keeps "
                f"it for the fits it finds, or look at the table and set the version's tag {TABLE_SHA256} to "
                f"{digest}"
            )
        if digest != version.tags[TABLE_SHA256]:
            raise Distrusted(
                f"{title}: {TABLE} in the store is not the one it was registered with (it was changed, or "
                f"logged with another key of the hashes)"
            )
        import pandas as pd  # half a second that other commands of the registry do without

        return pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str})


def known_metrics(settings: Settings, version: Any) -> dict[str, float]:
    """Returns the metrics of a version's fold as its run holds them.

    Raises:
        InputError: when the store does not have the run any more.
    """
    try:
        return dict(MlflowClient(tracking.store(settings)).get_run(version.run_id).data.metrics)
    except MlflowException as error:
        raise InputError(
            f"{version.name} version {version.version}: the store has no run of its fold ({error})"
        ) from None
