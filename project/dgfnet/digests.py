"""Results are believed when they are what was written: `digests.json` holds the sha256 of a folder's files.

It is written last, so a folder that has it is complete. Small files are read anyway and always checked. A
large one is read again only when its inode has changed since (`st_ctime`, which nobody can set), or when the
caller decides something by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.files import sha256, write_json

NAME = "digests.json"
SMALL = 2**20  # bytes


class Damaged(InputError):
    """A file is not what was written; the message says which, and what is wrong with it."""


def keep(folder: Path, made_from: Mapping[str, str] | None = None, passing: Collection[str] = ()) -> None:
    """Writes the digests of all files below a folder, without subfolders that have their own.

    Args:
        folder: complete.
        made_from: sha256 of the files it was made from, by path.
        passing: names of files that are no result; those with a dot in front are none either.
    """
    content = {name: sha256(folder / name) for name in sorted(_names(folder, passing))}
    write_json(folder / NAME, {"files": content, "made_from": dict(made_from or {})})


def check(path: Path) -> None:
    """Checks a file against the digests of the nearest folder above it that has some.

    Raises:
        Damaged: when it is not the file that was written, or no digests were kept.
    """
    for folder in path.parents[:3]:
        if (folder / NAME).is_file():
            _check(folder, path.relative_to(folder).as_posix(), read(folder), thorough=False)
            return
    raise Damaged(f"{path}: no {NAME} beside it: an earlier release wrote it, or its writer was interrupted")


def check_folder(folder: Path, thorough: bool = False) -> None:
    """Checks every file that the digests of a folder list.

    Raises:
        Damaged: naming the first that is not what was written.
    """
    record = read(folder)
    changed = [name for name in record["files"] if _check(folder, name, record, thorough)]
    if changed:  # all were read and are right: do not read them again next time
        os.utime(folder / NAME)


def read(folder: Path) -> dict[str, Any]:
    """Reads the digests of a folder: `files` and `made_from`, sha256 by path.

    Raises:
        Damaged: when there are none, or they cannot be read.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(record[part], dict) for part in ("files", "made_from"))
    except FileNotFoundError:
        raise Damaged(f"{path}: no such file: what lies there is incomplete") from None
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise Damaged(f"{path}: damaged, no list of digests")
    return dict(record)


def _check(folder: Path, name: str, record: Mapping[str, Any], thorough: bool) -> bool:
    """Checks one file; returns whether a large one had to be read because its inode has changed."""
    path = folder / name
    if name not in record["files"]:
        raise Damaged(f"{path}: not among the files that were written with {NAME}")
    try:
        found = path.stat()
        changed = found.st_ctime_ns >= (folder / NAME).stat().st_ctime_ns
        if (thorough or changed or found.st_size < SMALL) and sha256(path) != record["files"][name]:
            raise Damaged(f"{path}: not what was written, its sha256 differs from {NAME}")
    except FileNotFoundError:
        raise Damaged(f"{path}: missing, though {NAME} lists it") from None
    return changed and found.st_size >= SMALL


def _names(folder: Path, passing: Collection[str]) -> Iterator[str]:
    """Yields the paths of the files that the digests of a folder list, relative to it."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not (here / name / NAME).is_file()]
        for name in names:
            if name not in (NAME, *passing) and not name.startswith("."):
                yield (here / name).relative_to(folder).as_posix()
