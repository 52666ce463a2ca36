"""The stage `preprocess`: the screened cohort becomes an archive with contact sheets."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from dgfnet import provenance
from dgfnet.cohort.records import Cohort, Nodule
from dgfnet.cohort.stage import load_screened
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive, write
from dgfnet.preprocess.contact import write_sheet
from dgfnet.preprocess.sample import Sample, load_nodule, use_one_thread
from dgfnet.settings import MODALITIES, Preprocess, Settings

SHOWN = 20  # faults listed before "and N more"
FEW = 1000  # images; below, starting processes (2 s) costs more than they save (3 ms an image)
IN_FLIGHT = 16  # nodules per process handed out at a time, so that finished crops do not pile up in memory


def run(settings: Settings) -> None:
    """Writes artifacts/preprocess: archive, contact_us.png, contact_ct.png and provenance.json.

    Raises:
        InputError: listing every image that cannot be used.
    """
    folder = settings.artifacts("preprocess")
    build(load_screened(settings), settings.preprocess, folder, processes=len(os.sched_getaffinity(0)))
    provenance.write(folder, settings, sections=("base", "preprocess"))


def build(cohort: Cohort, settings: Preprocess, folder: Path, processes: int) -> Archive:
    """Writes archive and contact sheets of a cohort; the result does not depend on the number of processes.

    Raises:
        InputError: with up to 20 images that cannot be used; the folder is then left as it was.
    """
    counts = {name: sum(len(nodule.of(name)) for nodule in cohort.nodules) for name in MODALITIES}
    if sum(counts.values()) < FEW:
        processes = 1
    archive = write(folder, counts, _samples(cohort.nodules, settings, processes), settings)
    for name in MODALITIES:
        write_sheet(folder / f"contact_{name}.png", archive, name)
    return archive


def _samples(nodules: Sequence[Nodule], settings: Preprocess, processes: int) -> Iterator[Sample]:
    """All samples in the order of the cohort; every file is looked at before the faults are raised."""
    faults: list[str] = []
    results = _load(nodules, settings, processes)
    progress = track(
        results, description="preprocess", total=len(nodules), console=Console(stderr=True), transient=True
    )
    for samples, wrong in progress:
        faults += wrong
        if not faults:
            yield from samples
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join([f"{len(faults)} image(s) cannot be used:", *faults[:SHOWN], *more]))


def _load(
    nodules: Sequence[Nodule], settings: Preprocess, processes: int
) -> Iterator[tuple[list[Sample], list[str]]]:
    work = partial(load_nodule, settings=settings)
    if processes == 1:
        yield from map(work, nodules)
        return
    # spawned, not forked: OpenCV's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=use_one_thread) as pool:
        for start in range(0, len(nodules), IN_FLIGHT * processes):
            yield from pool.map(work, nodules[start : start + IN_FLIGHT * processes], chunksize=4)
