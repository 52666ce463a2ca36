"""Repeatability of the attributions of the same nodules between the networks of different folds.

A nodule of the main cohort was held out by one network only. No network was trained on the external cohort:
every network explains its nodules, each from its own baselines, as it explains its held-out nodules. How
alike two networks can be depends on how alike their predictions are, so no number is a pass. But networks
that learnt the same labels must be more alike than each of them with the random-label model: else what they
share is the pictures. Single pixels of a ReLU network's gradient are nearly chance, so this is judged by sums
over the blocks of a coarse grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn.functional import avg_pool2d

from dgfnet.attribution.fidelity import Maps
from dgfnet.attribution.fold_network import FoldNetwork, effort, explain, spread
from dgfnet.attribution.sanity import likenesses
from dgfnet.metrics.intervals import bootstrap_interval
from dgfnet.results import load_nodules
from dgfnet.settings import Settings

FEWEST = 3  # nodules of a rank correlation
GRID = 8  # blocks along a side: in the demo a quarter of a nodule across on US, half of one on CT


@dataclass(frozen=True)
class ExternalExplanation:
    """The explanation of the external nodules by one network.

    Attributes:
        table: nodule_id, patient_id, us, ct (towards metastasis) and log_odds, a row per nodule.
        maps: per modality (N, S, S), log odds.
    """

    table: pd.DataFrame
    maps: Maps


def nodules(settings: Settings) -> pd.DataFrame:
    """Returns at most `attribute.repeat` nodules of the external cohort, evenly spread over their ids."""
    table = load_nodules(settings)
    table = table[table["cohort"] == "external"].sort_values("nodule_id", ignore_index=True)
    return table.iloc[spread(len(table), settings.attribute.repeat)] if len(table) else table


def why_not(settings: Settings) -> str | None:
    """Returns the reason why repeatability is not measured; None where it is."""
    if settings.attribute.repeat < FEWEST:
        return f"attribute.repeat is {settings.attribute.repeat}"
    if (count := len(nodules(settings))) < FEWEST:
        return (
            f"the external cohort has {count} nodules, and every other one was seen by all networks but one"
        )
    return None


def explain_external(settings: Settings, network: FoldNetwork) -> ExternalExplanation:
    """Explains the external nodules by a network, without a look at their labels."""
    rows = nodules(settings)
    attributions = explain(
        network, network.pictures_of(rows), settings.attribute.baselines[0], effort(settings)
    ).attributions
    table = rows[["nodule_id", "patient_id"]].assign(
        us=attributions.sums["us"], ct=attributions.sums["ct"], log_odds=attributions.at_input
    )
    return ExternalExplanation(table, dict(attributions.maps))


def summary(
    folds: Sequence[ExternalExplanation],
    random_labels: ExternalExplanation | None,
    confidence: float,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Computes rank correlations between the networks of two folds: median and range over all pairs.

    Args:
        folds: of each fold's network, the same nodules in the same order; two at least.
        random_labels: of the random-label model; it is paired with each fold's.
        confidence: of the interval.
        replicates: of its bootstrap over patients.
        seed: of its bootstrap.

    Returns:
        nodules, folds, and `pairs`: of what US says, what CT says, their difference and the predictions,
        over nodules; of the maps and of their sums over blocks, within nodules and averaged over them.
        `random_labels`: the same of the pairs with that network, or None; `labels_matter`: by how much blocks
        are more alike between folds than with that network, with its interval, or None.
    """
    own = list(combinations(folds, 2))
    agreement: dict[str, Any] = {"nodules": len(folds[0].table), "folds": len(folds)}
    agreement |= {"pairs": _describe([_alike(*pair) for pair in own])}
    agreement |= {"random_labels": None, "labels_matter": None}
    if random_labels is not None:
        other = [(fold, random_labels) for fold in folds]
        more = np.mean([_by_blocks(*pair) for pair in own], axis=0)
        more = more - np.mean([_by_blocks(*pair) for pair in other], axis=0)
        agreement["random_labels"] = _describe([_alike(*pair) for pair in other])
        agreement["labels_matter"] = vars(
            bootstrap_interval(
                lambda rows: float(more[rows].mean()),
                folds[0].table["patient_id"].to_numpy(),
                confidence,
                replicates,
                np.random.default_rng(seed),
            )
        )
    return agreement


def fault(agreement: Mapping[str, Any]) -> str | None:
    """Returns a sentence where the labels are not shown to matter; else, or where not measured, None."""
    more = agreement.get("labels_matter")
    if more is None or more["low"] > 0:
        return None
    interval = f"{more['estimate']:+.2f}, {more['low']:+.2f} to {more['high']:+.2f}"
    return (
        f"maps of networks that learnt the same labels are not shown to be more alike ({interval}) than with "
        "one that learnt labels without meaning"
    )


def judged(checks: Mapping[str, Any], agreement: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of checks.json, with this fault beside the others."""
    wrong = fault(agreement)
    if wrong is None:
        return dict(checks)
    return {**checks, "failed": [*checks["failed"], wrong], "passed": False}


def blocks(maps: Maps) -> Maps:
    """Averages the maps over a grid of GRID x GRID blocks, (N, GRID, GRID) per modality."""
    return {
        name: avg_pool2d(values[:, None], values.shape[-1] // GRID)[:, 0] for name, values in maps.items()
    }


def _by_blocks(first: ExternalExplanation, second: ExternalExplanation) -> NDArray[np.float64]:
    return likenesses(blocks(first.maps), blocks(second.maps), ranks=True)


def _alike(first: ExternalExplanation, second: ExternalExplanation) -> dict[str, float]:
    numbers, others = (
        {
            **{name: each.table[name].to_numpy() for name in ("us", "ct")},
            "difference": (each.table["us"] - each.table["ct"]).to_numpy(),
            "prediction": each.table["log_odds"].to_numpy(),
        }
        for each in (first, second)
    )
    correlations = {name: _rank_correlation(numbers[name], others[name]) for name in numbers}
    correlations["maps"] = float(likenesses(first.maps, second.maps, ranks=True).mean())
    return correlations | {"blocks": float(_by_blocks(first, second).mean())}


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def _describe(pairs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    ranges = {}
    for name in pairs[0] if pairs else ():
        values = np.array([pair[name] for pair in pairs])
        known = values[~np.isnan(values)]
        shown = (np.median(known), known.min(), known.max()) if len(known) else (np.nan,) * 3
        ranges[name] = dict(zip(("median", "low", "high"), map(float, shown), strict=True))
    return ranges
