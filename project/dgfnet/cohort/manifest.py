"""The two tables of a cohort folder: nodules.csv and images.csv.

Every fault is reported with file, row (as a spreadsheet counts them, the header is row 1), column, what was
found and what was expected. Columns we do not know are kept as attributes of the nodule.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from dgfnet.cohort.records import Cohort, Image, Nodule, Source, View
from dgfnet.errors import InputError
from dgfnet.formulas import is_formula, unguarded
from dgfnet.imaging.boxes import FORMS, MARKS, read_mark
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.vocabulary import Modality

NODULES = "nodules.csv"
IMAGES = "images.csv"
SHOWN = 20  # faults or columns listed before "and N more"
LONGEST = 60  # letters of a cell that a message repeats
PATH = 300  # the same of a path
VIEWS = {"us": ("transverse", "longitudinal"), "ct": ("axial",)}

Flag = Annotated[int, Field(ge=0, le=1)]  # not Literal: cells arrive as text
Identifier = Field(min_length=1, max_length=200)


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


Row = TypeVar("Row", bound=BaseModel)

# columns of nodules.csv that later stages know, though none needs them
ATTRIBUTES = ("margin", "location", "age", "sex", "max_diameter_mm", "aspect_ratio")
EXPECTED = {
    "cohort": "main or external",
    "lnm_central": "0, 1 or empty",
    "lnm_lateral": "0, 1 or empty",
    "n_malignant_nodules": "a whole number from 0 to 1000, or empty",
    "modality": "us or ct",
    "view": "transverse, longitudinal or axial",
    "image": "the path of a file in the cohort folder",
    "mask": "the path of a file in the cohort folder",
    "spacing_mm": "millimetres per pixel, 0.01 to 20 with a decimal point, or empty",
    "slice": "a slice index from 0 to 100000, or empty",
    "window_level": "HU from -2000 to 4000, or empty",
    "window_width": "HU above 0 and at most 8000, or empty",
    "measurement_lines": "0, 1 or empty",
    "segment": "number, name or code of the nodule's region in the mask, or empty",
    "resample": "0, 1 or empty",
    **FORMS,
    "decision": "keep, set_aside or different",
}


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
        _, columns = _open(folder / name, model)
        absent = [column for column in expected if column not in columns]
        unknown[name] = [_phrase(column, fate, absent) for column in columns if column not in expected]
    return {name: columns for name, columns in unknown.items() if columns}


def _phrase(column: str, fate: str, absent: list[str]) -> str:
    """Names a column that nobody expects, and the one that it may have been meant for."""
    alike = difflib.get_close_matches(column.lower()[:LONGEST], absent, n=1, cutoff=0.75)
    return f"{_name(column)} ({fate}; did you mean {alike[0]}?)" if alike else f"{_name(column)} ({fate})"


def read_table(path: Path, model: type[Row]) -> list[tuple[int, Row]]:
    """Reads the rows of a CSV file with their numbers: UTF-8, with or without BOM; comma, semicolon or tab.

    Raises:
        InputError: with up to 20 faults, each with row and column.
    """
    below, columns = _open(path, model)
    rows: list[tuple[int, Row]] = []
    faults: list[str] = []
    number = 1
    try:
        for number, cells in enumerate(below, start=2):
            texts = [cell.strip() for cell in cells]
            if any(texts[len(columns) :]):
                faults.append(
                    f"{path.name} row {number}: more cells than the header's {len(columns)} columns"
                )
                continue
            if not any(texts):
                continue
            cleaned = dict(zip_longest(columns, (text or None for text in texts[: len(columns)])))
            try:
                rows.append((number, model.model_validate(cleaned)))
            except ValidationError as error:
                faults += [
                    _explain(path.name, number, problem) for problem in error.errors(include_url=False)
                ]
    except csv.Error as error:
        faults.append(f"{path.name} row {number + 1}: not readable as CSV ({error})")
    raise_faults(faults)
    if not rows:
        raise InputError(f"{path.name}: no rows below the header")
    return rows


def _open(path: Path, model: type[BaseModel]) -> tuple[Iterator[list[str]], list[str]]:
    """Returns the records below the header, and the columns, checked against what the model needs."""
    text = _text(path)
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    delimiter = max(",;\t", key=lambda sign: _fit(_header(text, sign), required))
    reader = _reader(text, delimiter)
    try:
        columns = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise InputError(f"{path.name} row 1: not readable as CSV ({error})") from None
    while columns and not columns[-1]:  # spreadsheets write empty columns too
        columns.pop()
    missing = [name for name in required if name not in columns]
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if missing or repeated:
        said = (
            f"lacks column(s) {', '.join(missing)}"
            if missing
            else f"has column(s) {', '.join(map(_name, repeated[:SHOWN]))} twice"
        )
        more = [f"and {len(columns) - SHOWN} more"] if len(columns) > SHOWN else []
        listed = ", ".join([*map(_name, columns[:SHOWN]), *more])
        raise InputError(f"{path.name} {said}; found {listed or 'nothing'}")
    if "" in columns:
        raise InputError(
            f"{path.name} row 1: column {columns.index('') + 1} has no name; name it or delete it"
        )
    if formulas := [name for name in columns if is_formula(name)]:
        raise InputError(
            f"{path.name} row 1: column {_cell(formulas[0])} is a formula to a spreadsheet; rename it"
        )
    return reader, columns


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; a cohort folder needs {NODULES} and {IMAGES} "
                f"(docs/how-to/own-data.md)"
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        row = len((error.object[: error.start] + b".").splitlines())
        raise InputError(
            f"{path.name} row {row}: not UTF-8 at byte {error.start}; save the table as CSV UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path.name} row {row}: a NUL byte; save the table as CSV UTF-8 again")
    return text


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _header(text: str, delimiter: str) -> list[str]:
    """Returns the first record of a table when cells end with the delimiter; nothing when that cannot be."""
    try:
        return [name.strip() for name in next(_reader(text, delimiter), [])]
    except csv.Error:
        return []


def _fit(header: list[str], required: list[str]) -> tuple[int, int]:
    """Scores a header, larger is better: number of required columns in it, number of cells."""
    return len(set(required).intersection(header)), len(header)


def _cell(text: str, longest: int = LONGEST) -> str:
    """Returns a cell as messages repeat it: in quotes and of limited length."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def _name(column: str) -> str:
    """Returns a column's name as messages repeat it: on a single line and of limited length."""
    name = " ".join(column.split())
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."


