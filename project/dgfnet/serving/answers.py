"""Cases in, answers out: each case goes to the model for what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgfnet.bundle.model import ScoringModel
from dgfnet.serving.cases import Case
from dgfnet.vocabulary import MODALITIES, Modality

WITHOUT: dict[tuple[Modality, ...], str] = {
    ("us",): "no CT: scored from ultrasound alone, by the model the fusion was built from",
    ("ct",): "no ultrasound: scored from CT alone, by the model the fusion was built from",
}
NUMBERS = (
    *("probability", "decision", "threshold", "calibrated", "calibrated_low", "calibrated_high"),
    *("us_contribution", "ct_contribution", "reference_log_odds"),
)
UNSCORED: dict[str, Any] = {**dict.fromkeys(NUMBERS), "variant": ""}
COLUMNS = (*NUMBERS, "variant", "statement", "warnings")


def answer(served: ScoringModel, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What a model says of cases, in their order.

    Returns:
        Per case what `ScoringModel.answer` says, None for what is not defined, and `statement`: what is missing of
        a case and what that means; a case that cannot be scored has no numbers, and the statement says why.
        Plain numbers, texts and lists: a table for people and JSON are made of them, and a data frame on the
        way would take longer than the networks.
    """
    groups: dict[tuple[Modality, ...], list[int]] = {}
    for place, case in enumerate(cases):
        shown = tuple(name for name in MODALITIES if name in case.crops)
        groups.setdefault(() if case.fault else shown, []).append(place)
    rows: list[dict[str, Any]] = [{} for _ in cases]
    for shown, places in groups.items():
        model = _model_for(shown, served)
        if model is None:
            for place in places:
                rows[place] = UNSCORED | {"statement": _why(cases[place], shown), "warnings": []}
            continue
        crops = {name: np.stack([cases[place].crops[name] for place in places]) for name in shown}
        missing = "" if model is served else WITHOUT[shown]
        columns = model.answer(crops) | {"statement": np.full(len(places), missing, dtype=object)}
        values = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
        for place, found in zip(places, values, strict=True):
            rows[place] = dict(zip(COLUMNS, map(_defined, found), strict=True))
    return rows


def _defined(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and value != value else value


def _model_for(shown: tuple[Modality, ...], served: ScoringModel) -> ScoringModel | None:
    if not shown:
        return None
    return served if set(served.modalities) <= set(shown) else served.alone.get(shown[0])


def _why(case: Case, shown: tuple[Modality, ...]) -> str:
    found = " and ".join(shown) or "neither us nor ct"
    return f"not scored: {case.fault or f'found images of {found}, and there is no model for that'}"
