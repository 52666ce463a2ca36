"""The two tables of a cohort folder: nodules.csv and images.csv.

Every fault is reported with file, row (as a spreadsheet counts them, the header is row 1), column, what was
found and what was expected. Columns we do not know are kept as attributes of the nodule.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from dgfnet.cohort.records import IMAGES, NODULES, Cohort, Image, Nodule, Source, View
from dgfnet.cohort.table import (
    LONGEST,
    Flag,
    Identifier,
    column_name,
    open_table,
    quoted,
    raise_faults,
    read_table,
)
from dgfnet.formulas import is_formula, unguarded
from dgfnet.imaging.boxes import FORMS, MARKS, read_mark
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.vocabulary import Modality

PATH = 300  # letters of a path that a message repeats
VIEWS = {"us": ("transverse", "longitudinal"), "ct": ("axial",)}


class NoduleRow(BaseModel):
    """One row of nodules.csv; columns not named here are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)
    patient_id: str = Identifier
    nodule_id: str = Identifier
    cohort: Source
    lnm_central: Flag | None
    lnm_lateral: Flag | None
    n_malignant_nodules: int | None = Field(default=None, ge=0, le=1000)

    @field_validator("lnm_central", "lnm_lateral", "n_malignant_nodules", mode="before")
    @classmethod
    def digits(cls, value: Any) -> Any:
        """Refuses numbers that people do not write."""
        return _without_underscores(value)


