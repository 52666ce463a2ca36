"""Provenance of an artifact: git commit, data hash, settings and versions, in provenance.json beside it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from dgfnet import digests
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.settings import Settings, fingerprint

FIT_SECTIONS = (
    "base",
    "cohort",
    "preprocess",
    "network",
    "training",
    "pretrain",
    "crossval",
)  # what a fit needs
LIBRARIES = (
    "dgfnet",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "scikit-learn",
    "mlflow",
    "ray",
    "dvc",
)


def write(
    folder: Path, settings: Settings, sections: Sequence[str], made_from: Mapping[str, str] | None = None
) -> None:
    """Ends a stage: writes `provenance.json`, the settings used and where they ran, and `digests.json`."""
    write_json(folder / "provenance.json", describe(settings, sections))
    digests.keep(folder, made_from)


def describe(settings: Settings, sections: Sequence[str]) -> dict[str, Any]:
    """Returns the content of provenance.json."""
    used = settings.model_dump(mode="json", include=set(sections), by_alias=True)
    return {
        "git_commit": git_commit(settings.root),
        "data_md5": data_md5(settings),
        "params_sha256": fingerprint(used),
        "overrides": list(settings.overrides),
        "settings": used,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def git_commit(root: Path) -> str:
    """Returns the project folder's commit, with `-dirty` when tracked files differ; `unknown` outside git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def data_md5(settings: Settings) -> str:
    """Returns DVC's hash of the cohort from data.dvc; `untracked` when the cohort is not under DVC."""
    pointer = settings.data.with_name(settings.data.name + ".dvc")
    if not pointer.is_file():
        return "untracked"
    return pointed(pointer)


def pointed(pointer: Path) -> str:
    """Returns DVC's hash of what a `.dvc` file stands for.

    Raises:
        InputError: when it is no such file.
    """
    try:
        return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError):
        raise InputError(
            f"{pointer}: names no data as DVC writes it; take it from git again, or run dvc add on the folder"
        ) from None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
