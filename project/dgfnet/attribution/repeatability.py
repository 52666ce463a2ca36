"""Whether networks of different folds say the same of the same nodules.

A nodule of the main cohort was held out by one network only. Those of the external cohort were seen by none:
every network explains them, each from its own baselines, as it explains its held-out nodules. Nothing is
passed or failed here: how alike two networks can be depends on how alike their predictions are. A network
that learnt labels without meaning shows how alike they are without a reason.
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

from dgfnet.attribution.networks import pictures
from dgfnet.attribution.restored import Restored, effort, explained, spread
from dgfnet.attribution.sanity import Maps, likeness
from dgfnet.cohort.stage import load_nodules
from dgfnet.settings import Settings, Site
from dgfnet.training.partition import select

FEWEST = 3  # nodules of a rank correlation


@dataclass(frozen=True)
class Elsewhere:
    """What one network says of the external nodules.

    Attributes:
        table: nodule_id, us, ct (towards metastasis) and log_odds, a row per nodule.
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
    chosen = select(nodules(settings), network.archive, site)
    shown = pictures(network.model, network.archive, chosen)
    found, _ = explained(network, shown, settings.attribute.baselines[0], effort(settings))
    table = pd.DataFrame({"nodule_id": list(chosen.ids)}).assign(
        us=found.sums["us"], ct=found.sums["ct"], log_odds=found.at_input
    )
    return Elsewhere(table, dict(found.maps))


def summary(folds: Sequence[Elsewhere], senseless: Elsewhere | None) -> dict[str, Any]:
    """Rank correlations between the networks of two folds: median, lowest and highest over all pairs.

    Args:
        folds: of each fold's network, the same nodules in the same order.
        senseless: of a network that learnt labels without meaning; it is paired with each fold's.

    Returns:
        nodules, folds, and `pairs`: of what US says, what CT says, their difference and the predictions,
        over nodules; and of the maps, within nodules and averaged over them. `random_labels`: the same of the
        pairs with that network, or None.
    """
    own = [_alike(one, other) for one, other in combinations(folds, 2)]
    other = None if senseless is None else _describe([_alike(one, senseless) for one in folds])
    count = len(folds[0].table)
    return {"nodules": count, "folds": len(folds), "pairs": _describe(own), "random_labels": other}


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
    return found | {"maps": likeness(one.maps, other.maps, ranks=True)}


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
