"""Forms of requests with cases: MLflow's, read into records, and the bodies that answer them."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Any

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.serving.counts import Counts
from dgfnet.serving.decode import Fetch
from dgfnet.serving.records import answer_records, explain_records

FORMS = ("dataframe_records", "dataframe_split", "inputs")


def answer_body(
    body: bytes | bytearray,
    model: ScoringModel,
    origin: dict[str, str],
    end: float = inf,
    counts: Counts | None = None,
    fetching: Callable[[], Fetch] | None = None,
) -> str:
    """Scores the cases of a request's body and returns the answer's body.

    Args:
        body: JSON.
        model: scores them.
        origin: name and version of the model.
        end: until when on the monotonic clock; nobody waits for the answer any longer.
        counts: of the answers; None counts nothing.
        fetching: makes for each case what gets its pictures from a PACS; None takes no references.

    Raises:
        InputError: when the body is not JSON of a form that is read, or a case cannot be scored.
        TimeoutError: when the end came first.
    """
    answers = answer_records(model, records_of(body), origin, end, fetching)
    if counts is not None:
        counts.answered(answers)
    return json.dumps({"predictions": answers})


def explain_body(
    body: bytes | bytearray,
    model: ScoringModel,
    origin: dict[str, str],
    end: float = inf,
    fetching: Callable[[], Fetch] | None = None,
) -> str:
    """Explains the cases of a request's body and returns the answer's body.

    Arguments and errors are those of `answer_body`; nothing is counted.
    """
    return json.dumps({"explanations": explain_records(model, records_of(body), origin, end, fetching)})


def records_of(body: bytes | bytearray) -> Any:
    """Returns the cases of a request's body, or what stands in their place.

    Raises:
        InputError: when the body is not JSON of a form that is read.
    """
    return _records(content_of(body))


def content_of(body: bytes | bytearray) -> Any:
    """Reads a request's body.

    Raises:
        InputError: when it is no JSON.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise InputError("the request is nested too deeply") from None
    except ValueError as error:  # of the text, and of its encoding
        raise InputError(f"the request is no JSON ({error})") from None


def _records(content: Any) -> Any:
    """Returns the cases of a request as a list of dictionaries, or as what stands in their place.

    MLflow's form `instances`, and `inputs` by columns, are not read: they are lists per field, in which the
    images of two patients could meet.
    """
    forms = [name for name in (*FORMS, "instances") if isinstance(content, dict) and name in content]
    if len(forms) != 1 or forms == ["instances"]:
        raise InputError(f"expected a JSON dictionary with exactly one of {', '.join(FORMS)}")
    (form,) = forms
    if form == "dataframe_split":
        return _rows(content[form])
    if not isinstance(content[form], list):
        raise InputError(f"{form}: expected a list of cases, each a dictionary")
    return content[form]


def _rows(table: Any) -> list[dict[str, Any]]:
    """Returns the rows of a table as pandas writes it with `orient="split"`; its index is ignored."""
    if not isinstance(table, dict) or table.keys() | {"index"} != {"columns", "data", "index"}:
        raise InputError("dataframe_split: expected a dictionary of columns and data")
    columns, rows = table["columns"], table["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError("dataframe_split: columns: expected a list of texts")
    if len(set(columns)) < len(columns):
        raise InputError("dataframe_split: columns: a name stands there twice; expected each once")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError("dataframe_split: data: expected a list of rows, each a list")
    for place, row in enumerate(rows):
        if len(row) != len(columns):
            raise InputError(
                f"dataframe_split: row {place} has {len(row)} values; expected {len(columns)}, one per column"
            )
    return [dict(zip(columns, row, strict=True)) for row in rows]
