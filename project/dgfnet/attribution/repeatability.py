"""Whether networks of different folds say the same of the same nodules.

A nodule of the main cohort was held out by one network only. Those of the external cohort were seen by none:
every network explains them, each from its own baselines, as it explains its held-out nodules. How alike two
networks can be depends on how alike their predictions are, so no number is a pass. But networks that learnt
the same labels must be more alike than each of them with one that learnt labels without meaning: else what
they share is the pictures. Single pixels of a ReLU network's gradient are nearly chance, so this is judged by
sums over the blocks of a coarse grid.
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

from dgfnet.attribution.networks import pictures
from dgfnet.attribution.restored import Restored, effort, explained, spread
from dgfnet.attribution.sanity import Maps, likenesses
from dgfnet.metrics.intervals import bootstrap_interval
from dgfnet.results import load_nodules
from dgfnet.settings import Settings
from dgfnet.training.partition import select
from dgfnet.vocabulary import Site

FEWEST = 3  # nodules of a rank correlation
GRID = 8  # blocks along a side: in the demo a quarter of a nodule across on US, half of one on CT


@dataclass(frozen=True)
class Elsewhere:
    """What one network says of the external nodules.

    Attributes:
        table: nodule_id, patient_id, us, ct (towards metastasis) and log_odds, a row per nodule.
        maps: per modality (N, S, S), log odds.
    """

    table: pd.DataFrame
    maps: Maps


def nodules(settings: Settings) -> pd.DataFrame:
    """At most `attribute.repeat` nodules of the external cohort, evenly spread over their ids."""
    table = load_nodules(settings)
    table = table[table["cohort"] == "external"].sort_values("nodule_id", ignore_index=True)
    return table.iloc[spread(len(table), settings.attribute.repeat)] if len(table) else table


def why_not(settings: Settings) -> str | None:
    """Why nothing can be said, if nothing can."""
    if settings.attribute.repeat < FEWEST:
        return f"attribute.repeat is {settings.attribute.repeat}"
    if (count := len(nodules(settings))) < FEWEST:
        return (
            f"the external cohort has {count} nodules, and every other one was seen by all networks but one"
        )
    return None


def explain(settings: Settings, site: Site, network: Restored) -> Elsewhere:
    """What a network says of the external nodules; their labels are not looked at."""
    rows = nodules(settings)
    chosen = select(rows, network.archive, site)
    shown = pictures(network.model, network.archive, chosen)
    found, _ = explained(network, shown, settings.attribute.baselines[0], effort(settings))
    table = rows[["nodule_id", "patient_id"]].assign(
        us=found.sums["us"], ct=found.sums["ct"], log_odds=found.at_input
    )
    return Elsewhere(table, dict(found.maps))


def summary(
    folds: Sequence[Elsewhere],
    senseless: Elsewhere | None,
    confidence: float,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Rank correlations between the networks of two folds: median, lowest and highest over all pairs.

    Args:
        folds: of each fold's network, the same nodules in the same order; two at least.
        senseless: of a network that learnt labels without meaning; it is paired with each fold's.
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
    told: dict[str, Any] = {"nodules": len(folds[0].table), "folds": len(folds)}
    told |= {"pairs": _describe([_alike(*pair) for pair in own])}
    told |= {"random_labels": None, "labels_matter": None}
    if senseless is not None:
        other = [(one, senseless) for one in folds]
        more = np.mean([_by_blocks(*pair) for pair in own], axis=0)
        more = more - np.mean([_by_blocks(*pair) for pair in other], axis=0)
        told["random_labels"] = _describe([_alike(*pair) for pair in other])
        told["labels_matter"] = vars(
            bootstrap_interval(
                lambda rows: float(more[rows].mean()),
                folds[0].table["patient_id"].to_numpy(),
                confidence,
                replicates,
                np.random.default_rng(seed),
            )
        )
    return told


def fault(found: Mapping[str, Any]) -> str | None:
    """In a sentence what is wrong when the labels are not seen to matter; None else, or when nobody knows."""
    more = found.get("labels_matter")
    if more is None or more["low"] > 0:
        return None
    told = f"{more['estimate']:+.2f}, {more['low']:+.2f} to {more['high']:+.2f}"
    return (
        f"maps of networks that learnt the same labels are not shown to be more alike ({told}) than with one "
        "that learnt labels without meaning"
    )


def judged(sound: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What checks.json holds, with this fault beside the others."""
    wrong = fault(found)
    if wrong is None:
        return dict(sound)
    return {**sound, "failed": [*sound["failed"], wrong], "passed": False}


def blocks(maps: Maps) -> Maps:
    """Means of the maps over a grid of GRID x GRID blocks, (N, GRID, GRID) per modality."""
    return {
        name: avg_pool2d(values[:, None], values.shape[-1] // GRID)[:, 0] for name, values in maps.items()
    }


def _by_blocks(one: Elsewhere, other: Elsewhere) -> NDArray[np.float64]:
    return likenesses(blocks(one.maps), blocks(other.maps), ranks=True)


def _alike(one: Elsewhere, other: Elsewhere) -> dict[str, float]:
    first, second = (
        {
            **{name: each.table[name].to_numpy() for name in ("us", "ct")},
            "difference": (each.table["us"] - each.table["ct"]).to_numpy(),
            "prediction": each.table["log_odds"].to_numpy(),
        }
        for each in (one, other)
    )
    found = {name: _rank_correlation(first[name], second[name]) for name in first}
    found["maps"] = float(likenesses(one.maps, other.maps, ranks=True).mean())
    return found | {"blocks": float(_by_blocks(one, other).mean())}


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def _describe(pairs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    found = {}
    for name in pairs[0] if pairs else ():
        values = np.array([pair[name] for pair in pairs])
        known = values[~np.isnan(values)]
        shown = (np.median(known), known.min(), known.max()) if len(known) else (np.nan,) * 3
        found[name] = dict(zip(("median", "low", "high"), map(float, shown), strict=True))
    return found
