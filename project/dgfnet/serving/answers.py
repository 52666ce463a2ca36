"""Answers for cases: each is scored by the model for the modalities that it has images of."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.bundle.crops import BATCH, Album
from dgfnet.bundle.joint import key
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.occlusion import occlusion
from dgfnet.bundle.record import cells
from dgfnet.serving.cases import Case
from dgfnet.vocabulary import MODALITIES, RECORD, Modality, mask_of

IGNORED = "this model reads no record; what was given of it is left aside"
UNIMODAL: dict[tuple[Modality, ...], str] = {  # statement of an answer by the modalities of its case
    ("us",): "no CT: scored from ultrasound alone, by the model the fusion was built from",
    ("ct",): "no ultrasound: scored from CT alone, by the model the fusion was built from",
}
NUMBERS = (
    *("probability", "decision", "threshold", "calibrated", "calibrated_low", "calibrated_high"),
    *("moved_low", "moved_high"),
    *("us_contribution", "ct_contribution", "record_contribution", "reference_log_odds"),
)
NOVELTIES = ("us_novelty", "ct_novelty")
UNSCORED: dict[str, Any] = {
    **dict.fromkeys((*NUMBERS, *NOVELTIES)),
    **dict.fromkeys(("variant", "level", "prediction_set"), ""),
}
COLUMNS = (*NUMBERS, "variant", "level", *NOVELTIES, "prediction_set", "statement", "warnings")


def answer(model: ScoringModel, cases: Sequence[Case], end: float = inf) -> list[dict[str, Any]]:
    """Scores cases, in their order.

    Args:
        model: of the registry; a fusion brings its unimodal models.
        cases: read from files or from a request.
        end: until when on the monotonic clock moved boxes are scored.

    Returns:
        Per case COLUMNS: the columns of `ScoringModel.answer`, None where a value is not defined; of a case
        with boxes `moved_low` and `moved_high`, the range of `calibrated` when these are moved; and
        `statement`: the missing modality and what that means. A record that the model does not read is told
        in `warnings` and leaves the level as it is. A case that cannot be scored, or whose pictures are too
        unlike the training cohort (`level` no answer), has no numbers, and its statement says why.
        Plain numbers, texts and lists, of which tables and JSON are made: a data frame on the way would take
        longer than the networks.
    """
    groups: dict[tuple[Modality, ...], list[int]] = {}
    for place, case in enumerate(cases):
        modalities = tuple(name for name in MODALITIES if name in case.crops)
        groups.setdefault(() if case.fault else modalities, []).append(place)
    rows: list[dict[str, Any]] = [{} for _ in cases]
    for modalities, places in groups.items():
        chosen = _model_for(modalities, model)
        if chosen is None:
            for place in places:
                rows[place] = UNSCORED | {"statement": _reason(cases[place], modalities), "warnings": []}
            continue
        own = [cases[place] for place in places]
        album = _album(own, [case.record for case in own], modalities, chosen)
        statement = "" if chosen is model else UNIMODAL[modalities]
        if model.record and not chosen.record:
            statement += ", without the record"
        columns = chosen.answer(album) | {"statement": np.full(len(places), statement, dtype=object)}
        columns |= _moved(own, modalities, chosen, end)
        lines = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
        for place, values in zip(places, lines, strict=True):
            row = dict(zip(COLUMNS, map(_defined, values), strict=True))
            rows[place] = _withheld(row, chosen) if row["level"] == "no answer" else row
            if cases[place].record is not None and not model.record:
                rows[place]["warnings"].append(IGNORED)
    return rows


def _withheld(row: dict[str, Any], model: ScoringModel) -> dict[str, Any]:
    """Takes the numbers out of an answer that would mislead, and says why."""
    alone = ", or leave out one modality to be answered from the other" if model.unimodal else ""
    return {
        **row,
        **dict.fromkeys(NUMBERS),
        "prediction_set": "",
        "statement": f"no answer: {'; '.join(row['warnings'])}{alone}",
    }


def explain(model: ScoringModel, case: Case, end: float = inf) -> dict[Modality, NDArray[np.float64]]:
    """Says which blocks of a case's largest pictures move its answer (bundle/occlusion.py).

    Args:
        model: of the registry.
        case: that it answers.
        end: until when on the monotonic clock.

    Returns:
        Per modality that is read (BLOCKS, BLOCKS), log odds; empty for a case that is not answered.
    """
    modalities = tuple(name for name in MODALITIES if name in case.crops)
    chosen = None if case.fault else _model_for(modalities, model)
    if chosen is None:
        return {}
    album = _album([case], [case.record], modalities, chosen)
    if chosen.verdicts(album)[0].level == "no answer":
        return {}
    return {name: occlusion(chosen, album, name, end=end) for name in chosen.modalities}


def _album(
    cases: Sequence[Case],
    records: Sequence[Mapping[str, str] | None],
    modalities: Sequence[Modality],
    model: ScoringModel,
) -> Album:
    """Returns crops, masks, features and record, as a model reads them, of cases that have all modalities."""
    album: dict[str, list[Any]] = {name: [case.crops[name] for case in cases] for name in modalities}
    for name in modalities:
        if all(name in case.masks for case in cases):
            album[mask_of(name)] = [case.masks[name] for case in cases]
        if all(name in case.measured for case in cases):
            album[key(name)] = [case.measured[name] for case in cases]
    if names := tuple(model.record):
        album[RECORD] = [cells(names, known or {}) for known in records]
    return album


def _moved(
    cases: Sequence[Case], modalities: Sequence[Modality], model: ScoringModel, end: float
) -> dict[str, NDArray[np.float64]]:
    """Returns the range of the calibrated probability of each case over its boxes, moved and as they are."""
    low, high = np.full(len(cases), np.nan), np.full(len(cases), np.nan)
    for place, case in enumerate(cases):
        every = [case, *case.moved] if case.moved else []
        together = max(1, BATCH // max(len(case.crops[name]) for name in modalities))
        scored = []
        for at in range(0, len(every), together):
            if time.monotonic() > end:
                raise TimeoutError
            part = every[at : at + together]
            scored.append(model.calibrated(_album(part, [case.record] * len(part), modalities, model)))
        if scored:
            found = np.concatenate(scored)
            low[place], high[place] = found.min(), found.max()
    return {"moved_low": low, "moved_high": high}


def _defined(value: Any) -> Any:
    """Returns None for NaN, which JSON does not know."""
    return None if isinstance(value, float) and value != value else value


def _model_for(modalities: tuple[Modality, ...], model: ScoringModel) -> ScoringModel | None:
    if not modalities:
        return None
    return model if set(model.modalities) <= set(modalities) else model.unimodal.get(modalities[0])


def _reason(case: Case, modalities: tuple[Modality, ...]) -> str:
    names = " and ".join(modalities) or "neither us nor ct"
    return f"not scored: {case.fault or f'found images of {names}, and there is no model for that'}"
