"""Cases in, answers out: each case goes to the model for what it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dgfnet.serving.cases import Case
from dgfnet.serving.served import Served
from dgfnet.settings import MODALITIES, Modality

WITHOUT: dict[tuple[Modality, ...], str] = {
    ("us",): "no CT: scored from ultrasound alone, by the model the fusion was built from",
    ("ct",): "no ultrasound: scored from CT alone, by the model the fusion was built from",
}
NUMBERS = (
    *("probability", "decision", "threshold", "calibrated", "calibrated_low", "calibrated_high"),
    *("us_contribution", "ct_contribution", "reference_log_odds"),
)
COLUMNS = (*NUMBERS, "variant", "statement", "warnings")


def answer(served: Served, cases: Sequence[Case]) -> pd.DataFrame:
    """What a model says of cases, a row each, in their order.

    Returns:
        Columns as `Served.answer`, and `statement`: what is missing of a case and what that means; a case
        that cannot be scored has no numbers, and the statement says why.
    """
    groups: dict[tuple[Modality, ...], list[int]] = {}
    for place, case in enumerate(cases):
        shown = tuple(name for name in MODALITIES if name in case.crops)
        groups.setdefault(() if case.fault else shown, []).append(place)
    parts = []
    for shown, places in groups.items():
        model = _model_for(shown, served)
        if model is None:
            table = _unscored([_why(cases[place], shown) for place in places])
        else:
            crops = {name: np.stack([cases[place].crops[name] for place in places]) for name in shown}
            table = model.answer(crops).assign(statement="" if model is served else WITHOUT[shown])
        parts.append(table.set_axis(places))
    return pd.concat(parts).sort_index()[list(COLUMNS)]


def _model_for(shown: tuple[Modality, ...], served: Served) -> Served | None:
    if not shown:
        return None
    return served if set(served.modalities) <= set(shown) else served.alone.get(shown[0])


def _why(case: Case, shown: tuple[Modality, ...]) -> str:
    found = " and ".join(shown) or "neither us nor ct"
    return f"not scored: {case.fault or f'found images of {found}, and there is no model for that'}"


def _unscored(statements: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({name: [np.nan] * len(statements) for name in NUMBERS})
    none: list[list[str]] = [[] for _ in statements]
    return table.assign(variant="", statement=statements, warnings=pd.Series(none))
