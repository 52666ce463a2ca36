"""The reason why a trial crashed, in one line: Ray hands over pages about its own processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dgfnet.errors import InputError

SCARCE = 2**18  # bytes
LONGEST = 300  # letters of a cause
DIED = (  # what Ray says of a worker's process that is gone, and what that means
    ("OutOfMemoryError", "Ray ended its process, because the machine ran out of memory"),
    ("NodeDiedError", "the machine it ran on is gone"),
    ("ActorDiedError", "its process died (killed, or out of memory)"),
    ("WorkerCrashedError", "its process died (killed, or out of memory)"),
    ("ActorUnavailableError", "its process cannot be reached any more"),
)


@contextmanager
def full_disk_said(folder: Path) -> Iterator[None]:
    """Says that the disk is full where Ray fails for it: it reads its own cut files, and tells of those.

    Raises:
        InputError: when something fails while the file system of the folder has less than SCARCE bytes.
    """
    try:
        yield
    except InputError:
        raise
    except Exception:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if shutil.disk_usage(there).free >= SCARCE:
            raise
        raise InputError(
            f"{there}: no space left on the disk; free some and run the same command again"
        ) from None


def cause(error: BaseException | None) -> str:
    """Returns what went wrong in a trial: kind and message of the innermost error, on one line.

    Args:
        error: as Ray Tune keeps it: what the trial raised, wrapped or not, what Ray raised because its
            process died, or a traceback in text.
    """
    inner = getattr(error, "cause", None) or error
    kinds = {kind.__name__ for kind in type(inner).__mro__}
    for kind, meaning in DIED:
        if kind in kinds or f"{kind}:" in last_line(inner):
            return meaning
    if type(inner).__module__.startswith("ray."):
        return last_line(inner)
    return f"{type(inner).__name__}: {last_line(inner)}"[:LONGEST]


def last_line(error: BaseException | None) -> str:
    """Returns the last line of an error's text that says something; of a traceback it names the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".")[:LONGEST] if lines else "it gives no reason"
