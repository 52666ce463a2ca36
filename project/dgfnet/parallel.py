"""Work on nodules or files over all cores, in their order, with a progress bar.

Libraries are imported inside the functions: most of who imports this module only counts cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 150  # nodules; below, starting processes (2 s) costs more than they save (3 ms an image)
IN_FLIGHT = 16  # items per process handed out at a time, so that results do not pile up in memory


def map_in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    processes: int,
    title: str,
    few: int | None = None,
) -> Iterator[Result]:
    """Yields the result of the work on every item, in the order of the items.

    Args:
        work: a function of a module, for it is sent to processes.
        items: what to work on.
        processes: number of processes at work at once.
        title: of the progress bar.
        few: so many items and fewer are done in this process; FEW when None.
    """
    from rich.console import Console
    from rich.progress import track

    if len(items) <= (FEW if few is None else few):
        processes = 1
    results = map(work, items) if processes == 1 else _spread(work, items, processes)
    console = Console(stderr=True)
    yield from track(results, description=title, total=len(items), console=console, transient=True)


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _spread(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # spawned, not forked: OpenCV's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_limit_to_single_thread) as pool:
        for start in range(0, len(items), IN_FLIGHT * processes):
            yield from pool.map(work, items[start : start + IN_FLIGHT * processes], chunksize=4)


def _limit_to_single_thread() -> None:
    """Keeps OpenCV to a single thread: items are what runs in parallel here."""
    import cv2

    cv2.setNumThreads(1)
