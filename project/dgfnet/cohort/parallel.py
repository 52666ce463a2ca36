"""Work on nodules over all cores, in the order of the cohort, with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import cv2
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


def _spread(work: Callable[[Nodule], Result], nodules: Sequence[Nodule], processes: int) -> Iterator[Result]:
    # spawned, not forked: OpenCV's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_use_one_thread) as pool:
        for start in range(0, len(nodules), IN_FLIGHT * processes):
            yield from pool.map(work, nodules[start : start + IN_FLIGHT * processes], chunksize=4)


def _use_one_thread() -> None:
    """Keeps OpenCV to one thread: nodules are what runs in parallel here."""
    cv2.setNumThreads(1)
