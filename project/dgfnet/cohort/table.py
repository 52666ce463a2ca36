"""Tables that people write: a CSV file becomes checked rows, or each of its faults with row and column.

Rows are counted as a spreadsheet does: the header is row 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from dgfnet.cohort.records import IMAGES, NODULES
from dgfnet.errors import InputError
from dgfnet.formulas import is_formula
from dgfnet.imaging.boxes import FORMS

SHOWN = 20  # faults or columns listed before "and N more"
LONGEST = 60  # letters of a cell that a message repeats

Flag = Annotated[int, Field(ge=0, le=1)]  # not Literal: cells arrive as text
Identifier = Field(min_length=1, max_length=200)
Row = TypeVar("Row", bound=BaseModel)

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


def read_table(path: Path, model: type[Row]) -> list[tuple[int, Row]]:
    """Reads the rows of a CSV file with their numbers: UTF-8, with or without BOM; comma, semicolon or tab.

    Raises:
        InputError: with up to 20 faults, each with row and column.
    """
    below, columns = open_table(path, model)
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


def open_table(path: Path, model: type[BaseModel]) -> tuple[Iterator[list[str]], list[str]]:
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
            else f"has column(s) {', '.join(map(column_name, repeated[:SHOWN]))} twice"
        )
        more = [f"and {len(columns) - SHOWN} more"] if len(columns) > SHOWN else []
        listed = ", ".join([*map(column_name, columns[:SHOWN]), *more])
        raise InputError(f"{path.name} {said}; found {listed or 'nothing'}")
    if "" in columns:
        raise InputError(
            f"{path.name} row 1: column {columns.index('') + 1} has no name; name it or delete it"
        )
    if formulas := [name for name in columns if is_formula(name)]:
        raise InputError(
            f"{path.name} row 1: column {quoted(formulas[0])} is a formula to a spreadsheet; rename it"
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


def quoted(text: str, longest: int = LONGEST) -> str:
    """Returns a cell as messages repeat it: in quotes and of limited length."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def column_name(column: str) -> str:
    """Returns a column's name as messages repeat it: on a single line and of limited length."""
    name = " ".join(column.split())
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."


def _explain(name: str, number: int, problem: Any) -> str:
    column = str(problem["loc"][0])
    cell = "an empty cell" if problem["input"] is None else quoted(problem["input"])
    expected = EXPECTED.get(column, "a text of 1-200 letters")
    return f"{name} row {number}, column {column}: found {cell}, expected {expected}"


def raise_faults(faults: list[str]) -> None:
    """Raises an InputError that lists the faults, if there are any."""
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join(faults[:SHOWN] + more))
