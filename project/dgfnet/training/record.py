"""The record of the nodules of a fit: columns of nodules.parquet as terms of its training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from dgfnet.dataset.pairs import Nodules
from dgfnet.errors import InputError
from dgfnet.tabular.terms import Term, clinical, raw, terms_of
from dgfnet.training.task import Task


def record_terms(task: Task, table: pd.DataFrame, training: Nodules) -> tuple[Term, ...]:
    """Returns the terms of the record by the training nodules of a fit; none where it reads no record.

    Args:
        task: of the fit.
        table: nodules.parquet.
        training: its training nodules.

    Raises:
        InputError: when none of them has a cell in any of the columns.
    """
    if not task.record:
        return ()
    terms = terms_of(_cells(task, table, training.ids))
    if not terms:
        names = ", ".join(name for name, _ in task.record)
        raise InputError(
            f"{task.name}: no nodule of its training part has anything in {names} of nodules.csv; name "
            "columns in crossval.record that more nodules have"
        )
    return terms


def with_record(task: Task, table: pd.DataFrame, terms: Sequence[Term], nodules: Nodules) -> Nodules:
    """Returns nodules with these terms of their record."""
    return replace(nodules, record=raw(terms, _cells(task, table, nodules.ids)))


def _cells(task: Task, table: pd.DataFrame, nodules: Sequence[str]) -> pd.DataFrame:
    """Returns the columns that a fit reads, also one in which none of these nodules has a cell."""
    names = [name for name, _ in task.record]
    return clinical(table, nodules, names).reindex(columns=names)
