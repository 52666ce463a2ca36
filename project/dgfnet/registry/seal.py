"""Tampered models are refused: sha256 of every file of a version, fixed when it was registered.

They are facts of the version, in the registry, and the files lie in the artifact store: whoever changes a
file, smuggles one in or takes one away would have to change store and registry alike.
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

from dgfnet.errors import InputError, why
from dgfnet.files import sha256
from dgfnet.registry.facts import facts

SEAL, SUMS = "seal", "checksums"  # facts of the version: sha256 of the list, and the list
LATER = "registered_model_meta"  # written by MLflow when a model is fetched


def digests(folder: Path) -> dict[str, str]:
    """Returns the sha256 of every file below a folder, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / LATER and "__pycache__" not in path.parts
    }


def sealed(folder: Path) -> dict[str, str]:
    """Returns the facts that fix the files of a model's folder, as it is about to be uploaded."""
    text = "".join(f"{digest}  {name}\n" for name, digest in digests(folder).items())
    return {SEAL: hashlib.sha256(text.encode()).hexdigest(), SUMS: text}


@contextmanager
def unsealed(client: MlflowClient, registered: Any) -> Iterator[Path]:
    """Yields a private copy of a version, made only of the bytes that were registered; gone after the block.

    The copy is loaded: nobody can change it after the check, and nothing that the list does not name
    (Python's caches, for example) comes along.

    Args:
        client: of the registry.
        registered: the version, as it gives it.

    Raises:
        InputError: when it is not as registered, naming files that were changed, added or taken away.
    """
    title = f"{registered.name} version {registered.version}"
    digest = facts(registered).get(SEAL)
    if digest is None:
        raise InputError(f"{title} was registered without checksums; run the stage register")
    text = facts(registered).get(SUMS) or _earlier(client, registered)
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise InputError(f"{title}: its list of checksums is not the one it was registered with; not loaded")
    expected = dict(line.split("  ", 1)[::-1] for line in text.splitlines())
    # MLflow's threads still write when one of them has failed
    with tempfile.TemporaryDirectory(prefix="dgfnet-model-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        _fetch(registered.name, str(registered.version), folder)
        actual = digests(folder)
        wrong = [f"{name} was added" for name in sorted(actual.keys() - expected.keys())]
        wrong += [f"{name} is missing" for name in sorted(expected.keys() - actual.keys())]
        wrong += [
            f"{n} was changed" for n in sorted(actual.keys() & expected.keys()) if actual[n] != expected[n]
        ]
        if wrong:
            raise InputError(f"{title} is not what was registered: {'; '.join(wrong[:5])}; not loaded")
        for path in folder.rglob("*"):
            if path.is_file() and path.relative_to(folder).as_posix() not in expected:
                path.unlink()
        yield folder


def _fetch(model: str, version: str, folder: Path) -> None:
    try:
        mlflow.artifacts.download_artifacts(f"models:/{model}/{version}", dst_path=str(folder))
        if not any(path.name != LATER for path in folder.iterdir()):
            raise FileNotFoundError("there are none")
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{model} version {version}: its files cannot be read from the store ({why(error)}); bring them "
            "back from a backup, or register the model again"
        ) from None


def _earlier(client: MlflowClient, registered: Any) -> str:
    """Reads the list of a version of before format 8, an artifact of its run."""
    name = f"seals/{registered.name} {registered.version}.sha256"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(registered.run_id, name, folder)
            return Path(path).read_text(encoding="utf-8")
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{registered.name} version {registered.version}: its checksums cannot be read ({why(error)})"
        ) from None
