"""Tampered models are refused: sha256 of every file of a version, fixed when it was registered.

The list is an artifact of the version's run, its digest a fact of the version: whoever changes a file,
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
from dgfnet.registry.facts import facts, keep_facts

SEAL = "seal"  # fact of the version
LATER = "registered_model_meta"  # written by MLflow when a model is fetched


def digests(folder: Path) -> dict[str, str]:
    """Returns the sha256 of every file below a folder, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / LATER and "__pycache__" not in path.parts
    }


def seal(client: MlflowClient, model: str, version: str) -> None:
    """Logs the sha256 of every file of a version, and their digest as a fact of it."""
    registered = client.get_model_version(model, version)
    text = _text(digests(_fetched(model, version)))
    client.log_text(str(registered.run_id), text, _name(model, version))
    keep_facts(client, model, version, {SEAL: hashlib.sha256(text.encode()).hexdigest()})


@contextmanager
def unsealed(client: MlflowClient, model: str, version: str) -> Iterator[Path]:
    """Yields a private copy of a version, made only of the bytes that were registered; gone after the block.

    The copy is loaded: nobody can change it after the check, and nothing that the list does not name
    (Python's caches, for example) comes along.

    Raises:
        InputError: when it is not as registered, naming files that were changed, added or taken away.
    """
    registered = client.get_model_version(model, version)
    title = f"{model} version {version}"
    digest = facts(registered).get(SEAL)
    if digest is None:
        raise InputError(f"{title} was registered without checksums; run the stage register")
    folder = _fetched(model, version)
    text = _listed(client, registered, _name(model, version))
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise InputError(f"{title}: its list of checksums is not the one it was registered with; not loaded")
    expected = dict(line.split("  ", 1)[::-1] for line in text.splitlines())
    actual = digests(folder)
    wrong = [f"{name} was added" for name in sorted(actual.keys() - expected.keys())]
    wrong += [f"{name} is missing" for name in sorted(expected.keys() - actual.keys())]
    wrong += [f"{n} was changed" for n in sorted(actual.keys() & expected.keys()) if actual[n] != expected[n]]
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
            raise InputError(f"{title} is not what was registered: {'; '.join(wrong[:5])}; not loaded")
        yield Path(place)


def _fetched(model: str, version: str) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}"))
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{model} version {version}: its files cannot be read from the store ({error}); bring them back "
            "from a backup, or register the model again"
        ) from None


def _listed(client: MlflowClient, registered: Any, name: str) -> str:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(registered.run_id, name, folder)).read_text(
                encoding="utf-8"
            )
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{registered.name} version {registered.version}: its checksums cannot be read ({error})"
        ) from None


def _name(model: str, version: str) -> str:
    return f"seals/{model} {version}.sha256"


def _text(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())
