"""Text that a spreadsheet would run as a formula, and how a table keeps it from being run.

A CSV file knows no types: what begins with a sign of arithmetic is a formula to Excel and LibreOffice when
somebody opens the table, and may fetch from the network or start programs (OWASP, CSV injection). An
apostrophe before the sign makes it text. It is also put behind a semicolon, tab or line break inside a cell,
where spreadsheets of other languages begin a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# ASCII, and the full-width forms that East Asian versions take for the same
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_START = rf"(^|[;\t\r\n] *)('*)(?={_SIGNS}.)"
_FORMULA = re.compile(_START.replace("('*)", ""), re.DOTALL)
_TO_GUARD = re.compile(_START, re.DOTALL)  # apostrophes that are there get another: all comes back as it was
_GUARDED = re.compile(_START.replace("('*)", "'('*)"), re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?%?")


def is_formula(text: str) -> bool:
    """Says that a spreadsheet would run a text, or a part of it; numbers and lone signs are none."""
    return bool(_FORMULA.search(text)) and not _NUMBER.fullmatch(text)


def guarded(value: Any) -> Any:
    """Returns a cell as it is written: text that would be run with apostrophes before its signs."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _TO_GUARD.sub(r"\1'\2", value)


def unguarded(value: Any) -> Any:
    """Returns a cell as it was before `guarded`."""
    return _GUARDED.sub(r"\1\2", value) if isinstance(value, str) else value


def guarded_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table with guarded texts and column names; numbers are left alone."""
    return _each(table, guarded)


def unguarded_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table that was read as it was before `guarded_table`."""
    return _each(table, unguarded)


def _each(table: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """Changes the texts of a table; columns in which nothing changes stay as they are, with their types."""
    texts = [name for name, kind in table.dtypes.items() if kind.kind == "O"]
    other = [name for name in texts if any(change(value) != value for value in table[name].dropna().unique())]
    return table.assign(**{str(name): table[name].map(change) for name in other}).rename(columns=change)