def _explain(name: str, number: int, problem: Any) -> str:
    column = str(problem["loc"][0])
    cell = "an empty cell" if problem["input"] is None else _cell(problem["input"])
    expected = EXPECTED.get(column, "a text of 1-200 letters")
    return f"{name} row {number}, column {column}: found {cell}, expected {expected}"


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
        f"{name} row {number}, column {column}: found {_cell(text)}, which a spreadsheet would run as a "
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
        return f"found {_cell(text, PATH)}, expected forward slashes"
    if named.is_absolute() or ".." in named.parts:
        return f"found {_cell(text, PATH)}, expected a path inside the cohort folder"
    path = folder / named
    try:
        if not path.is_file():
            what = "is a folder, expected a file" if path.is_dir() else f"does not exist in {folder}"
            return f"{text!r} {what}"
    except OSError as error:  # a name longer than the file system takes
        return f"found {_cell(text)}, which cannot be a path ({error.strerror})"
    if path.parent not in inside:
        inside[path.parent] = path.parent.resolve().is_relative_to(folder)
    if not (path.resolve().is_relative_to(folder) if path.is_symlink() else inside[path.parent]):
        return f"{text!r} is a link that leads out of the cohort folder; copy the file in"
    return None


def raise_faults(faults: list[str]) -> None:
    """Raises an InputError that lists the faults, if there are any."""
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join(faults[:SHOWN] + more))


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
