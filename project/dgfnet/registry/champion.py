"""The champion of a site as it comes out of the registry, and results attached to its version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from dgfnet import pseudonyms, tracking
from dgfnet.bundle.layout import FOLDER, PACKED, READABLE
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.packed import unpacked
from dgfnet.errors import InputError
from dgfnet.registry.aliases import CHAMPION, champion_of
from dgfnet.registry.facts import facts, keep_facts, keep_metrics, with_limits
from dgfnet.registry.seal import unsealed
from dgfnet.sections.data import Preprocess
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

EXTERNAL = "external cohort"  # name of the dataset
EXTERNAL_AUC = "AUC external"  # tag of a version, for a person


@dataclass(frozen=True)
class Champion:
    """A model version of the registry, loaded.

    Attributes:
        name: of the registered model.
        version: of it.
        model: scores crops, as `mlflow models serve` runs it.
    """

    name: str
    version: str
    model: ScoringModel

    @property
    def preprocess(self) -> Preprocess:
        """The settings its crops are made with."""
        return self.model.preprocess

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Everything in bundle.json."""
        return self.model.metadata


def load_champion(settings: Settings, site: Site) -> Champion:
    """Loads the champion of a site from the registry, after a check of its checksums.

    Raises:
        InputError: when the site has none, or its files are not those that were registered.
    """
    return load_version(*champion_version(settings, site))


def champion_version(settings: Settings, site: Site) -> tuple[MlflowClient, Any]:
    """Returns client of the registry, and a site's champion as it gives it, in a format this release reads.

    Raises:
        InputError: when the site has none, or an earlier release registered it.
    """
    name = f"dgfnet-{site}"
    missing = InputError(f"the registry has no {name}@{CHAMPION}; run the stage register")
    if not tracking.has_store(settings):
        raise missing
    client = tracking.registry(settings)
    champion = champion_of(client, name)
    if champion is None:
        raise missing
    check_format(champion)
    return client, champion


def load_version(client: MlflowClient, registered: Any) -> Champion:
    """Loads any version, after a check of its checksums; none of the code it carries is run.

    Args:
        client: of the registry.
        registered: the version, as the registry gives it.

    Raises:
        InputError: when its files are not those that were registered, or an earlier release registered it.
    """
    with open_bundle(client, registered) as folder:
        return Champion(registered.name, str(registered.version), ScoringModel.open(folder))


@contextmanager
def open_bundle(client: MlflowClient, registered: Any) -> Iterator[Path]:
    """Yields the bundle folder of any version for a block, after a check of its checksums.

    Args:
        client: of the registry.
        registered: the version, as the registry gives it.

    Raises:
        InputError: when its files are not those that were registered, or an earlier release registered it.
    """
    check_format(registered)
    with unsealed(client, registered) as folder:
        packed = folder / "artifacts" / PACKED
        with unpacked(packed) if packed.is_file() else nullcontext(packed.with_name(FOLDER)) as bundle:
            yield bundle


def check_format(registered: Any) -> None:
    """Refuses versions of an earlier release whose bundles this one does not read.

    Args:
        registered: the version, as the registry gives it.

    Raises:
        InputError: when the version is of an earlier release.
    """
    if facts(registered).get("bundle_format") not in READABLE:
        raise InputError(
            f"{registered.name} version {registered.version} was registered by an earlier release of DGFNet "
            "and cannot be read; run the stage register"
        )


def attach(
    settings: Settings,
    champion: Champion,
    site: Site,
    values: Mapping[str, float | None],
    data_md5: str,
    source: str,
    folder: Path,
) -> None:
    """Keeps results of external validation with the version they belong to, and logs them as a run.

    The run stands in an experiment of its own, where it is in nobody's way who charts the variants.

    Args:
        settings: for the store.
        champion: that was validated.
        site: of the model.
        values: `auc`, `auc_low`, `auc_high`, `n` and others; None or nan where undefined.
        data_md5: hash of the external cohort, DVC's where DVC keeps it.
        source: of the cohort, in words.
        folder: with predictions.csv and metrics.json, which the run gets.
    """
    uri, client = tracking.store(settings), tracking.registry(settings)
    name, version = champion.name, champion.version
    known = {key: value for key, value in values.items() if value is not None and value == value}
    # also what is undefined now, in the place of what it was on other data
    kept = {f"external_{key}": f"{known[key]:.4f}" if key in known else "undefined" for key in values}
    registered = client.get_model_version(name, version)
    keep_facts(client, registered, kept | {"external_data_md5": data_md5})
    client.set_model_version_tag(name, version, EXTERNAL_AUC, with_limits(values, "auc"))
    metrics = {f"external_{key}": value for key, value in known.items()}
    keep_metrics(client, registered, metrics, EXTERNAL, data_md5)
    experiment = tracking.prepare(uri, tracking.experiment_name(site, "external"))
    labels = {
        "site": site,
        "variant": champion.metadata["variant"],
        "stage": "external",
        "model_version": version,
        "data_md5": data_md5,
    }
    identity = tracking.identity_of(settings, f"external {name} {version} {data_md5}")
    run = tracking.open_run(uri, experiment, f"external v{version}", identity, labels)
    with tracking.running(run):
        run.metrics(metrics)
        run.dataset(EXTERNAL, data_md5, source, "external validation")
        run.table(folder / "predictions.csv", pseudonyms.identity_key(settings))
        run.artifact(folder / "metrics.json")
