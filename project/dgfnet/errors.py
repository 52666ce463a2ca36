"""The one exception a user is meant to read, and faults of the surroundings in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterable

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class InputError(ValueError):
    """Something the user gave us is wrong; the message says what, where, what was expected and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


def meant(found: object, known: Iterable[str]) -> str:
    """Returns `; did you mean NAME?` with the known name nearest to one that was found, or nothing."""
    from difflib import get_close_matches  # only now: commands that work start without it

    near = get_close_matches(str(found), known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def explained(error: BaseException) -> str | None:
    """Returns what a fault of disk, memory or MLflow's store means, or None for anything else.

    What was finished before is kept in each case, and the same command goes on from there.
    """
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FULL:
            return f"{where}no space left on the disk; free some and run the same command again"
        if error.errno in FORBIDDEN:
            return f"{where}may not be written or read ({error.strerror}); change that and run it again"
        if error.errno == errno.EIO:
            return f"{where}the disk failed ({error.strerror}); look after it before anything else"
    if isinstance(error, MemoryError):
        return "no memory left; lower resources.memory_mb, or raise sweep.cpus_per_trial: fewer fits at once"
    if type(error).__module__.split(".")[0] in ("mlflow", "sqlalchemy", "sqlite3"):
        text = str(error)
        if "database is locked" in text:
            return "MLflow's store is locked by another process; end that one, or wait, and run it again"
        if "disk is full" in text:
            return "MLflow's store: no space left on the disk; free some and run the same command again"
        if "readonly database" in text:
            return "MLflow's store may not be written; change that and run it again"
        if "malformed" in text or "not a database" in text:
            return (
                "MLflow's store is damaged: bring mlflow.db back from a backup, or move it away and run "
                "crossval, which logs the finished fits to a new one"
            )
        return f"MLflow's store does not answer as it should: {text.strip().splitlines()[0][:300]}"
    return None