class ImageRow(BaseModel):
    """One row of images.csv."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    nodule_id: str = Identifier
    modality: Modality
    view: View
    image: str = Field(min_length=1)
    mask: str = Field(min_length=1)
    spacing_mm: float | None = Field(ge=SPACING_MM[0], le=SPACING_MM[1])
    slice: int | None = Field(default=None, ge=0, le=100_000)
    window_level: float | None = Field(default=None, ge=-2000, le=4000)
    window_width: float | None = Field(default=None, gt=0, le=8000)
    measurement_lines: Flag = 0
    segment: str | None = Field(default=None, min_length=1, max_length=200)
    resample: Flag = 0

    @field_validator("spacing_mm", "slice", "window_level", "window_width", mode="before")
    @classmethod
    def digits(cls, value: Any) -> Any:
        """Refuses numbers that people do not write."""
        return _without_underscores(value)

    @field_validator("measurement_lines", "resample", mode="before")
    @classmethod
    def empty_is_no(cls, value: Any) -> Any:
        """Takes an empty cell for no."""
        return 0 if value is None else _without_underscores(value)


class ScoredRow(ImageRow):
    """One row of images.csv of nodules that are only scored: with a mask, a box or calipers."""

    mask: str | None = Field(default=None, min_length=1)  # type: ignore[assignment]
    box: str | None = None
    calipers: str | None = None

    @field_validator("box", "calipers")
    @classmethod
    def marked(cls, value: str | None, known: ValidationInfo) -> str | None:
        """Refuses what is no box and no calipers."""
        if value is not None:
            read_mark(str(known.field_name), value, "")  # its errors are ValueErrors
        return value


def _without_underscores(value: Any) -> Any:
    """Returns the cell; refuses what pydantic would read as Python does, where 1_0 is ten."""
    if isinstance(value, str) and "_" in value:
        raise ValueError("no number")
    return value


# columns of nodules.csv that later stages know, though none needs them
ATTRIBUTES = ("margin", "location", "age", "sex", "max_diameter_mm", "aspect_ratio")


def read_cohort(folder: Path, boxes: bool = False) -> Cohort:
    """Reads and checks a cohort folder. Pixels are not opened here, but every named file must exist.

    Args:
        folder: with both tables.
        boxes: the nodules are only scored: an image may have a box or calipers instead of a mask.

    Raises:
        InputError: with up to 20 faults, each with file, row and column.
    """
    nodule_rows = read_table(folder / NODULES, NoduleRow)
    image_rows = read_table(folder / IMAGES, ScoredRow if boxes else ImageRow)
    folder = folder.resolve()  # not before it is known to be there: of a link to itself that is a traceback
    faults = (
        _duplicates(nodule_rows) + _strangers(nodule_rows, image_rows) + _shown_twice(nodule_rows, image_rows)
    )
    faults += _formulas(NODULES, nodule_rows, ("patient_id", "nodule_id"))
    faults += _formulas(IMAGES, image_rows, ("image",))
    images: dict[str, list[Image]] = defaultdict(list)
    inside: dict[Path, bool] = {}
    for number, row in image_rows:
        if row.view not in VIEWS[row.modality]:
            faults.append(
                f"{IMAGES} row {number}, column view: found {row.view!r} for {row.modality}, expected "
                f"{' or '.join(VIEWS[row.modality])}"
            )
        if isinstance(row, ScoredRow) and len(_marks(row)) != 1:
            found = " and ".join(_marks(row)) or "nothing that marks the nodule"
            faults.append(f"{IMAGES} row {number}: found {found}; expected one of mask, box, calipers")
        for column in ("image", "mask"):
            named = getattr(row, column)
            fault = named and _path_fault(folder, named, inside)
            if fault:
                faults.append(f"{IMAGES} row {number}, column {column}: {fault}")
    raise_faults(faults)
    for _, row in image_rows:
        images[row.nodule_id].append(_image(folder, row))
    return Cohort(folder, tuple(_nodule(row, tuple(images[row.nodule_id])) for _, row in nodule_rows))


def unknown_columns(folder: Path) -> dict[str, list[str]]:
    """Returns the columns that nobody expects: per table, a phrase each that says what becomes of it.

    Raises:
        InputError: when a table cannot be read.
    """
    unknown = {}
    for name, model, more, fate in (
        (NODULES, NoduleRow, ATTRIBUTES, "kept as an attribute"),
        (IMAGES, ImageRow, (), "ignored"),
    ):
        expected = [*model.model_fields, *more]
        _, columns = open_table(folder / name, model)
        absent = [column for column in expected if column not in columns]
        unknown[name] = [_phrase(column, fate, absent) for column in columns if column not in expected]
    return {name: columns for name, columns in unknown.items() if columns}


def _phrase(column: str, fate: str, absent: list[str]) -> str:
    """Names a column that nobody expects, and the one that it may have been meant for."""
    alike = difflib.get_close_matches(column.lower()[:LONGEST], absent, n=1, cutoff=0.75)
    near = f"; did you mean {alike[0]}?" if alike else ""
    return f"{column_name(column)} ({fate}{near})"


def _duplicates(rows: Iterable[tuple[int, NoduleRow]]) -> list[str]:
    first: dict[str, int] = {}
    patients: dict[str, tuple[int, str]] = {}
    faults = []
    for number, row in rows:
        if row.nodule_id in first:
            faults.append(
                f"{NODULES} row {number}, column nodule_id: {row.nodule_id!r} stands already in row "
                f"{first[row.nodule_id]}; give every nodule an id of its own"
            )
        first.setdefault(row.nodule_id, number)
        where, cohort = patients.setdefault(row.patient_id, (number, row.cohort))
        if cohort != row.cohort:
            faults.append(
                f"{NODULES} row {number}, column cohort: patient {row.patient_id!r} is {row.cohort} here "
                f"and {cohort} in row {where}; a patient belongs to one cohort, or the external test leaks"
            )
    return faults


def _formulas(name: str, rows: Iterable[tuple[int, BaseModel]], columns: Sequence[str]) -> list[str]:
    """Returns the faults of cells that spreadsheets would run in the tables that repeat them.

    Those tables are joined by these cells, so that they are refused; other text is guarded instead.
    """
    return [
        f"{name} row {number}, column {column}: found {quoted(text)}, which a spreadsheet would run as a "
        f"formula; expected a letter, digit or other sign than = + - @ at its start"
        for number, row in rows
        for column in columns
        if is_formula(text := getattr(row, column))
    ]


def _strangers(nodules: Iterable[tuple[int, NoduleRow]], images: Iterable[tuple[int, ImageRow]]) -> list[str]:
    """Returns the faults of images whose nodule is not in the other table."""
    ids = {row.nodule_id for _, row in nodules}
    return [
        f"{IMAGES} row {number}, column nodule_id: {row.nodule_id!r} is not in {NODULES}; "
        f"add its row or drop this"
        for number, row in images
        if row.nodule_id not in ids
    ]


def _shown_twice(
    nodules: Iterable[tuple[int, NoduleRow]], images: Iterable[tuple[int, ImageRow]]
) -> list[str]:
    """Returns the faults of images that stand twice, and of files that are to show two patients."""
    patient_of = {row.nodule_id: row.patient_id for _, row in nodules}
    rows: dict[tuple[str, Path, int | None], int] = {}
    shown: dict[Path, tuple[int, str | None]] = {}
    faults = []
    for number, row in images:
        file, patient = Path(row.image), patient_of.get(row.nodule_id)  # as a Path, a/./b is a/b
        before = rows.setdefault((row.nodule_id, file, row.slice), number)
        if before != number:
            faults.append(
                f"{IMAGES} row {number}, column image: {row.image!r} stands in row {before} for the same "
                f"nodule; drop one"
            )
        where, other = shown.setdefault(file, (number, patient))
        if patient != other and None not in (patient, other):
            faults.append(
                f"{IMAGES} row {number}, column image: {row.image!r} is of patient {patient!r} here and of "
                f"{other!r} in row {where}; a file shows one patient, or the folds leak"
            )
    return faults


def _path_fault(folder: Path, text: str, inside: dict[Path, bool]) -> str | None:
    """Returns the reason why a path cannot be used, or None; links out of the folder count as outside.

    Args:
        folder: of the cohort, resolved.
        text: the path as it stands in the table.
        inside: what is known of folders, and learns: files are many, and following links takes long.
    """
    named = Path(text)
    if "\\" in text:
        return f"found {quoted(text, PATH)}, expected forward slashes"
    if named.is_absolute() or ".." in named.parts:
        return f"found {quoted(text, PATH)}, expected a path inside the cohort folder"
    path = folder / named
    try:
        if not path.is_file():
            what = "is a folder, expected a file" if path.is_dir() else f"does not exist in {folder}"
            return f"{text!r} {what}"
    except OSError as error:  # a name longer than the file system takes
        return f"found {quoted(text)}, which cannot be a path ({error.strerror})"
    if path.parent not in inside:
        inside[path.parent] = path.parent.resolve().is_relative_to(folder)
    if not (path.resolve().is_relative_to(folder) if path.is_symlink() else inside[path.parent]):
        return f"{text!r} is a link that leads out of the cohort folder; copy the file in"
    return None


def _marks(row: ScoredRow) -> list[str]:
    """Returns the columns in which a row says where the nodule is."""
    return [name for name in MARKS if getattr(row, name) is not None]


def _image(folder: Path, row: ImageRow) -> Image:
    cells = row.model_dump(exclude={"image", "mask", "measurement_lines", "resample", *FORMS})
    box = None
    if isinstance(row, ScoredRow) and row.mask is None:
        (form,) = _marks(row)
        box = read_mark(form, getattr(row, form), form)
    return Image(
        **cells,
        image=folder / row.image,
        mask=folder / (row.mask or row.image),
        box=box,
        measurement_lines=bool(row.measurement_lines),
        resample=bool(row.resample),
    )


def _nodule(row: NoduleRow, images: tuple[Image, ...]) -> Nodule:
    extra = {key: unguarded(value) for key, value in (row.model_extra or {}).items() if value is not None}
    return Nodule(
        nodule_id=row.nodule_id,
        patient_id=row.patient_id,
        cohort=row.cohort,
        labels={"central": row.lnm_central, "lateral": row.lnm_lateral},
        n_malignant_nodules=row.n_malignant_nodules,
        attributes=extra,
        images=images,
    )
