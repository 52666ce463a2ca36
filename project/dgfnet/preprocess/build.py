"""Builds an archive: samples of a cohort into arrays, one nodule at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.cohort.records import Cohort, Nodule
from dgfnet.errors import InputError
from dgfnet.files import replacing, write_json
from dgfnet.measured.definitions import NAMES
from dgfnet.parallel import map_in_order
from dgfnet.preprocess.archive import COLUMNS, HEAD, INDEX, Archive
from dgfnet.preprocess.crops import pad_of
from dgfnet.preprocess.sample import Redraw, Sample, load_nodule
from dgfnet.results import MEASURED
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import MODALITIES, Modality

SHOWN = 20  # faults listed before "and N more"


def build(
    cohort: Cohort,
    settings: Preprocess,
    folder: Path,
    processes: int,
    measuring: bool = False,
    redraw: Redraw | None = None,
) -> Archive:
    """Writes the archive of a cohort; the result does not depend on the number of processes.

    Args:
        cohort: whose images.
        settings: sizes and margin.
        folder: made when absent; an archive in it is replaced.
        processes: at work at once.
        redraw: makes other masks of those that were drawn; can be sent to processes.
        measuring: also write measured.parquet, what was measured of the nodule on every picture as it was
            read: modality, row (of the archive), unit of the pixels, and the features, NaN where one does
            not exist.

    Raises:
        InputError: with up to 20 images that cannot be used; the folder is then left as it was.
    """
    counts = {name: sum(len(nodule.of(name)) for nodule in cohort.nodules) for name in MODALITIES}
    samples = _samples(cohort.nodules, settings, processes, measuring, redraw)
    if not measuring:
        return write(folder, counts, samples, settings)
    kept: dict[Modality, list[tuple[Any, ...]]] = {name: [] for name in MODALITIES}
    archive = write(folder, counts, _keeping(samples, kept), settings)
    with replacing(folder / MEASURED) as temporary:
        _measured(kept).to_parquet(temporary, index=False)
    return archive


def _keeping(samples: Iterable[Sample], kept: Mapping[Modality, list[tuple[Any, ...]]]) -> Iterator[Sample]:
    """Passes samples on, and keeps what was measured."""
    for sample in samples:
        values = sample.measured or {}
        kept[sample.modality].append((sample.unit, *(values[name] for name in NAMES[sample.modality])))
        yield sample


def _measured(kept: Mapping[Modality, list[tuple[Any, ...]]]) -> pd.DataFrame:
    parts = []
    for name, rows in kept.items():
        part = pd.DataFrame(rows, columns=["unit", *NAMES[name]])
        part.insert(0, "modality", name)
        part.insert(1, "row", range(len(part)))
        parts.append(part)
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def write(
    folder: Path, counts: Mapping[Modality, int], samples: Iterable[Sample], settings: Preprocess
) -> Archive:
    """Writes an archive; memory holds one sample at a time.

    Everything goes to temporary files in the folder, which take their names only when all samples are in.
    archive.json is removed before and written last: a folder with it is whole.

    Args:
        folder: made when absent; an archive in it is replaced.
        counts: number of samples to come per modality; 0 of one that the cohort does without.
        samples: rows are given in their order, counted per modality.
        settings: sizes and margin.

    Raises:
        InputError: when there is no image at all. What `samples` raises passes through and leaves an old
            archive as it was.
    """
    if not any(counts.values()):
        raise InputError("no image in the screened cohort")
    size = {name: settings.size(name) for name in MODALITIES}
    pad = {name: pad_of(size[name], settings.margin) for name in MODALITIES}
    with ExitStack() as stack:
        names = [f"{name}.npy" for name in MODALITIES] + [INDEX]
        temporary = {name: stack.enter_context(replacing(folder / name)) for name in names}
        planes = {}
        for name in MODALITIES:
            side = size[name] + 2 * pad[name]
            shape = (counts[name], 3, side, side)
            path = temporary[f"{name}.npy"]
            planes[name] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        matches: dict[Modality, Counter[str]] = {name: Counter() for name in MODALITIES}
        _fill(planes, _counted(samples, matches)).to_parquet(temporary[INDEX], index=False)
        for array in planes.values():
            array.flush()
        digest = _digest([temporary[name] for name in names])
        (folder / HEAD).unlink(missing_ok=True)
    write_json(folder / HEAD, {"size": size, "pad": pad, "sha256": digest, "matched_by": matches})
    return Archive.open(folder)


def _counted(samples: Iterable[Sample], matches: Mapping[Modality, Counter[str]]) -> Iterator[Sample]:
    """Passes samples on, and counts how their masks were matched.

    Raises:
        InputError: at the end, when masks of a modality without names number their one region differently: in
            some files it may be another organ.
    """
    labels: dict[Modality, dict[int | None, str]] = {name: {} for name in MODALITIES}
    for sample in samples:
        matches[sample.modality][sample.match] += 1
        labels[sample.modality].setdefault(sample.label, f"nodule {sample.nodule_id}")
        yield sample
    for name, found in labels.items():
        if len(found) < 2:
            continue
        listed = ", ".join(f"{label or 1} in {where}" for label, where in found.items())
        raise InputError(
            f"{name}: masks call their one region by different numbers ({listed}): some may draw another "
            f"organ; say in the column segment of images.csv which number is the nodule, or * where each is"
        )


def _fill(planes: Mapping[Modality, NDArray[np.uint8]], samples: Iterable[Sample]) -> pd.DataFrame:
    """Copies the samples into the arrays and returns the index, sorted by modality (us first) and row."""
    index: dict[Modality, list[tuple[Any, ...]]] = {name: [] for name in MODALITIES}
    for sample in samples:
        rows = index[sample.modality]
        planes[sample.modality][len(rows)] = sample.planes
        spacing = sample.spacing_mm
        area, unit = (sample.area_px, "px") if spacing is None else (sample.area_px * spacing**2, "mm2")
        whose = (sample.modality, len(rows), sample.nodule_id, sample.patient_id, sample.view)
        rows.append((*whose, float(area), unit, sample.area_px, sample.side_px))
    for name, rows in index.items():
        if len(rows) != len(planes[name]):
            raise ValueError(f"{len(rows)} {name} samples came, {len(planes[name])} were announced")
    return pd.DataFrame([row for name in MODALITIES for row in index[name]], columns=list(COLUMNS))


def _digest(paths: Iterable[Path]) -> str:
    """Returns the digest of the files' bytes in turn: `cat us.npy ct.npy index.parquet | sha256sum`."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def _samples(
    nodules: Sequence[Nodule],
    settings: Preprocess,
    processes: int,
    measuring: bool,
    redraw: Redraw | None,
) -> Iterator[Sample]:
    """Yields samples in the order of the cohort; every file is looked at before the faults are raised."""
    faults: list[str] = []
    work = partial(load_nodule, settings=settings, measuring=measuring, redraw=redraw)
    for samples, wrong in map_in_order(work, nodules, processes, "preprocess"):
        faults += wrong
        if not faults:
            yield from samples
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join([f"{len(faults)} image(s) cannot be used:", *faults[:SHOWN], *more]))
