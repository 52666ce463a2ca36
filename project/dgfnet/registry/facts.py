"""Keeps what is known of a version: facts that code reads in one tag, metrics on its run and model.

The registry's pages print every tag of a version, and a person reads few.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

FACTS = "dgfnet"  # the tag: a JSON object of texts


def facts(version: Any) -> dict[str, str]:
    """Returns the facts of a version by name, as texts.

    A tag of a fact's own name wins: a person has set it, or an earlier release.

    Args:
        version: as the registry gives it.
    """
    kept: dict[str, str] = json.loads(version.tags.get(FACTS, "{}"))
    return kept | {name: value for name, value in version.tags.items() if name != FACTS}


def keep_facts(client: MlflowClient, version: Any, values: Mapping[str, str]) -> None:
    """Adds facts to a version; those of the same name are replaced, also where they are tags of their own.

    Args:
        client: of the registry.
        version: as the registry gives it, just now.
        values: the facts.
    """
    kept = json.loads(version.tags.get(FACTS, "{}"))
    if kept | dict(values) != kept:
        text = json.dumps(kept | dict(values))
        client.set_model_version_tag(version.name, str(version.version), FACTS, text)
    for name in values.keys() & version.tags.keys():
        client.delete_model_version_tag(version.name, str(version.version), name)


def keep_metrics(
    client: MlflowClient,
    registered: Any,
    values: Mapping[str, float | None],
    dataset: str,
    data_md5: str,
) -> None:
    """Logs metrics of a version where MLflow's pages look for them: on its run, and on its model.

    Args:
        client: of the registry.
        registered: the version, as the registry gives it.
        values: by name; an undefined one, None or nan, is left out.
        dataset: name of the data they were measured on.
        data_md5: DVC's hash of it.
    """
    when, digest, model_id = int(time.time() * 1000), data_md5[:36], logged_model(registered)
    metrics = [
        Metric(name, value, when, 0, model_id, dataset, digest, registered.run_id)
        for name, value in values.items()
        if value is not None and value == value
    ]
    client.log_batch(str(registered.run_id), metrics=metrics)


def external_values(outside: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns what a version keeps of `external.measures.measure`: scores, limits of the AUC, slope, `n`."""
    names = ("auc", "accuracy", "sensitivity", "specificity", "precision", "f1", "n")
    limits = {f"auc_{end}": outside["auc_interval"][end] for end in ("low", "high")}
    slope = outside["calibration"]["slope"]
    return {name: outside[name] for name in names} | limits | {"calibration_slope": slope}


def logged_model(version: Any) -> str | None:
    """Returns the id of a version's logged model, in its address alone: MLflow's SQL store fills no model_id.

    None for a version whose files lie elsewhere.
    """
    address = str(version.source)
    return address.removeprefix("models:/") if address.startswith("models:/m-") else None


def with_limits(values: Mapping[str, float | None], name: str) -> str:
    """Returns a value with its limits, `<name>_low` and `<name>_high`, as a person reads it."""
    estimate, low, high = (values.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if estimate is None or estimate != estimate:
        return "undefined"
    limited = low is not None and high is not None and low == low and high == high
    return f"{estimate:.3f} ({low:.3f}-{high:.3f})" if limited else f"{estimate:.3f}"
