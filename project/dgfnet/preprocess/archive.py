"""The archive: every preprocessed image in two arrays, a table that says whose they are, and their digest.

us.npy, ct.npy   uint8 (N, 3, S, S): image 0-255, nodule mask 0/1, boundary 0/1 (US: nodule, CT: tissue)
index.parquet    one row per image: COLUMNS below
archive.json     size (S without its margins) and pad per modality, the sha256 of the three files, and how
                 masks were matched with their images (`imaging.masks`), counted
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.vocabulary import MODALITIES, Modality, Scored

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
        """Returns all images of a modality, (N, 3, S, S) uint8."""
        return self.us if modality == "us" else self.ct

    def crops(self, modality: Modality, nodules: Sequence[str], plane: int = 0) -> list[NDArray[np.uint8]]:
        """Returns all crops of nodules, in their order, (K, size, size) uint8 each, largest area first.

        Args:
            modality: of the pictures.
            nodules: their ids.
            plane: 0 the picture, 1 the nodule's mask, 2 the boundary.
        """
        rows = {str(name): own["row"].tolist() for name, own in self.rows(modality).groupby("nodule_id")}
        largest, planes = self.largest(modality), self.planes(modality)[:, plane]
        ordered = (largest_first(rows[name], largest[name]) for name in nodules)
        return [np.array(centre(planes[own], self.size[modality])) for own in ordered]

    def pictured(self) -> list[Modality]:
        """Returns the modalities that have images; a cohort may do without one."""
        return [name for name in MODALITIES if len(self.planes(name))]

    def rows(self, modality: Modality) -> pd.DataFrame:
        """Returns the index of a modality in the order of its array."""
        return self.index[self.index["modality"] == modality].sort_values("row")

    def digest(self) -> str:
        """Returns the sha256 (hex) of arrays and index, as computed when the archive was written."""
        return self.sha256

    def largest(self, modality: Modality) -> dict[str, int]:
        """Returns per nodule the row of its image of largest area, the first of equals (paper section 1).

        Areas in mm2 and in pixels do not compare: a nodule with images of both kinds is compared in pixels.
        """
        rows = self.rows(modality)
        unitless = (rows["area_unit"] != "mm2").groupby(rows["nodule_id"]).transform("any")
        areas = rows["area_mm2"].where(~unitless, rows["area_px"])
        chosen = rows.loc[areas.groupby(rows["nodule_id"], sort=False).idxmax()]
        return dict(zip(chosen["nodule_id"].tolist(), chosen["row"].tolist(), strict=True))


def largest_first(rows: Sequence[int], largest: int) -> list[int]:
    """Returns rows of images of one nodule with the largest before the others, which keep their order."""
    return [largest, *(row for row in rows if row != largest)]


def paired(counts: Sequence[int], images: Scored) -> list[tuple[int, ...]]:
    """Returns which images of a nodule are scored together.

    Args:
        counts: per modality the number of its images, of which the first has the largest nodule area.
        images: `largest`: the first of each; `all`: as many pairs as the modality with the most images has,
            in which the images of the other stand in turn.

    Returns:
        Positions of images, one per modality in each pair; the first pair is that of the largest.
    """
    length = 1 if images == "largest" else max(counts)
    return [tuple(place % count for count in counts) for place in range(length)]


def mean_of_pairs(nodule: NDArray[np.int64], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the pairs of each nodule, (..., P) to (..., N).

    Args:
        nodule: (P,) position of the nodule of each pair, 0 to N - 1 without gaps, not decreasing.
        log_odds: of the pairs.
    """
    starts = np.flatnonzero(np.diff(nodule, prepend=-1))
    return np.asarray(np.add.reduceat(log_odds, starts, axis=-1) / np.bincount(nodule))


def centre(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Returns the paper's crop inside stored crops with margin, (..., S, S) to (..., size, size)."""
    pad = (crops.shape[-1] - size) // 2
    return crops[..., pad : pad + size, pad : pad + size]


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
        actual = f"{array.dtype} {array.shape}"
        raise _broken(path, f"found {actual}, expected uint8 {expected} from {INDEX} and {HEAD}")
    return array
