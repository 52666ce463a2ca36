"""Registers a bundle: a logged model of a run, and a version that has at once all that is known of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from dgfnet import tracking
from dgfnet.registry.champion import EXTERNAL_AUC
from dgfnet.registry.facts import FACTS
from dgfnet.registry.origin import ELSEWHERE
from dgfnet.registry.promotion import RECORD, ROLLED_BACK
from dgfnet.registry.seal import SEAL, SUMS, sealed
from dgfnet.serving.pyfunc import save_model
from dgfnet.vocabulary import Modality, Site

TAKEN = "RESOURCE_ALREADY_EXISTS"  # MLflow's code


def of_one_version(name: str) -> bool:
    """Returns True for facts and tags that no other version of the same networks has: decisions, results."""
    return name in (SEAL, SUMS, ROLLED_BACK, EXTERNAL_AUC) or name.startswith(
        ("external_", f"{ELSEWHERE}.", f"{RECORD}.", "mlflow.")
    )


def log_version(
    client: MlflowClient,
    site: Site,
    experiment_id: str,
    run_id: str,
    bundle: Path,
    modalities: Sequence[Modality],
    facts: Mapping[str, str],
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Uploads a bundle as a model of a run and registers it; returns the version.

    MLflow's own `log_model` would ask for every metric of the run, upload 300 files of code, and make a
    version that is bare until its tags are set: whoever is interrupted would leave one.

    Args:
        client: of the registry.
        site: whose model it is.
        experiment_id: of the run.
        run_id: of the run.
        bundle: folder that bundle/write.py wrote.
        modalities: inputs of its network.
        facts: of the version, for code; its seal is added.
        tags: of the version, for a person.
        description: of the version.
    """

    def write(folder: Path, model_id: str) -> None:
        # a random uuid would do; the model's own id leads back to it
        described = Model(run_id=run_id, model_id=model_id, model_uuid=model_id)
        save_model(bundle, modalities, folder, described)

    return log_files(client, site, experiment_id, run_id, write, facts, tags, description)


def log_files(
    client: MlflowClient,
    site: Site,
    experiment_id: str,
    run_id: str,
    write: Callable[[Path, str], object],
    facts: Mapping[str, str],
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Uploads the files of an MLflow model and registers it; returns the version.

    Args:
        client: of the registry.
        site: whose model it is.
        experiment_id: of the run.
        run_id: of the run.
        write: makes a folder with the files, given its path and the id that the model has in the store.
        facts: of the version, for code; its seal is added.
        tags: of the version, for a person.
        description: of the version.
    """
    name = f"dgfnet-{site}"
    logged = client.create_logged_model(experiment_id, f"dgfnet_{site}", run_id, tags=dict(tags))
    try:
        with tempfile.TemporaryDirectory(prefix="dgfnet-model-") as place:
            folder = Path(place) / "model"
            write(folder, logged.model_id)
            known = {**facts, **sealed(folder)}
            with tracking.patient():
                client.log_model_artifacts(logged.model_id, str(folder))
    except BaseException:
        with suppress(MlflowException):
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    try:
        words = f"Metastasis of the {site} neck nodes from ultrasound and CT (DGFNet)."
        client.create_registered_model(name, description=words)
    except MlflowException as error:
        if error.error_code != TAKEN:
            raise
    every = {**tags, FACTS: json.dumps(known)}
    version = client.create_model_version(
        name,
        f"models:/{logged.model_id}",
        run_id,
        tags=every,
        description=description,
        model_id=logged.model_id,
    )
    return str(version.version)
