"""Fits on machines that do not see the project's folder: Ray carries in what they read, out what they make.

`Files` is an actor beside the command that reads and writes the project's folder for workers elsewhere. A
worker keeps the pictures, which all fits share, and all else for the time of a fit. Checkpoints go back as
they are written, so that a fit goes on from there on whatever machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgfnet import digests
from dgfnet.sweep.trial import Trial
from dgfnet.training.task import LOCK, Places

PIECE = 32 * 2**20  # bytes of one message
CACHE = 20 * 2**30  # bytes of pictures that a machine keeps
PLACE = "dgfnet-node"  # folder of a machine, below the one for temporary files
SHARED = ".seen"  # file in the work folder by whose content a worker knows that it sees the folder


class Files:
    """Reads and writes files of the project for workers elsewhere, a piece at a time."""

    def __init__(self, work: str) -> None:
        self.work = Path(work)

    def listing(self, folder: str) -> dict[str, int]:
        """Returns name and size of the files of a folder, or of one file; empty when there is none."""
        path = Path(folder)
        files = [path] if path.is_file() else path.glob("*") if path.is_dir() else []
        kept = (
            file for file in files if file.is_file() and not file.name.startswith(".") and file.name != LOCK
        )
        return {file.name: file.stat().st_size for file in kept}

    def read(self, path: str, start: int) -> bytes:
        """Returns at most PIECE bytes of a file."""
        with open(path, "rb") as stream:
            stream.seek(start)
            return stream.read(PIECE)

    def write(self, key: str, name: str, start: int, content: bytes, whole: bool) -> None:
        """Writes a piece of a file of a fit; the last one makes it the fit's."""
        folder = self.work / "fits" / Path(key).name
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".carried-{Path(name).name}"
        with partial.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if whole:
            os.replace(partial, folder / Path(name).name)

    def remove(self, key: str, name: str) -> None:
        """Removes a file of a fit that is no more."""
        (self.work / "fits" / Path(key).name / Path(name).name).unlink(missing_ok=True)


class Remote:
    """The side of a worker: it asks `Files`, wherever that runs."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def _ask(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self.actor, name).remote(*arguments))

    def fetch(self, source: Path, target: Path) -> None:
        """Copies the files of a folder, or one file, into a folder; the digests last."""
        listed = self._ask("listing", str(source))
        for name in sorted(listed, key=lambda name: (name == digests.NAME, name)):
            target.mkdir(parents=True, exist_ok=True)
            path = str(source if source.name == name else source / name)
            with (target / name).open("wb") as stream:
                for start in range(0, max(listed[name], 1), PIECE):
                    stream.write(self._ask("read", path, start))

    def send(self, key: str, path: Path) -> None:
        """Copies a file of a fit back."""
        size = path.stat().st_size
        with path.open("rb") as stream:
            for start in range(0, max(size, 1), PIECE):
                last = start + PIECE >= size
                self._ask("write", key, path.name, start, stream.read(PIECE), last)

    def remove(self, key: str, name: str) -> None:
        """Removes a file of a fit there."""
        self._ask("remove", key, name)


def sees(work: Path, nonce: str) -> bool:
    """Returns True when this machine sees the work folder in which the command has left its nonce."""
    try:
        return (work / SHARED).read_text(encoding="utf-8") == nonce
    except OSError:
        return False


@contextmanager
def carried(trial: Trial, remote: Remote) -> Iterator[tuple[Trial, Callable[[], None]]]:
    """Yields a trial with its files on this machine, and what sends back those that it has changed.

    At the end of the block all are sent.
    """
    task, places = trial.task, trial.places
    with tempfile.TemporaryDirectory(prefix="dgfnet-fit-") as folder:
        place = Path(folder)
        archive = _archive(remote, places.archive, task.archive)
        for source in {places.measured, places.nodules, places.folds}:
            remote.fetch(source, place / source.parent.name)
        work = place / "work"
        for key in (*task.parents.values(), task.key):
            for home in (places.work / "fits", *places.kept):
                if not (work / "fits" / key / digests.NAME).is_file():
                    remote.fetch(home / key, work / "fits" / key)
        if task.pretrained is not None and not Path(task.pretrained).is_file():
            remote.fetch(Path(task.pretrained), place / "pretrained")
            task = replace(task, pretrained=str(place / "pretrained" / Path(task.pretrained).name))
        here = Places(
            archive=archive,
            measured=place / places.measured.parent.name / places.measured.name,
            nodules=place / places.nodules.parent.name / places.nodules.name,
            folds=place / places.folds.parent.name / places.folds.name,
            work=work,
        )
        own = work / "fits" / task.key
        sent = _state(own)

        def send() -> None:
            nonlocal sent
            now = _state(own)
            changed = (name for name, state in now.items() if sent.get(name) != state)
            for name in sorted(changed, key=lambda name: (name == digests.NAME, name)):
                remote.send(task.key, own / name)
            for name in sent.keys() - now.keys():
                remote.remove(task.key, name)
            sent = now

        try:
            yield replace(trial, task=task, places=here), send
        finally:
            send()


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns size and time of every file of a fit; temporary ones and the lock are none."""
    if not folder.is_dir():
        return {}
    files = (path for path in folder.iterdir() if path.is_file() and path.name != LOCK)
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
        if not path.name.startswith(".")
    }


def _archive(remote: Remote, source: Path, digest: str) -> Path:
    """Returns the folder of the pictures on this machine; the first fit that needs them fetches them."""
    root = Path(tempfile.gettempdir()) / f"{PLACE}-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    target = root / digest[:32]
    with (root / f"{digest[:32]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            os.utime(target)
            return target
        _make_room(root, target)
        partial = root / f".{digest[:32]}"
        shutil.rmtree(partial, ignore_errors=True)
        remote.fetch(source, partial)
        partial.rename(target)
    return target


def _make_room(root: Path, coming: Path) -> None:
    """Removes the pictures that were used longest ago while all take more than CACHE bytes."""
    kept = sorted((path for path in root.iterdir() if path.is_dir() and path != coming), key=_used)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in kept}
    while kept and sum(sizes[path] for path in kept) > CACHE:
        shutil.rmtree(kept.pop(0), ignore_errors=True)


def _used(path: Path) -> float:
    return path.stat().st_mtime
