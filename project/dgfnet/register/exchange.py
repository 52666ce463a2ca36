"""Models that travel: a registered version as one signed file, and such a file as a version elsewhere.

The file is a ZIP archive: `manifest.json` with what is known of the version and the sha256 of every other
file, `signature.json` with the Ed25519 signature (RFC 8032) of the manifest, `model/` with the files that
were registered, `origin.json`, the settings it was trained with, and `LICENSE`. No table of nodules travels,
nor the report: what a reader needs is in the model's card.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from mlflow import MlflowClient

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.files import replacing, sha256
from dgfnet.register.logged import log_files, of_one_version
from dgfnet.register.signing import check, fingerprint_of, private_key, public_key, sign
from dgfnet.registry.champion import check_format
from dgfnet.registry.facts import FACTS, facts, keep_metrics
from dgfnet.registry.origin import IMPORTED, ORIGIN, keep_text, read_text
from dgfnet.registry.promotion import RECORD
from dgfnet.registry.seal import SEAL, unsealed
from dgfnet.registry.stored import NETWORK_RUN, NETWORK_TABLE_SHA256, TABLE_SHA256, chosen_version
from dgfnet.settings import Settings
from dgfnet.vocabulary import SITES, Site

FORMAT = 1
MANIFEST, SIGNATURE, MODEL = "manifest.json", "signature.json", "model/"
SETTINGS, LICENCE = "origin.json", "LICENSE"
LARGEST = 10 * 2**20  # bytes of manifest and signature
# facts that mean something beside the store they were made in alone
AT_HOME = (NETWORK_RUN, TABLE_SHA256, NETWORK_TABLE_SHA256, IMPORTED)


def export_version(settings: Settings, site: Site, version: str, target: Path, key: Path) -> str:
    """Writes a version of the registry to one signed file; returns what was done, in words.

    Args:
        settings: for the store.
        site: of the model.
        version: number, or `champion`.
        target: the file.
        key: private Ed25519 key, PEM.

    Raises:
        InputError: when there is no such version, its files are not those that were registered, or the key
            cannot be read.
    """
    private = private_key(key)
    client = tracking.existing_registry(settings)
    registered = chosen_version(client, site, version)
    check_format(registered)
    known = facts(registered)
    with unsealed(client, registered) as folder, replacing(target) as temporary:
        files = {f"{MODEL}{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*"))}
        files = {member: path for member, path in files.items() if path.is_file()}
        texts = {LICENCE: _licence(), SETTINGS: read_text(client, registered) if ORIGIN in known else ""}
        manifest = {
            "format": FORMAT,
            "release": release(),
            "site": site,
            "version": str(registered.version),
            "exported": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "description": str(registered.description).partition("\n\n- Runs:")[0],
            "facts": {fact: value for fact, value in known.items() if not _stays(fact)},
            "tags": {
                tag: value for tag, value in registered.tags.items() if not _stays(tag) and tag != FACTS
            },
            "decisions": [
                json.loads(value) for tag, value in registered.tags.items() if tag.startswith(f"{RECORD}.")
            ],
            "files": {member: sha256(path) for member, path in files.items()}
            | {member: hashlib.sha256(text.encode()).hexdigest() for member, text in texts.items()},
        }
        content = json.dumps(manifest, indent=1, sort_keys=True).encode()
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, content)
            archive.writestr(SIGNATURE, json.dumps(sign(private, content), indent=1))
            for member, text in texts.items():
                archive.writestr(member, text)
            for member, path in files.items():
                archive.write(path, member)
    return (
        f"{registered.name} version {registered.version} is in {target}, signed with the key "
        f"{fingerprint_of(private.public_key())}; the other side needs the public key: "
        f"openssl pkey -in {key} -pubout"
    )


def import_version(settings: Settings, source: Path, trusted: Sequence[Path]) -> str:
    """Registers a file of `export_version` as a version; returns what was done, in words.

    It does not become champion by that: `dgfnet promote` judges it, by the evidence that came with it.

    Args:
        settings: for the store.
        source: the file.
        trusted: public Ed25519 keys, PEM, of those whose models are taken.

    Raises:
        InputError: when the file is none of a model, was changed, is not signed by one of the keys, or comes
            from a release that this one does not read.
    """
    keys = [public_key(path) for path in trusted]
    with tempfile.TemporaryDirectory(prefix="dgfnet-model-") as place:
        manifest, signer = _verified(source, Path(place), keys)
        client, site = tracking.registry(settings), manifest["site"]
        name = f"dgfnet-{site}"
        folder = Path(place) / MODEL
        registered = [
            known
            for known in client.search_model_versions(f"name = '{name}'")
            if facts(known).get(SEAL) == _seal(manifest)
        ]
        if registered:
            return f"{source} is {name} version {registered[0].version} of this registry already"
        brought = {
            "by": tracking.user(),
            "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "signed_by": signer,
            "version": manifest["version"],
            "exported": manifest["exported"],
        }
        experiment = tracking.prepare(tracking.store(settings), tracking.experiment_name(site, "imported"))
        labels = {"site": site, "stage": "import", "variant": manifest["facts"].get("variant", "unknown")}
        identity = tracking.identity_of(settings, f"imported {_seal(manifest)}")
        run = tracking.open_run(tracking.store(settings), experiment, "imported", identity, labels)
        with tracking.running(run):
            if text := (Path(place) / SETTINGS).read_text(encoding="utf-8"):
                keep_text(client, run.run_id, text)
            run.artifact(Path(place) / MANIFEST)
            number = log_files(
                client,
                site,
                experiment,
                run.run_id,
                lambda target, _: shutil.move(folder, target),
                {**manifest["facts"], IMPORTED: json.dumps(brought)},
                manifest["tags"],
                f"{manifest['description']}\n\nImported: version {manifest['version']} of another registry, "
                f"exported {manifest['exported']}, signed with the key {signer}.",
            )
        _show(client, client.get_model_version(name, number), manifest["facts"])
    return (
        f"{name} version {number}: imported, signed with the key {signer}; judge it: "
        f"dgfnet promote {site} {number}"
    )


def _stays(name: str) -> bool:
    """Returns True for facts and tags that say something of the store or the data they were made in alone."""
    return name in AT_HOME or of_one_version(name)


def _seal(manifest: Mapping[str, Any]) -> str:
    """Returns the seal that the model's files have in a registry (registry/seal.py)."""
    own = {
        name.removeprefix(MODEL): digest
        for name, digest in manifest["files"].items()
        if name.startswith(MODEL)
    }
    order = sorted(own, key=lambda name: PurePosixPath(name).parts)
    return hashlib.sha256("".join(f"{own[name]}  {name}\n" for name in order).encode()).hexdigest()


