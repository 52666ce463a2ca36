"""Columns of a table as terms: numbers, gaps and categories, each one column of a matrix of numbers.

A term is a column of numbers, where a gap counts as the median; or 1 for a gap of such a column; or 1 for a
level of a column of texts. Terms and all their numbers come from the training rows alone, and so does the
answer to whether a column holds numbers: NUMERIC of its cells must be some. What is no number there is a gap.
Of texts the LEVELS most frequent are levels; any other, and one that training did not have, is none of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
NUMERIC = 0.9  # share of the cells; the others may say "unknown"
LEVELS = 50  # a column of names or remarks would else make a matrix as wide as the cohort is long


@dataclass(frozen=True)
class Term:
    """One column of the design matrix.

    Attributes:
        column: of the table.
        kind: `number`: its value, standardised; `gap`: 1 where it has none; `level`: 1 where it is `level`.
        level: a text, of the kind `level`.
        fill: median of the training rows, which stands for a gap.
        centre: mean of the training rows after filling; 0 of an indicator.
        scale: their standard deviation (n in the denominator), 1 where it is 0; 1 of an indicator.
    """

    column: str
    kind: Literal["number", "gap", "level"]
    level: str | None = None
    fill: float = 0.0
    centre: float = 0.0
    scale: float = 1.0


def clinical(table: pd.DataFrame, nodules: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Returns columns of nodules.csv as texts, None where a cell is empty.

    Args:
        table: nodules.parquet.
        nodules: whose rows are wanted, in their order.
        names: of columns; those that the table lacks, or that are empty for all these nodules, are left out.
    """
    rows = table.set_index("nodule_id").loc[list(nodules)]
    columns = {}
    for name in dict.fromkeys(names):
        if name in rows and rows[name].notna().any():
            texts = [None if pd.isna(cell) else str(cell) for cell in rows[name]]
            columns[name] = pd.Series(texts, index=list(nodules), dtype=object)
    return pd.DataFrame(columns, index=list(nodules))


def terms_of(table: pd.DataFrame) -> tuple[Term, ...]:
    """Returns the terms that training rows lead to; none for a column without a value."""
    terms = []
    for name in table:
        column = table[name]
        if not column.notna().any():
            continue
        values = numbers(column)
        gap = np.isnan(values)
        if (~gap).sum() < NUMERIC * column.notna().sum():
            counts = Counter(str(cell) for cell in column.dropna())
            levels = sorted(counts, key=lambda level: (-counts[level], level))[:LEVELS]
            terms += [Term(str(name), "level", level) for level in sorted(levels)]
            continue
        fill = float(np.median(values[~gap]))
        filled = np.where(gap, fill, values)
        constant = filled.min() == filled.max()  # rounding gives it a deviation that is not quite 0
        centre, scale = (fill, 1.0) if constant else (float(filled.mean()), float(filled.std()))
        terms.append(Term(str(name), "number", None, fill, centre, scale))
        if gap.any():
            terms.append(Term(str(name), "gap"))
    return tuple(terms)


def design(terms: Sequence[Term], table: pd.DataFrame) -> Array:
    """Returns the design matrix of a table, (rows, terms)."""
    matrix = np.zeros((len(table), len(terms)))
    for place, term in enumerate(terms):
        column = table[term.column]
        if term.kind == "level":
            matrix[:, place] = [not pd.isna(cell) and str(cell) == term.level for cell in column]
            continue
        values = numbers(column)
        gap = np.isnan(values)
        if term.kind == "gap":
            matrix[:, place] = gap
        else:
            matrix[:, place] = (np.where(gap, term.fill, values) - term.centre) / term.scale
    return matrix


def raw(terms: Sequence[Term], table: pd.DataFrame) -> Array:
    """Returns the same matrix before standardisation: a column's numbers as they are, NaN for a gap."""
    return design([replace(term, fill=math.nan, centre=0.0, scale=1.0) for term in terms], table)


def numbers(column: pd.Series) -> Array:
    """Returns the cells as numbers, NaN for a gap, a text and what is not finite."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)
