"""Results that travel: an external validation as one signed file, back to where the model comes from.

The file is JSON: `content`, a text that was signed, and the signature. It holds numbers of the cohort as a
whole: no nodule, no patient, and no picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.files import plain, replacing
from dgfnet.register.exchange import release
from dgfnet.register.signing import check, fingerprint_of, private_key, public_key, sign
from dgfnet.registry.facts import external_values, facts, with_limits
from dgfnet.registry.origin import ELSEWHERE
from dgfnet.registry.seal import SEAL
from dgfnet.settings import Settings
from dgfnet.vocabulary import SITES

FORMAT = 1
WHAT = "external validation of DGFNet"


def write_results(registered: Any, site: str, results: Mapping[str, Any], target: Path, key: Path) -> str:
    """Writes results of a version to a signed file; returns the fingerprint of the key.

    Args:
        registered: the version, as the registry gives it.
        site: of the model.
        results: numbers, of the whole cohort.
        target: the file.
        key: private Ed25519 key, PEM.

    Raises:
        InputError: when the key cannot be read, or the version has no seal.
    """
    private, seal = private_key(key), facts(registered).get(SEAL)
    if seal is None:
        raise InputError(
            f"{registered.name} version {registered.version} was registered by an earlier release and has no "
            "checksum by which its origin would know it; results are kept here alone"
        )
    content = {
        "what": WHAT,
        "format": FORMAT,
        "release": release(),
        "site": site,
        "seal": seal,
        "validated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "results": plain(results),
    }
    text = json.dumps(content, indent=1, sort_keys=True)
    with replacing(target) as temporary:
        whole = {"content": text, **sign(private, text.encode())}
        temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return fingerprint_of(private.public_key())


def is_results(source: Path) -> bool:
    """Returns True for a file that may be one of `write_results`: JSON, not an archive."""
    try:
        with source.open("rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False


def import_results(settings: Settings, source: Path, trusted: Sequence[Path]) -> str:
    """Records a file of `write_results` with the version that it is about; returns what was done, in words.

    It stands beside what was validated here, and replaces nothing: the gate does not ask for it.

    Args:
        settings: for the store.
        source: the file.
        trusted: public Ed25519 keys, PEM, of those whose results are taken.

    Raises:
        InputError: when the file is none of results, was changed, is not signed by one of the keys, or is
            about a model that this registry does not have.
    """
    content, signer = _verified(source, trusted)
    client, site = tracking.existing_registry(settings), content["site"]
    name = f"dgfnet-{site}"
    versions = [
        version
        for version in client.search_model_versions(f"name = '{name}'")
        if facts(version).get(SEAL) == content["seal"]
    ]
    if not versions:
        raise InputError(f"{source}: is about a version of {name} that this registry does not have")
    measured = external_values(content["results"]["external"])
    values = {key: value for key, value in measured.items() if value is not None}
    summary = {
        "auc": with_limits(values, "auc"),
        "nodules": content["results"]["nodules"],
        "validated": content["validated"],
        "signed_by": signer,
    }
    tag = f"{ELSEWHERE}.{signer}.{content['validated']}"
    uri = tracking.store(settings)
    experiment = tracking.prepare(uri, tracking.experiment_name(site, "external"))
    for version in versions:
        number = str(version.version)
        labels = {"site": site, "stage": "external", "model_version": number, "signed_by": signer}
        identity = tracking.identity_of(settings, f"elsewhere {name} {number} {tag}")
        run = tracking.open_run(uri, experiment, f"external v{number} by {signer}", identity, labels)
        with tracking.running(run):
            run.metrics({f"external_{key}": float(value) for key, value in values.items()})
            run.artifact(source)
        client.set_model_version_tag(name, number, tag, json.dumps(summary))
    numbers = ", ".join(str(version.version) for version in versions)
    return (
        f"{name} version {numbers}: validated elsewhere on {summary['nodules']} nodules, "
        f"AUC {summary['auc']}, signed with the key {signer}"
    )


def _verified(source: Path, trusted: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """Returns content and signer's key of a file, after a check of its signature."""
    keys = [public_key(path) for path in trusted]
    try:
        whole = json.loads(source.read_text(encoding="utf-8"))
        text = whole["content"].encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{source}: cannot be read, expected a file of dgfnet validate") from None
    signer = check(source, text, whole, keys)
    content = json.loads(text)
    if content.get("what") != WHAT or content["format"] != FORMAT or content["site"] not in SITES:
        raise InputError(f"{source}: holds no {WHAT} that this release reads")
    return content, signer