def _verified(source: Path, place: Path, keys: Sequence[Ed25519PublicKey]) -> tuple[dict[str, Any], str]:
    """Unpacks a file after a check of its signature and digests; returns manifest and the signer's key."""
    try:
        with zipfile.ZipFile(source) as archive:
            content, signature = (_member(archive, source, name) for name in (MANIFEST, SIGNATURE))
            manifest, signer = _read_manifest(source, content, signature, keys)
            names, listed = archive.namelist(), [MANIFEST, SIGNATURE, *manifest["files"]]
            twice = [name for name in names if names.count(name) > 1]
            for wrong in (*sorted(set(listed) ^ set(names)), *twice):
                raise InputError(f"{source} is not what was signed: {wrong} was added or taken away")
            for name, digest in manifest["files"].items():
                archive.extract(name, place)
                if sha256(place / name) != digest:
                    raise InputError(f"{source} is not what was signed: {name} was changed")
            (place / MANIFEST).write_bytes(content)
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{source}: cannot be read, expected a file of dgfnet export ({error})") from None
    return manifest, signer


def _member(archive: zipfile.ZipFile, source: Path, name: str) -> bytes:
    if name not in archive.namelist() or archive.getinfo(name).file_size > LARGEST:
        raise InputError(f"{source}: has no {name} of a usual size; expected a file of dgfnet export")
    return archive.read(name)


def _read_manifest(
    source: Path, content: bytes, signature: bytes, keys: Sequence[Ed25519PublicKey]
) -> tuple[dict[str, Any], str]:
    try:
        given = json.loads(signature)
    except ValueError:
        given = None
    signer = check(source, content, given, keys)
    manifest = json.loads(content)
    if manifest["format"] != FORMAT or manifest["site"] not in SITES:
        raise InputError(
            f"{source}: exported by release {manifest['release']} for {manifest['site']}, which this release "
            "does not read; export it with this one, or install that one"
        )
    return manifest, signer


def _show(client: MlflowClient, registered: Any, known: Mapping[str, str]) -> None:
    """Puts on an imported version the numbers of its cross-validation by which MLflow compares."""
    names = ("pooled_auc", "pooled_auc_low", "pooled_auc_high", "threshold")
    values = {name: float(known[name]) for name in names if known.get(name, "undefined") != "undefined"}
    keep_metrics(client, registered, values, "cohort", known.get("data_md5", "unknown"))


def release() -> str:
    """Returns the release of this package, `unknown` where it is not installed."""
    try:
        return version("dgfnet")
    except PackageNotFoundError:
        return "unknown"


def _licence() -> str:
    """Returns the text of the licence as it was installed, or its name."""
    try:
        files = distribution("dgfnet").files or []
        text = next((file.read_text() for file in files if file.name == LICENCE), None)
    except (PackageNotFoundError, OSError):
        text = None
    return text or "Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
