"""LIDC-IDRI volumes of interest: lung nodules on CT, in Hounsfield units, with masks (Armato et al. 2011).

What is settled here:

- The label is `Malignancy_value`, the radiologists' rating: 4-5 positive, 1-2 negative, 3 not used. The
  column `Diagnosis` is not asked: it contradicts the rating in places and is no pathology either.
- `metadata.csv` leads: the files of a row are `image/<patient_id>_R_<nodule_id>.nii.gz` and the mask of the
  same name in `nodule_mask/`.
- Of each nodule up to three axial slices are used, those with the largest mask areas. Slices are counted
  from inferior to superior after turning the volume to RAS, as `readers` does, whatever the file's own
  orientation.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dgfnet.errors import InputError
from dgfnet.ingest.folder import NotUsed, files_of
from dgfnet.ingest.slices import Refused, largest_slices
from dgfnet.parallel import cores, map_in_order

TABLE = "metadata.csv"
PARTS = ("image", "nodule_mask")
COLUMNS = ("patient_id", "nodule_id", "Malignancy_value")
LABELS = {"1": 0, "2": 0, "4": 1, "5": 1}  # Malignancy_value; 3 is indeterminate


@dataclass(frozen=True)
class LidcRow:
    """A row of metadata.csv whose rating is usable and whose files exist."""

    folder: Path
    patient: str
    nodule: str
    malignancy: str

    @property
    def name(self) -> str:
        """Name of the nodule's files, without ending."""
        return f"{self.patient}_R_{self.nodule}"

    @property
    def image(self) -> Path:
        """The volume in HU."""
        return self.folder / "image" / f"{self.name}.nii.gz"

    @property
    def mask(self) -> Path:
        """The nodule's mask, on the grid of the volume."""
        return self.folder / "nodule_mask" / f"{self.name}.nii.gz"

    @property
    def label(self) -> int:
        """1 for a malignancy rating of 4 or 5."""
        return LABELS[self.malignancy]


@dataclass(frozen=True)
class LidcNodule:
    """A nodule ready for the cohort: its files, the slices to show (0 is the lowest), the pixel's side."""

    row: LidcRow
    slices: tuple[int, ...]
    spacing_mm: float


def read_rows(folder: Path) -> tuple[list[LidcRow], list[NotUsed]]:
    """Reads the rows of metadata.csv that can be used as far as names tell, and the rest with reasons.

    Raises:
        InputError: when the folder is not a LIDC VOI folder or its table lacks a column.
    """
    path = folder / TABLE
    if not path.is_file() or not (folder / "image").is_dir() or not (folder / "nodule_mask").is_dir():
        raise InputError(f"{folder}: expected {TABLE} and the folders image/ and nodule_mask/ of LIDC VOI")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise InputError(f"{path.name} lacks column(s) {', '.join(missing)}")
        cells = [tuple((line[name] or "").strip() for name in COLUMNS) for line in reader]
    rows: list[LidcRow] = []
    dropped: list[NotUsed] = []
    names: set[str] = set()
    for patient, nodule, malignancy in cells:
        row = LidcRow(folder, patient, nodule, malignancy)
        reason = "a second row of the same nodule" if row.name in names else _reason(row)
        names.add(row.name)
        if reason:
            dropped.append(NotUsed("lidc", "nodule", row.name, reason))
        else:
            rows.append(row)
    return rows, dropped + _strays(folder, names)


def open_nodules(rows: Sequence[LidcRow]) -> tuple[list[LidcNodule], list[NotUsed]]:
    """Opens image and mask of each row; what cannot be shown is returned with its reason."""
    lesions: list[LidcNodule] = []
    dropped: list[NotUsed] = []
    opened_rows = map_in_order(_open, rows, cores(), "LIDC nodules", few=1000)
    for row, opened in zip(rows, opened_rows, strict=True):
        if isinstance(opened, Refused):
            dropped.append(NotUsed("lidc", "nodule", row.name, opened.reason, opened.detail))
        else:
            lesions.append(opened)
    return lesions, dropped


def _reason(row: LidcRow) -> str | None:
    if row.malignancy == "3":
        return "Malignancy_value 3: indeterminate"
    if row.malignancy not in LABELS:
        return f"Malignancy_value {row.malignancy!r} is not 1 to 5"
    if not row.image.is_file():
        return "the image is missing"
    return None if row.mask.is_file() else "the mask is missing"


def _strays(folder: Path, names: set[str]) -> list[NotUsed]:
    """Returns the files that no row names."""
    named = {f"{part}/{name}.nii.gz" for part in PARTS for name in names}
    files, lost = files_of(folder, "lidc", folder / TABLE)
    for where in (path.relative_to(folder).as_posix() for path in files):
        if where not in named:
            reason = f"no row of {TABLE} names it" if where.split("/")[0] in PARTS else "no part of the set"
            lost.append(NotUsed("lidc", "file", where, reason))
    return lost


def _open(row: LidcRow) -> LidcNodule | Refused:
    """Opens the nodule of a row, or returns the reason why it cannot be used."""
    drawn = largest_slices(row.image, row.mask)
    if isinstance(drawn, Refused):
        return drawn
    assert drawn.spacing_mm is not None  # of a volume
    return LidcNodule(row, tuple(index or 0 for index in drawn.slices), drawn.spacing_mm)
