"""The aliases of a model's versions, champion and challenger."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.errors import InputError, why

CHAMPION, CHALLENGER = "champion", "challenger"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes of no model, and of no alias


def is_absent(error: MlflowException) -> bool:
    """Returns True when a registry or store answered that it does not have what was asked for."""
    return error.error_code in ABSENT


def champion_of(client: MlflowClient, model: str) -> Any | None:
    """Returns the model version behind the alias champion, or None.

    Raises:
        InputError: when the registry cannot be asked: that is not the same as having no champion.
    """
    try:
        # not by its alias: MLflow's server with users forbids to ask that of a model that is not there
        number = client.get_registered_model(model).aliases.get(CHAMPION)
        return None if number is None else client.get_model_version(model, str(number))
    except MlflowException as error:
        if is_absent(error):
            return None
        raise InputError(f"{model}: the registry cannot be asked for its champion ({why(error)})") from None
