"""A commit and its cohort in a fresh folder, from this repository and this DVC cache; no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dgfnet.errors import InputError
from dgfnet.provenance import pointed

PARAMS = "params.yaml"


def check_empty(into: Path) -> None:
    """Refuses a folder in which something lies.

    Raises:
        InputError: naming it.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise InputError(f"{into} exists and is not empty; delete it, or name another folder with --into")


def check_commit(root: Path, commit: str) -> None:
    """Refuses a commit that the repository around a folder does not have.

    Raises:
        InputError: naming commit and folder.
    """
    _run(["git", "rev-parse", "--show-toplevel"], root, f"{root} is not inside a git repository")
    _run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"],
        root,
        f"the repository of {root} has no commit {commit}; fetch it",
    )


def check_out(root: Path, commit: str, data: str, md5: str, into: Path) -> Path:
    """Checks a commit and its cohort out into a fresh folder; when that fails, nothing stays.

    Args:
        root: folder of params.yaml, inside a git repository and a DVC project.
        commit: that is there.
        data: cohort folder, relative to the folder of params.yaml.
        md5: DVC's hash of the cohort that is wanted.
        into: an empty folder, or none yet.

    Returns:
        The folder of params.yaml in the checkout.

    Raises:
        InputError: when the commit has no settings file or another cohort, or DVC's cache lacks the cohort.
    """
    check_empty(into)
    top = _run(["git", "rev-parse", "--show-toplevel"], root, f"{root} is not inside a git repository")
    inside = _run(["git", "rev-parse", "--show-prefix"], root, f"{root} is not inside a git repository")
    with _all_or_nothing(into):
        # a clone, for a worktree would leave its mark in the repository; hooks are nobody's wish here
        git = ["git", "-c", "core.hooksPath=/dev/null"]
        _run([*git, "clone", "--quiet", "--no-checkout", top, str(into)], root, f"cannot clone {top}")
        _run([*git, "checkout", "--quiet", "--detach", commit], into, f"cannot check out {commit}")
        folder = into / inside
        if not (folder / PARAMS).is_file():
            raise InputError(f"commit {commit} has no {inside}{PARAMS}")
        _data(root, folder, commit, data, md5)
    return folder


def _data(root: Path, folder: Path, commit: str, data: str, md5: str) -> None:
    """Checks the cohort out of DVC's cache, when the commit names the one with this md5."""
    pointer = folder / f"{data}.dvc"
    if Path(data).is_absolute() or ".." in Path(data).parts or not pointer.is_file():
        raise InputError(f"commit {commit} has no {data}.dvc beside {PARAMS}; it was never committed")
    committed = pointed(pointer)
    if committed != md5:
        raise InputError(f"{data}.dvc of commit {commit} names the cohort {committed}, expected {md5}")
    dvc = [sys.executable, "-m", "dvc"]
    cache = _run([*dvc, "cache", "dir"], root, f"{root} is not inside a DVC project")
    _run([*dvc, "cache", "dir", "--local", cache], folder, f"the checkout cannot use DVC's cache {cache}")
    _run(
        [*dvc, "checkout", "--quiet", f"{data}.dvc"],
        folder,
        f"DVC's cache {cache} lacks the cohort {md5}; `dvc fetch --all-commits {data}.dvc` in {root} brings "
        "it from a remote",
    )


@contextmanager
def _all_or_nothing(into: Path) -> Iterator[None]:
    existed = into.is_dir()
    try:
        yield
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        if existed:
            into.mkdir()
        raise


def _run(command: list[str], folder: Path, fault: str) -> str:
    """Runs a command and returns its output.

    Raises:
        InputError: the fault, with the last line of the command's errors.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not installed, or not on PATH; install it and try again") from None
    except OSError as error:
        raise InputError(f"{fault} ({error})") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        raise InputError(f"{fault} ({lines[-1]})")
    return done.stdout.strip()
