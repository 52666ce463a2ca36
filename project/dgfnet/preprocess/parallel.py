"""Work on nodules over all cores, in the order of the cohort, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from dgfnet.cohort.records import Nodule

Result = TypeVar("Result")

FEW = 1000  # images; below, starting processes (2 s) costs more than they save (3 ms an image)
IN_FLIGHT = 16  # nodules per process handed out at a time, so that results do not pile up in memory


def each(
    work: Callable[[Nodule], Result], nodules: Sequence[Nodule], processes: int, title: str
) -> Iterator[Result]:
    """Results of the work on every nodule; the order does not depend on the number of processes."""
    if sum(len(nodule.images) for nodule in nodules) < FEW:
        processes = 1
    results = map(work, nodules) if processes == 1 else _spread(work, nodules, processes)
    console = Console(stderr=True)
    yield from track(results, description=title, total=len(nodules), console=console, transient=True)
