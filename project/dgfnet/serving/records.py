"""Records of a request become records of an answer: the same for `dgfnet serve` and `mlflow models serve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.serving.answers import answer, explain
from dgfnet.serving.cases import Reading
from dgfnet.serving.decode import FIELDS, NAME, Fetch, decode_case
from dgfnet.vocabulary import MODALITIES

MOST_CASES = 64  # in one request


def answer_records(
    model: ScoringModel,
    records: Any,
    origin: Mapping[str, str],
    end: float = inf,
    fetching: Callable[[], Fetch] | None = None,
) -> list[dict[str, Any]]:
    """Scores the cases of a request.

    Args:
        model: scores them.
        records: a list of dictionaries, one per case, with `nodule`, a text that comes back with the answer,
            and `us`, `us_mask` or `us_box`, the same of `ct`, `record`, and more
            (`serving.decode.decode_case`). Others are ignored.
        origin: `model` and `version` in the registry, the last two fields of every answer.
        end: until when on the monotonic clock.
        fetching: makes for each case what gets its pictures from a PACS; None takes no references.

    Returns:
        Per case, in order: `nodule`, the fields of `serving.answers.answer`, `model`, `version`.

    Raises:
        InputError: naming case, field and place, when one case cannot be scored; nothing is answered in part.
        TimeoutError: when the end comes before all cases are read.
    """
    check_records(records)
    cases, reading = [], Reading.of(model)
    for place, record in enumerate(records):
        try:
            cases.append(decode_case(record, reading, end, fetch=fetching and fetching()))
        except InputError as error:
            error.args = (f"case {place}: {error}",)
            raise
    answers = answer(model, cases, end)
    for place, values in enumerate(answers):
        if not values["level"]:
            raise InputError(f"case {place}: {values['statement']}")
    return [
        {NAME: record[NAME]} | values | dict(origin) for record, values in zip(records, answers, strict=True)
    ]


def explain_records(
    model: ScoringModel,
    records: Any,
    origin: Mapping[str, str],
    end: float = inf,
    fetching: Callable[[], Fetch] | None = None,
) -> list[dict[str, Any]]:
    """Explains the cases of a request: which parts of its pictures move an answer.

    Args:
        model: answers them.
        records: as of `answer_records`.
        origin: as there.
        end: as there.
        fetching: as there.

    Returns:
        Per case, in order: `nodule`; `us` and `ct`, each null or `picture`, the place of the picture in the
        case, and `log_odds`, rows of blocks of its region of interest (`bundle.occlusion`); `model`,
        `version`. A case that is not answered has no map.

    Raises:
        InputError: naming case, field and place, when one case cannot be scored.
        TimeoutError: when the end comes first.
    """
    check_records(records)
    reading, explained = Reading.of(model), []
    for place, record in enumerate(records):
        try:
            case = decode_case(record, reading, end, moves=False, fetch=fetching and fetching())
        except InputError as error:
            error.args = (f"case {place}: {error}",)
            raise
        maps = explain(model, case, end)
        shown = {
            name: {"picture": case.largest[name], "log_odds": maps[name].tolist()} if name in maps else None
            for name in MODALITIES
        }
        explained.append({NAME: record[NAME]} | shown | dict(origin))
    return explained


def check_records(records: Any) -> None:
    """Checks that a request holds cases with names; their images are checked when they are decoded.

    Raises:
        InputError: when it holds something else, none, or too many.
    """
    fields = ", ".join((NAME, *FIELDS))
    if not isinstance(records, list):
        raise InputError(f"found {type(records).__name__}; expected a list of cases with {fields}")
    if len(records) > MOST_CASES:
        raise InputError(f"{len(records)} cases; expected at most {MOST_CASES} in a request")
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(
                f"case {place}: found {type(record).__name__}; expected a dictionary with {fields}"
            )
    if not any(name in FIELDS for record in records for name in record):
        raise InputError(f"none of the fields {', '.join(FIELDS)} in the request; expected one case or more")
    for place, record in enumerate(records):
        # plain MLflow turns some forms of a request into columns, whose rows have no name of their own
        if not isinstance(record.get(NAME), str) or not record[NAME]:
            raise InputError(
                f"case {place}: found {type(record.get(NAME)).__name__} in {NAME}; expected a text, one per "
                "case; send the cases as dataframe_records"
            )
