"""The origin of a version, commit, cohort and settings in full, kept with its run to make it again."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import provenance
from dgfnet.errors import InputError, why
from dgfnet.registry.facts import facts
from dgfnet.registry.lineage import missing_lineage, trained_on
from dgfnet.results import crossval_provenance, load_chosen
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

ORIGIN = "origin"  # fact of a version: sha256 of the file
IMPORTED = "imported"  # fact of a version: who brought it from where, as JSON
ELSEWHERE = "validated_elsewhere"  # tags of a version begin so: key of the signer, time; numbers as JSON
RECALIBRATED = "recalibrated_from"  # fact of a version: that whose networks it has
SECTIONS = provenance.FIT_SECTIONS


@dataclass(frozen=True)
class Origin:
    """The origin of a version.

    Attributes:
        git_commit: of its cross-validation.
        data_md5: DVC's hash of the cohort.
        params_sha256: of `settings`.
        settings: resolved settings by section, profile and overrides merged.
        chosen: what a search chose, per variant of the site, as chosen.yaml has it; empty without a search.
        versions: of the libraries that trained it.
        machine: kind of its processor.
    """

    git_commit: str
    data_md5: str
    params_sha256: str
    settings: Mapping[str, Mapping[str, Any]]
    chosen: Mapping[str, Any]
    versions: Mapping[str, str | None]
    machine: str


def keep_origin(
    client: MlflowClient, settings: Settings, site: Site, run_id: str, known: str | None = None
) -> dict[str, str]:
    """Logs the origin of a version beside its run; returns its sha256 as a fact.

    Args:
        client: of the registry.
        settings: of the run.
        site: of the model.
        run_id: of the version.
        known: the fact that the version has; if it is the same, nothing is logged.
    """
    record = provenance.describe(settings, SECTIONS) | trained_on(settings)
    trained = crossval_provenance(settings)
    if trained is not None:  # the libraries that registered it may be others
        record |= {name: trained[name] for name in ("versions", "machine")}
    record["chosen"] = load_chosen(settings).get(site, {})
    text = json.dumps({field.name: record[field.name] for field in fields(Origin)}, indent=2, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != known:
        keep_text(client, run_id, text)
    return {ORIGIN: digest}


def keep_text(client: MlflowClient, run_id: str, text: str) -> None:
    """Logs the text of an origin beside a run."""
    client.log_text(run_id, text, _name(hashlib.sha256(text.encode()).hexdigest()))


def read_text(client: MlflowClient, version: Any) -> str:
    """Reads the origin of a version as text.

    Raises:
        InputError: when it cannot be read, or is not what it was registered with.
    """
    title, known = f"{version.name} version {version.version}", facts(version)
    try:
        text = _read(client, version, known)
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{title}: its settings cannot be read ({why(error)})") from None
    if hashlib.sha256(text.encode()).hexdigest() != known[ORIGIN]:
        raise InputError(f"{title}: its settings in the store are not those it was registered with")
    return text


def read_origin(client: MlflowClient, version: Any) -> Origin:
    """Reads the origin of a version.

    Args:
        client: of the registry.
        version: as the registry gives it.

    Raises:
        InputError: when the version cannot be made again: it has no lineage, it was registered without its
            settings, or they are not those it was registered with.
    """
    title = f"{version.name} version {version.version}"
    known = facts(version)
    stated = known.get("git_commit", "unknown"), known.get("data_md5", "untracked")
    if missing := missing_lineage(*stated):
        raise InputError(f"{title} cannot be made again: {missing}")
    if ORIGIN not in known:
        raise InputError(
            f"{title} was registered without its settings; the stage register keeps them for the fits it "
            "finds"
        )
    origin = Origin(**json.loads(read_text(client, version)))
    if (origin.git_commit, origin.data_md5) != stated:
        raise InputError(f"{title}: its git_commit and data_md5 are not those it was registered with")
    return origin


def _read(client: MlflowClient, version: Any, known: Mapping[str, str]) -> str:
    # before format 8 it was named by the version, or by that whose networks a recalibrated one has
    earlier = f"origins/{version.name} {known.get(RECALIBRATED, version.version)}.json"
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(version.run_id, _name(known[ORIGIN]), folder)
        except (MlflowException, OSError):
            path = client.download_artifacts(version.run_id, earlier, folder)
        return Path(path).read_text(encoding="utf-8")


def _name(digest: str) -> str:
    return f"origins/{digest[:20]}.json"
