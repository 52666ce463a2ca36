"""Reads from the store what belongs to a registered version: out-of-fold table and metrics of its fold."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import pseudonyms, tracking
from dgfnet.errors import InputError, why
from dgfnet.registry.aliases import CHAMPION, champion_of, is_absent
from dgfnet.registry.facts import facts, keep_facts
from dgfnet.results import required
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site, is_stacked

if TYPE_CHECKING:
    import pandas as pd

TABLE = "out_of_fold.csv"
FORBIDDEN = "error code 403"  # in the words of MLflow
# facts of a version; the network's are those of its run where the version is a stack
TABLE_SHA256, NETWORK_TABLE_SHA256 = "out_of_fold", "network_out_of_fold"
NETWORK_RUN = "network_run"  # the run of the first fold's network


class Distrusted(InputError):
    """A table of the store that may not be the one a version was registered with."""


def table_digests(settings: Settings, site: Site, variant: str, network: str) -> dict[str, str]:
    """Returns facts of a version: sha256 of its out-of-fold table, and of its networks', as logged.

    Args:
        settings: of the run.
        site: of the model.
        variant: of the version.
        network: variant of its networks.
    """
    tables = {TABLE_SHA256: variant} | ({NETWORK_TABLE_SHA256: network} if network != variant else {})
    key = pseudonyms.identity_key(settings)
    return {
        fact: hashlib.sha256(
            pseudonyms.hidden(required(settings, "crossval", site, name, TABLE), key)
        ).hexdigest()
        for fact, name in tables.items()
    }


def keep_tables(client: MlflowClient, versions: Iterable[Any], fits: str, digests: Mapping[str, str]) -> None:
    """Puts the digests of tables on every version of the same fits that has others.

    A champion of the same fits, registered before that was kept, is thereby comparable again.

    Args:
        client: of the registry.
        versions: of one model, as the registry gives them.
        fits: fact of the versions, or `fit` of those without it.
        digests: of `table_digests`.
    """
    for registered in versions:
        known = facts(registered)
        if known.get("fits", known.get("fit")) == fits and not digests.items() <= known.items():
            keep_facts(client, registered, digests)


def chosen_version(client: MlflowClient, site: Site, version: str) -> Any:
    """Returns a version of a site's model by its number, or the one that is `champion`.

    Raises:
        InputError: when the registry does not have it.
    """
    name = f"dgfnet-{site}"
    registered = champion_of(client, name) if version == CHAMPION else version_of(client, name, version)
    if registered is None:
        raise InputError(f"the registry has no {name}@{CHAMPION}; name a version: dgfnet history {site}")
    return registered


def version_of(client: MlflowClient, model: str, version: str) -> Any:
    """Returns a version as the registry gives it.

    Raises:
        InputError: when there is none, naming those there are.
    """
    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        if not (is_absent(error) or FORBIDDEN in str(error)):  # the latter also of a model that is not there
            raise
        numbers = [
            str(registered.version) for registered in client.search_model_versions(f"name = '{model}'")
        ]
        if version in numbers:
            raise
        has = (
            ", ".join(sorted(numbers)) or f"none. If it was registered in another store: {tracking.ELSEWHERE}"
        )
        raise InputError(f"the registry has no {model} version {version}; it has {has}") from None


def run_of(version: Any, network: bool) -> str:
    """Returns the run of a version, or that of the first network in it: of a stack another."""
    return str(facts(version).get(NETWORK_RUN, version.run_id) if network else version.run_id)


def keep_pages(
    settings: Settings, model: str, version: str, fits: str, pages: Mapping[str, Sequence[Path]]
) -> None:
    """Puts the report and the explanations beside a version's run, where its description leads.

    Results may have come here without the store they were logged to: then that is told, and nothing is put.

    Args:
        settings: for the store.
        model: in the registry.
        version: of it.
        fits: the version's, as the stage register wrote them: in another store its number is another's.
        pages: per folder of the run the files.
    """
    try:
        client = tracking.existing_registry(settings)
        registered = version_of(client, model, version)
        if facts(registered).get("fits") != fits:
            raise InputError(f"the version of this number is another one: {tracking.ELSEWHERE}")
        for folder, files in pages.items():
            for file in files:
                client.log_artifact(str(registered.run_id), str(file), folder)
    except (InputError, MlflowException) as error:
        print(f"the report was not put beside {model} version {version}: {why(error)}", file=sys.stderr)


def out_of_fold(settings: Settings, version: Any, network: bool = False) -> pd.DataFrame:
    """Returns the out-of-fold table of a version as its run holds it; ids are keyed hashes.

    Args:
        settings: of the run.
        version: as the registry gives it.
        network: of a stack, the table of its networks.

    Raises:
        Distrusted: when it is not the one the version was registered with, or nobody can tell.
        InputError: when the store does not have it any more.
    """
    uri, title = tracking.store(settings), f"{version.name} version {version.version}"
    known = facts(version)
    fact = NETWORK_TABLE_SHA256 if network and is_stacked(known.get("variant", "")) else TABLE_SHA256
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = MlflowClient(uri).get_run(run_of(version, network))
            path = mlflow.artifacts.download_artifacts(
                run_id=run.data.tags.get(tracking.PARENT, run.info.run_id),
                artifact_path=TABLE,
                dst_path=folder,
                tracking_uri=uri,
            )
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except (MlflowException, KeyError, OSError) as error:
            raise InputError(f"{title}: the store has no {TABLE} of its run ({why(error)})") from None
        if fact not in known:
            raise Distrusted(
                f"{title} was registered before the sha256 of its {TABLE} was kept; the stage register keeps "
                f"it for the fits it finds, or look at the table and set the version's tag {fact} to "
                f"{digest}"
            )
        if digest != known[fact]:
            raise Distrusted(
                f"{title}: {TABLE} in the store is not the one it was registered with (it was changed, or "
                f"logged with another key of the hashes)"
            )
        import pandas as pd  # half a second that other commands of the registry do without

        return pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str})


def known_metrics(settings: Settings, version: Any) -> dict[str, float]:
    """Returns the metrics of the network of a version's fold as its run holds them.

    Raises:
        InputError: when the store does not have the run any more.
    """
    try:
        return dict(MlflowClient(tracking.store(settings)).get_run(run_of(version, True)).data.metrics)
    except MlflowException as error:
        raise InputError(
            f"{version.name} version {version.version}: the store has no run of its fold ({why(error)})"
        ) from None
