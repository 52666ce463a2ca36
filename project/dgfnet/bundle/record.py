"""The record of a nodule: columns of nodules.csv (age, sex ...) that a stacked model may read.

Cells are texts, as in nodules.csv, and None where nothing is known. Texts of answers name columns and never
what stands in a cell, so that they can be kept where a record must not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.tabular.design import recorded
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import numbers
from dgfnet.vocabulary import RECORD

Rows = Sequence[NDArray[Any]]  # per nodule its cells, (columns,)
WIDER = 0.5  # of the span of the training nodules: so far beyond it a value is still believed


@dataclass(frozen=True)
class Column:
    """A column of the record, as the training cohort had it.

    Attributes:
        kind: `number`; or `level`, one of several texts.
        levels: the texts that the model knows; empty for a number.
        low: smallest number in the training cohort; None for a level.
        high: largest number there; None for a level.
    """

    kind: Literal["number", "level"]
    levels: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Column:
        """Makes it of a part of bundle.json."""
        return cls(plain["kind"], tuple(plain["levels"]), plain["low"], plain["high"])

    def doubts(self, cell: str | None) -> str:
        """Says in words what is missing in a cell, or unlike the training cohort; empty without a doubt."""
        if self.kind == "level":
            if cell is None:
                return "not given, taken as none of its levels"
            return "" if cell in self.levels else "of a level that training did not have"
        (value,) = numbers(pd.Series([cell], dtype=object))
        if np.isnan(value):
            return "not given, taken as the training median"
        assert self.low is not None  # of a number, as `high`
        assert self.high is not None
        reach = WIDER * (self.high - self.low)
        if self.low - reach <= value <= self.high + reach:
            return ""
        return f"far from those of training, {self.low:g} to {self.high:g}"


def names_in(models: Sequence[Logistic]) -> tuple[str, ...]:
    """Returns the columns of the record that any of the models reads, in their order there."""
    columns = (term.column for model in models for term in model.terms)
    prefix = recorded("")
    return tuple(dict.fromkeys(name.removeprefix(prefix) for name in columns if name.startswith(prefix)))


def described(names: Sequence[str], models: Sequence[Logistic], rows: Rows) -> dict[str, dict[str, Any]]:
    """Returns each column as bundle.json has it: the attributes of `Column`.

    Args:
        names: of the columns.
        models: the regressions of all folds; a level that one of them has is known.
        rows: the record of the training cohort.
    """
    table, found = frame(names, rows), {}
    for name in names:
        terms = [term for model in models for term in model.terms if term.column == recorded(name)]
        if any(term.kind == "number" for term in terms):
            values = numbers(table[recorded(name)])
            found[name] = vars(Column("number", (), float(np.nanmin(values)), float(np.nanmax(values))))
        else:
            levels = {term.level for term in terms if term.level is not None}
            found[name] = vars(Column("level", tuple(sorted(levels))))
    return found


def cells(names: Sequence[str], known: Mapping[Any, Any]) -> NDArray[Any]:
    """Returns the cells of a nodule, (columns,), from those that are known."""
    row = np.empty(len(names), dtype=object)
    row[:] = [known.get(name) for name in names]
    return row


def frame(names: Sequence[str], rows: Rows) -> pd.DataFrame:
    """Returns the table of which the terms of a regression are columns."""
    return pd.DataFrame(list(rows), columns=[recorded(name) for name in names], dtype=object)


def unusual_record(columns: Mapping[str, Column], rows: Rows) -> list[list[str]]:
    """Returns per nodule in words what is missing in its record, or unlike the training cohort."""
    return [
        [
            f"{RECORD} {name} {said}"
            for (name, column), cell in zip(columns.items(), row, strict=True)
            if (said := column.doubts(cell))
        ]
        for row in rows
    ]
