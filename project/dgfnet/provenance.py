"""Provenance of an artifact: git commit, data hash, settings and versions, in provenance.json beside it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from dgfnet import digests
from dgfnet.errors import InputError
from dgfnet.files import read_json, write_json
from dgfnet.settings import Settings, fingerprint

UNTRACKED, CHANGED = "untracked", "-changed"
CHAMPIONS = "champions.json"  # beside params.yaml; registry/champions.py writes it
OWN = (":!params.yaml", ":!dvc.lock", f":!{CHAMPIONS}")  # tracked files that are no code
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
    folder: Path,
    settings: Settings,
    sections: Sequence[str],
    cohort_md5: str | None = None,
    made_from: Mapping[str, str] | None = None,
) -> None:
    """Ends a stage: writes `provenance.json`, the settings used and where they ran, and `digests.json`.

    Args:
        folder: of the stage.
        settings: of the run.
        sections: of the settings that the stage used.
        cohort_md5: of `checked_md5`, from the stage that reads the cohort folder; else that stage's.
        made_from: of `results.sources`.
    """
    write_json(folder / "provenance.json", describe(settings, sections, cohort_md5))
    digests.keep(folder, made_from)


def describe(settings: Settings, sections: Sequence[str], cohort_md5: str | None = None) -> dict[str, Any]:
    """Returns the content of provenance.json."""
    used = settings.model_dump(mode="json", include=set(sections), by_alias=True)
    return {
        "git_commit": git_commit(settings.root),
        "data_md5": cohort_md5 or data_md5(settings),
        "params_sha256": fingerprint(used),
        "overrides": list(settings.overrides),
        "settings": used,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def git_commit(root: Path) -> str:
    """Returns the project folder's commit, with `-dirty` when tracked files differ; `unknown` outside git.

    OWN files do not count: the settings of a run stand beside the commit, in full, and the others are written
    by stages. Where the folder has this package, other code than that is a difference too: of an experiment
    in a copy of the project, or of a run from another address.
    """
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *OWN)
    except FileNotFoundError:
        _say_no_git()
        return "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed or _runs_other_code(root) else commit


@cache
def _runs_other_code(root: Path) -> bool:
    """Tells that the package that runs is not, byte for byte, the one of the project folder."""
    own, running = root / "project" / "dgfnet", Path(__file__).parent
    if not own.is_dir() or own.samefile(running):
        return False
    theirs, ours = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*.py")} for top in (own, running)
    )
    return theirs != ours


@cache
def _say_no_git() -> None:
    """Says once that no commit can be recorded."""
    print(
        "git is not installed, or not on PATH: results will not tell which code made them (commit: unknown)",
        file=sys.stderr,
    )


def data_md5(settings: Settings) -> str:
    """Returns DVC's hash of the cohort that the results come from; `untracked` when it is not under DVC.

    It is what the stage `cohort` found; before that ran, what data.dvc names.

    Raises:
        InputError: when the record of the stage is not what it wrote, or data.dvc names nothing.
    """
    path = settings.artifacts("cohort", "provenance.json")
    if not path.is_file():
        pointer = _pointer(settings)
        return pointed(pointer) if pointer.is_file() else UNTRACKED
    try:
        digests.check(path)
    except digests.Damaged as error:
        raise InputError(f"{error}; run the stage cohort again") from None
    return str(read_json(path)["data_md5"])


def checked_md5(settings: Settings) -> str:
    """Returns DVC's hash of the cohort from data.dvc, after a look at the folder itself.

    Returns:
        The hash; with `-changed` where the folder is not what it names, or DVC could not tell; `untracked`
        when the cohort is not under DVC.

    Raises:
        InputError: when it is, and DVC is not installed.
    """
    pointer = _pointer(settings)
    if not pointer.is_file():
        return UNTRACKED
    if find_spec("dvc") is None:
        raise InputError(
            f"{pointer}: the cohort is under DVC, and DVC is not installed in the environment of "
            f"{sys.executable}; install it (pip install dvc), or remove the file to work without"
        )
    command = [sys.executable, "-m", "dvc", "status", "--json", pointer.name]
    done = subprocess.run(command, cwd=pointer.parent, capture_output=True, text=True, check=False)
    return pointed(pointer) + ("" if done.returncode == 0 and done.stdout.strip() == "{}" else CHANGED)


def same_md5(settings: Settings) -> str:
    """Returns `checked_md5` where it is what the stage `cohort` found, for stages that read pictures again.

    Raises:
        InputError: when the cohort folder has changed since.
    """
    md5 = checked_md5(settings)
    before = data_md5(settings)
    if md5 != before:
        raise InputError(
            f"{settings.data}: the cohort has changed since the stage cohort ran (DVC's hash is {md5}, was "
            f"{before}); run it again"
        )
    return md5


def _pointer(settings: Settings) -> Path:
    return settings.data.with_name(settings.data.name + ".dvc")


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


@cache  # asked for by every run of a stage
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
