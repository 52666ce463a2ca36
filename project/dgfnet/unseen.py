"""Nodules that a finished fit never saw, as it reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dgfnet.dataset.pairs import Nodules
from dgfnet.preprocess.archive import Archive
from dgfnet.tabular.terms import Term
from dgfnet.training.partition import select
from dgfnet.training.record import with_record
from dgfnet.training.task import Task


def terms_of_fit(record: Mapping[str, Any]) -> tuple[Term, ...]:
    """Returns the terms of the record that a fit has by its training part; none where it reads no record.

    Args:
        record: fit.json.
    """
    return tuple(Term(**term) for term in record.get("record", ()))


def unseen(task: Task, record: Mapping[str, Any], rows: pd.DataFrame, archive: Archive) -> Nodules:
    """Returns nodules with their pictures and, where the fit reads it, their record by its terms.

    Args:
        task: of the fit.
        record: fit.json.
        rows: of nodules.parquet; a column that is missing there is known of no nodule.
        archive: of the pictures.
    """
    nodules = select(rows, archive, task.site)
    return with_record(task, rows, terms_of_fit(record), nodules) if task.record else nodules
