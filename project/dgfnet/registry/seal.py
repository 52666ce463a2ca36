"""Tampered models are refused: sha256 of every file of a version, fixed when it was registered.

The list is an artifact of the version's run, its digest a tag of the version: whoever changes a file,
smuggles one in or takes one away would have to change store and registry alike.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.errors import InputError
from dgfnet.files import sha256

SEAL = "seal"  # tag of the version
LATER = "registered_model_meta"  # written by MLflow when a model is fetched


def digests(folder: Path) -> dict[str, str]:
    """Sha256 of every file below a folder, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / LATER and "__pycache__" not in path.parts
    }


def seal(client: MlflowClient, model: str, version: str) -> None:
    """Fixes what a version consists of."""
    found = client.get_model_version(model, version)
    text = _text(digests(_fetched(model, version)))
    client.log_text(str(found.run_id), text, _name(model, version))
    client.set_model_version_tag(model, version, SEAL, hashlib.sha256(text.encode()).hexdigest())


@contextmanager
def unsealed(client: MlflowClient, model: str, version: str) -> Iterator[Path]:
    """A private copy of a version, made of nothing but the bytes that were registered; gone after the block.

    What is loaded is the copy: nobody can change it after the check, and nothing that the list does not name
    (Python's caches, for example) comes along.

    Raises:
        InputError: when it is not: naming files that were changed, added or taken away.
    """
    found = client.get_model_version(model, version)
    told = f"{model} version {version}"
    if SEAL not in found.tags:
        raise InputError(f"{told} was registered without checksums; run the stage register")
    folder = _fetched(model, version)
    text = _listed(client, found, _name(model, version))
    if hashlib.sha256(text.encode()).hexdigest() != found.tags[SEAL]:
        raise InputError(f"{told}: its list of checksums is not the one it was registered with; not loaded")
    expected = dict(line.split("  ", 1)[::-1] for line in text.splitlines())
    there = digests(folder)
    wrong = [f"{name} was added" for name in sorted(there.keys() - expected.keys())]
    wrong += [f"{name} is missing" for name in sorted(expected.keys() - there.keys())]
    wrong += [f"{n} was changed" for n in sorted(there.keys() & expected.keys()) if there[n] != expected[n]]
    wrong += [
        f"{path.relative_to(folder)} is a link" for path in sorted(folder.rglob("*")) if path.is_symlink()
    ]
    with tempfile.TemporaryDirectory(prefix="dgfnet-model-") as place:
        for name in expected if not wrong else ():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != expected[name]:
                wrong.append(f"{name} was changed")
            copy = Path(place) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        if wrong:
            raise InputError(f"{told} is not what was registered: {'; '.join(wrong[:5])}; not loaded")
        yield Path(place)


def _fetched(model: str, version: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}"))


def _listed(client: MlflowClient, found: Any, name: str) -> str:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(found.run_id, name, folder)).read_text(encoding="utf-8")
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{found.name} version {found.version}: its checksums cannot be read ({error})"
        ) from None


def _name(model: str, version: str) -> str:
    return f"seals/{model} {version}.sha256"


def _text(found: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())
