"""The record of a nodule: columns of nodules.csv (age, sex ...) that a model may read.

Cells are texts, as in nodules.csv, and None where nothing is known. Texts of answers name columns and never
what stands in a cell, so that they can be kept where a record must not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.bundle.crops import Album, Crops, Inputs
from dgfnet.errors import InputError
from dgfnet.tabular.design import recorded, unknown
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import Term, numbers, raw
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


@dataclass(frozen=True)
class RecordInput:
    """The record as the network of one fold reads it, in a stream beside those of pictures.

    Attributes:
        terms: of the network's training nodules, T.
        columns: of nodules.csv that the network of any fold reads, in the order of the cells of an album.
    """

    terms: tuple[Term, ...]
    columns: tuple[str, ...]

    def of(self, rows: Rows) -> NDArray[np.float64]:
        """Returns the input of N nodules, (N, T): as `tabular.terms.raw` makes it in training."""
        return raw(self.terms, pd.DataFrame(list(rows), columns=list(self.columns), dtype=object))

    @property
    def unknown(self) -> NDArray[np.float64]:
        """The input of a nodule of which nothing is known, (T,): it stands for an absent record."""
        return unknown(self.terms)


def stream_of(metadata: Mapping[str, Any], member: Mapping[str, Any]) -> RecordInput | None:
    """Returns how the network of a fold reads the record; None where it has no stream of it.

    Raises:
        InputError: when a term is of a column that the bundle does not name.
    """
    if not member.get("terms"):  # bundles before format 11 have none
        return None
    stream = RecordInput(tuple(Term(**term) for term in member["terms"]), tuple(metadata["record"]))
    if lost := {term.column for term in stream.terms} - set(stream.columns):
        raise InputError(f"a network reads columns that the record lacks: {', '.join(sorted(lost)[:3])}")
    return stream


def inputs_of(crops: Crops, nodule: NDArray[np.int64], album: Album, stream: RecordInput | None) -> Inputs:
    """Returns what the network of a fold reads of P pairs.

    Args:
        crops: of the pairs.
        nodule: (P,) position of the nodule of each pair in the album.
        album: with the record, where the network has a stream of it.
        stream: of the network.

    Raises:
        InputError: when the album lacks the record.
    """
    if stream is None:
        return crops
    if RECORD not in album:
        raise InputError(missing(stream.columns))
    return {**crops, RECORD: stream.of(album[RECORD])[nodule]}


def missing(columns: Sequence[str]) -> str:
    """Says that an album has no record."""
    return f"the record is missing; this model reads {', '.join(columns)} of every nodule"


def terms_in(model: Logistic) -> list[Term]:
    """Returns the terms of a regression that are of the record, by the names that nodules.csv has."""
    prefix = recorded("")
    own = (term for term in model.terms if term.column.startswith(prefix))
    return [replace(term, column=term.column.removeprefix(prefix)) for term in own]


def names_in(terms: Iterable[Term]) -> tuple[str, ...]:
    """Returns the columns of terms, in their order there."""
    return tuple(dict.fromkeys(term.column for term in terms))


def described(terms: Sequence[Term], rows: Rows) -> dict[str, dict[str, Any]]:
    """Returns each column as bundle.json has it: the attributes of `Column`.

    Args:
        terms: of the record, those of all folds; a level that one of them has is known.
        rows: the record of the training cohort.
    """
    names, found = names_in(terms), {}
    table = pd.DataFrame(list(rows), columns=list(names), dtype=object)
    for name in names:
        own = [term for term in terms if term.column == name]
        if any(term.kind == "number" for term in own):
            values = numbers(table[name])
            found[name] = vars(Column("number", (), float(np.nanmin(values)), float(np.nanmax(values))))
        else:
            levels = {term.level for term in own if term.level is not None}
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
