"""The archive: every preprocessed image in two arrays, a table that says whose they are, and their digest.

us.npy, ct.npy   uint8 (N, 3, S, S): image 0-255, nodule mask 0/1, boundary 0/1 (US: nodule, CT: tissue)
index.parquet    one row per image: COLUMNS below
archive.json     size (S without its margins) and pad per modality, and the sha256 of the three files
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.preprocess.crops import pad_of
from dgfnet.preprocess.sample import Sample
from dgfnet.provenance import replacing, write_json
from dgfnet.settings import MODALITIES, Modality, Preprocess

HEAD = "archive.json"
INDEX = "index.parquet"
WHOSE = ("modality", "row", "nodule_id", "patient_id", "view")
# area_mm2 is in pixels where area_unit says px: the size of a pixel is unknown there
COLUMNS = (*WHOSE, "area_mm2", "area_unit", "area_px", "side_px")


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive on disk, memory-mapped; nothing is read before it is indexed.

    Attributes:
        folder: where it lies.
        us: (N, 3, S, S) uint8, planes image, nodule mask, boundary.
        ct: the same for CT, with its own N and S.
        index: one row per image, columns COLUMNS; `row` counts within the modality.
        size: side of the network's input per modality, pixels: the central part of the stored S.
        pad: stored pixels around it on each side: S = size + 2 * pad.
        sha256: digest of arrays and index, hex.
    """

    folder: Path
    us: NDArray[np.uint8]
    ct: NDArray[np.uint8]
    index: pd.DataFrame
    size: Mapping[Modality, int]
    pad: Mapping[Modality, int]
    sha256: str

    @classmethod
    def open(cls, folder: Path) -> Archive:
        """Opens an archive and checks that its parts belong together.

        Raises:
            InputError: when a part is missing, truncated, or does not fit the others.
        """
        head = _read_head(folder)
        index = _read_index(folder / INDEX)
        planes = {}
        for name in MODALITIES:
            rows = index.loc[index["modality"] == name, "row"].tolist()
            if sorted(rows) != list(range(len(rows))):
                raise _broken(folder / INDEX, f"the rows of {name} are not 0 to {len(rows) - 1}, each once")
            planes[name] = _map(folder, name, head, len(rows))
        return cls(folder, planes["us"], planes["ct"], index, head["size"], head["pad"], head["sha256"])

    def planes(self, modality: Modality) -> NDArray[np.uint8]:
        """All images of one modality, (N, 3, S, S) uint8."""
        return self.us if modality == "us" else self.ct

    def pictured(self) -> list[Modality]:
        """Modalities that have images; a cohort may do without one."""
        return [name for name in MODALITIES if len(self.planes(name))]

    def rows(self, modality: Modality) -> pd.DataFrame:
        """The index of one modality in the order of its array."""
        return self.index[self.index["modality"] == modality].sort_values("row")

    def digest(self) -> str:
        """sha256 (hex) of arrays and index, as computed when the archive was written."""
        return self.sha256

    def largest(self, modality: Modality) -> dict[str, int]:
        """Row of the image with the largest nodule area, per nodule; the first of equals (paper section 1).

        Areas in mm2 and in pixels do not compare: a nodule with images of both kinds is compared in pixels.
        """
        rows = self.rows(modality)
        unitless = (rows["area_unit"] != "mm2").groupby(rows["nodule_id"]).transform("any")
        areas = rows["area_mm2"].where(~unitless, rows["area_px"])
        chosen = rows.loc[areas.groupby(rows["nodule_id"], sort=False).idxmax()]
        return dict(zip(chosen["nodule_id"].tolist(), chosen["row"].tolist(), strict=True))


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
        _fill(planes, samples).to_parquet(temporary[INDEX], index=False)
        for array in planes.values():
            array.flush()
        digest = _digest([temporary[name] for name in names])
        (folder / HEAD).unlink(missing_ok=True)
    write_json(folder / HEAD, {"size": size, "pad": pad, "sha256": digest})
    return Archive.open(folder)


def _fill(planes: Mapping[Modality, NDArray[np.uint8]], samples: Iterable[Sample]) -> pd.DataFrame:
    """Copies the samples into the arrays and returns the index, sorted by modality (us first) and row."""
    facts: dict[Modality, list[tuple[Any, ...]]] = {name: [] for name in MODALITIES}
    for sample in samples:
        rows = facts[sample.modality]
        planes[sample.modality][len(rows)] = sample.planes
        spacing = sample.spacing_mm
        area, unit = (sample.area_px, "px") if spacing is None else (sample.area_px * spacing**2, "mm2")
        whose = (sample.modality, len(rows), sample.nodule_id, sample.patient_id, sample.view)
        rows.append((*whose, float(area), unit, sample.area_px, sample.side_px))
    for name, rows in facts.items():
        if len(rows) != len(planes[name]):
            raise ValueError(f"{len(rows)} {name} samples came, {len(planes[name])} were announced")
    return pd.DataFrame([row for name in MODALITIES for row in facts[name]], columns=list(COLUMNS))


def _digest(paths: Iterable[Path]) -> str:
    """The digest of the files' bytes one after another: `cat us.npy ct.npy index.parquet | sha256sum`."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def _broken(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}; run the stage preprocess again")


def _read_head(folder: Path) -> dict[str, Any]:
    path = folder / HEAD
    if not path.is_file():
        raise _broken(path, "no such file, the folder holds no complete archive")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(head[key][name], int) for key in ("size", "pad") for name in MODALITIES)
        whole = whole and isinstance(head["sha256"], str)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise _broken(path, "damaged")
    return dict(head)


def _read_index(path: Path) -> pd.DataFrame:
    try:
        index = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are kinds of these
        raise _broken(path, f"cannot be read ({error})") from None
    if missing := [name for name in COLUMNS if name not in index.columns]:
        raise _broken(path, f"lacks column(s) {', '.join(missing)}")
    return index


def _map(folder: Path, modality: Modality, head: Mapping[str, Any], count: int) -> NDArray[np.uint8]:
    path = folder / f"{modality}.npy"
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _broken(path, f"cannot be read ({error})") from None
    side = head["size"][modality] + 2 * head["pad"][modality]
    expected = (count, 3, side, side)
    if array.shape != expected or array.dtype != np.uint8:
        found = f"{array.dtype} {array.shape}"
        raise _broken(path, f"found {found}, expected uint8 {expected} from {INDEX} and {HEAD}")
    return array
