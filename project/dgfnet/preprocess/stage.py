"""The stage `preprocess`: the screened cohort becomes an archive with contact sheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dgfnet import provenance
from dgfnet.cohort.parallel import cores, each
from dgfnet.cohort.records import Cohort, Nodule
from dgfnet.cohort.stage import load_screened
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive, write
from dgfnet.preprocess.contact import write_sheet
from dgfnet.preprocess.sample import Sample, load_nodule
from dgfnet.settings import MODALITIES, Preprocess, Settings

SHOWN = 20  # faults listed before "and N more"


def run(settings: Settings) -> None:
    """Writes artifacts/preprocess: archive, contact_us.png, contact_ct.png and provenance.json.

    Raises:
        InputError: listing every image that cannot be used.
    """
    folder = settings.artifacts("preprocess")
    build(load_screened(settings), settings.preprocess, folder, processes=cores())
    provenance.write(folder, settings, sections=("base", "preprocess"))


def build(cohort: Cohort, settings: Preprocess, folder: Path, processes: int) -> Archive:
    """Writes archive and contact sheets of a cohort; the result does not depend on the number of processes.

    Raises:
        InputError: with up to 20 images that cannot be used; the folder is then left as it was.
    """
    counts = {name: sum(len(nodule.of(name)) for nodule in cohort.nodules) for name in MODALITIES}
    archive = write(folder, counts, _samples(cohort.nodules, settings, processes), settings)
    for name in MODALITIES:
        sheet = folder / f"contact_{name}.png"
        sheet.unlink(missing_ok=True)
        if counts[name]:
            write_sheet(sheet, archive, name)
    return archive


def _samples(nodules: Sequence[Nodule], settings: Preprocess, processes: int) -> Iterator[Sample]:
    """All samples in the order of the cohort; every file is looked at before the faults are raised."""
    faults: list[str] = []
    work = partial(load_nodule, settings=settings)
    for samples, wrong in each(work, nodules, processes, "preprocess"):
        faults += wrong
        if not faults:
            yield from samples
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join([f"{len(faults)} image(s) cannot be used:", *faults[:SHOWN], *more]))
