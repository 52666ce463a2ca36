"""Reads the record of a case, as age and sex, from requests, options of a command, and rows of nodules.csv.

Messages name columns and kinds, never values: they can end in a log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Real  # of numpy, too: a data frame has them
from typing import Any

from dgfnet.bundle.record import Column
from dgfnet.errors import InputError, meant
from dgfnet.vocabulary import RECORD

SHOWN = 40  # letters of a name that nobody knows


def read_record(given: Any, columns: Mapping[str, Column]) -> dict[str, str] | None:
    """Returns what a request says of a nodule beside its pictures, as cells of nodules.csv.

    Args:
        given: an object such as {"age": 47, "sex": "F"}, or its JSON text; null stands for what is not known.
        columns: that the model reads; without any nothing is looked at.

    Returns:
        The cells that are known, by column; None where nothing was given.

    Raises:
        InputError: when it is no object, or names a column that the model does not read, or a value cannot be
            meant for its column.
    """
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise InputError(
                f"{RECORD}: found a text that is no JSON; expected {_example(columns)}"
            ) from None
    if not isinstance(given, Mapping):
        raise InputError(f"{RECORD}: found {type(given).__name__}; expected {_example(columns)}")
    if not columns:
        return {}
    known = {name: _cell(name, value, columns) for name, value in given.items()}
    return {name: cell for name, cell in known.items() if cell is not None}


def record_of_options(given: Iterable[str], columns: Mapping[str, Column]) -> dict[str, str] | None:
    """Returns the same from texts such as `age=47`, of a command line.

    Raises:
        InputError: as `read_record`, or when a text is no such pair, or a column stands there twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or name in found:
            wrong = f"{name[:SHOWN]} twice" if sign else "a text without ="
            raise InputError(f"--record: found {wrong}; expected COLUMN=VALUE, as age=47, each column once")
        column = columns.get(name)
        found[name] = value if column is None or column.kind == "level" else _number(name, value)
    return read_record(found, columns) if found else None


def record_of_row(attributes: Mapping[str, str], columns: Mapping[str, Column]) -> dict[str, str] | None:
    """Returns the same from a row of nodules.csv; as in training, a text in a column of numbers is a gap."""
    return {name: attributes[name] for name in columns if name in attributes} if columns else None


def _cell(name: Any, value: Any, columns: Mapping[str, Column]) -> str | None:
    """Returns a value as it would stand in nodules.csv; None where nothing is known."""
    column = columns.get(name)
    if column is None:
        raise InputError(
            f"{RECORD}: found {str(name)[:SHOWN]!r}, which this model does not read; it reads "
            f"{', '.join(columns)}{meant(str(name), columns)}"
        )
    if value is None:
        return None
    if column.kind == "level":
        if isinstance(value, str):
            return value.strip() or None
        raise InputError(f"{RECORD}.{name}: found {_kind(value)}; expected a text")
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{RECORD}.{name}: found {_kind(value)}; expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{RECORD}.{name}: found a number that is not finite; expected one that is")
    return f"{number:.15g}"


def _number(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--record {name}: found a text; expected a number") from None


def _kind(value: Any) -> str:
    return {str: "a text", bool: "true or false"}.get(type(value), type(value).__name__)


def _example(columns: Mapping[str, Column]) -> str:
    named = ", ".join(columns) or "age"
    return f'an object of columns and values, as {{"age": 47}}; columns are {named}'
