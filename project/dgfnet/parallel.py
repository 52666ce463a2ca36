"""Work on nodules or files over all cores, in their order, with a progress bar.

Libraries are imported inside the functions: most of who imports this module only counts cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 150  # nodules; below, starting processes (2 s) costs more than they save (3 ms an image)
TOGETHER = 4  # items sent to a process at once
IN_FLIGHT = 16  # items per process sent out and not yet taken back, so that results do not fill the memory
COMMAND_MB, PROCESS_MB = 400, 200  # of a command beside its processes, and of one (measured: speed.md)
KEPT = 64 << 20  # bytes of freed memory that a process keeps for the next picture


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
        items: what to work on; at most IN_FLIGHT of them per process are under way or wait to be taken.
        processes: number of processes at work at once.
        title: of the progress bar.
        few: so many items and fewer are done in this process; FEW when None.
    """
    if len(items) <= (FEW if few is None else few):
        processes = 1
    results = map(work, items) if processes == 1 else _spread(work, items, processes)
    yield from with_progress(results, title, len(items))


def with_progress(results: Iterable[Result], title: str, total: int) -> Iterator[Result]:
    """Yields the results and shows on a terminal how many of them there are and how long the rest takes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(results, total=total, description=title)


def workers(memory_mb: int) -> int:
    """Returns the number of processes that fit into so much memory beside the command, 1 to that of cores."""
    return max(1, min(cores(), (memory_mb - COMMAND_MB) // PROCESS_MB))


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _spread(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    import multiprocessing
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor

    # spawned, not forked: OpenCV's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
    under_way: deque[Future[list[Result]]] = deque()
    try:
        for start in range(0, len(items), TOGETHER):
            if len(under_way) >= max(1, processes * IN_FLIGHT // TOGETHER):
                yield from under_way.popleft().result()
            under_way.append(pool.submit(_each, work, items[start : start + TOGETHER]))
        while under_way:
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _prepare() -> None:
    """Keeps OpenCV to a single thread, for items are what runs in parallel, and memory in the process.

    The C library gives memory of the size of a picture back to the system when it is freed, and asks for it
    anew for the next; having its pages zeroed again takes as long as looking for drawings does.
    """
    import ctypes

    import cv2

    cv2.setNumThreads(1)
    keep = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if keep is not None:
        keep(-1, KEPT)  # M_TRIM_THRESHOLD: freed at the end of the heap, returned above this
        keep(-3, KEPT // 2)  # M_MMAP_THRESHOLD: pieces below it come from the heap
