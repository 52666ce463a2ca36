"""The champion of a site as it comes out of the registry, and what is attached to its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.registry.bundle import Bundle
from dgfnet.registry.promote import CHAMPION, champion_of
from dgfnet.registry.seal import unsealed
from dgfnet.settings import Modality, Preprocess, Settings, Site


@dataclass(frozen=True)
class Champion:
    """A model loaded from `models:/dgfnet-<site>@champion`.

    Attributes:
        scorer: the MLflow pyfunc model.
        bundle: what it scores with.
    """

    name: str
    version: str
    scorer: Any
    bundle: Bundle

    @property
    def preprocess(self) -> Preprocess:
        """The settings its crops are made with."""
        return self.bundle.preprocess

    @property
    def facts(self) -> Mapping[str, Any]:
        """bundle.json."""
        return self.bundle.facts

    @property
    def alone(self) -> Mapping[Modality, Bundle]:
        """The models of one modality in the bundle."""
        return self.bundle.alone

    def score(self, crops: Mapping[str, Any]) -> pd.DataFrame:
        """Probability and decision of nodules; see registry/scorer.py."""
        return pd.DataFrame(self.scorer.predict(dict(crops)))


def load_champion(settings: Settings, site: Site) -> Champion:
    """Loads the champion of a site from the registry, after a check of its checksums.

    Raises:
        InputError: when the site has none, or its files are not those that were registered.
    """
    client = tracking.registry(settings)
    name = f"dgfnet-{site}"
    version = champion_of(client, name)
    if version is None:
        raise InputError(f"the registry has no {name}@{CHAMPION}; run the stage register")
    return load_version(client, name, str(version.version))


def load_version(client: MlflowClient, name: str, version: str) -> Champion:
    """Loads any version, after a check of its checksums.

    Raises:
        InputError: when its files are not those that were registered.
    """
    with unsealed(client, name, version) as folder:
        scorer = mlflow.pyfunc.load_model(str(folder))
    bundle: Bundle = scorer.unwrap_python_model().bundle
    return Champion(name, version, scorer, bundle)


def attach(settings: Settings, champion: Champion, site: Site, tags: Mapping[str, Any], folder: Path) -> None:
    """Puts results of external validation on the version they belong to, and logs them as a run."""
    uri = tracking.store(settings)
    client = tracking.registry(settings)
    for key, value in tags.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        client.set_model_version_tag(champion.name, champion.version, f"external_{key}", text)
    experiment = tracking.prepare(uri, tracking.experiment_name(site))
    labels = {
        "site": site,
        "variant": champion.facts["variant"],
        "stage": "external",
        "model_version": champion.version,
    }
    identity = f"external {champion.name} {champion.version} {tags['data_md5']}"
    run = tracking.open_run(uri, experiment, f"external v{champion.version}", identity, labels)
    with tracking.running(run):
        run.metrics({f"external_{k}": v for k, v in tags.items() if isinstance(v, float)})
        run.dataset(
            "external cohort", str(tags["data_md5"]), f"{settings.base.data}.dvc", "external validation"
        )
        run.table(folder / "predictions.csv", tracking.identity_key(settings))
        run.artifact(folder / "metrics.json")
