"""Baselines at another hospital: those that need no network, frozen as cross-validation left them.

The answer for a nodule is the mean of the log odds of the folds' models, none of which knows the nodule; the
threshold is the mean of the folds' thresholds as log odds. So an ensemble of networks answers, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.external.measures import measure
from dgfnet.metrics.ensemble import common_threshold, mean_probability
from dgfnet.metrics.intervals import auc_difference
from dgfnet.preprocess.archive import Archive
from dgfnet.results import MEASURED, load_model, load_nodules, load_results, load_table
from dgfnet.settings import Settings
from dgfnet.tabular import design
from dgfnet.tabular.baselines import same_rows
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import clinical
from dgfnet.vocabulary import Baseline, Modality, Site, Variant

NETWORKLESS: tuple[Baseline, ...] = ("size", "clinical", "radiomics")


@dataclass(frozen=True)
class Frozen:
    """A cross-validated baseline.

    Attributes:
        models: one per fold.
        threshold: positive at or above it.
        units: of the pictures it was fitted on, of each modality that has one only.
    """

    models: tuple[Logistic, ...]
    threshold: float
    units: Mapping[Modality, str]

    def columns(self) -> list[str]:
        """Returns the columns that any of the models reads, sorted."""
        return sorted({term.column for model in self.models for term in model.terms})

    def probability(self, features: pd.DataFrame) -> NDArray[np.float64] | None:
        """Returns the probability of every nodule; a column that the table lacks is a gap in all its rows.

        None when the table has none of the columns: there is nothing to tell the nodules apart by.
        """
        names = self.columns()
        if not any(name in features for name in names):
            return None
        table = features.reindex(columns=names)
        return mean_probability([model.log_odds(table) for model in self.models])


def load_frozen(
    settings: Settings, site: Site, variant: Variant, current: bool
) -> tuple[dict[Baseline, Frozen], dict[Baseline, str]]:
    """Reads the baselines of a site that were cross-validated on the nodules of the champion.

    Args:
        settings: of the run.
        site: of the labels.
        variant: of the champion.
        current: the champion comes from the cross-validation whose results are on disk.

    Returns:
        The baselines, and why others that were cross-validated are left out.

    Raises:
        InputError: when a file is not what the stage crossval wrote.
    """
    found, left_out = {}, {}
    results = load_results(settings, site)
    for name in NETWORKLESS:
        if name not in results:
            continue
        if not current:
            left_out[name] = "the champion is of another cross-validation"
            continue
        if not same_rows(load_table(settings, site, name), load_table(settings, site, variant)):
            left_out[name] = "it was cross-validated on other nodules than the champion"
            continue
        plain = load_model(settings, site, name)
        if "units" not in plain:
            left_out[name] = "an earlier release cross-validated it; run the stage crossval again"
            continue
        threshold = common_threshold([fold["threshold"] for fold in results[name]["folds"]])
        models = tuple(Logistic.of(fold) for fold in plain["folds"])
        found[name] = Frozen(models, threshold, plain["units"])
    return found, left_out


def score(
    settings: Settings, frozen: Mapping[Baseline, Frozen], archive: Archive, nodules: Sequence[str]
) -> dict[Baseline, NDArray[np.float64]]:
    """Scores external nodules by baselines.

    Args:
        settings: of the run.
        frozen: the baselines by name.
        archive: of the nodules; measured.parquet lies in its folder when `radiomics` is among the baselines.
        nodules: their ids; the answers are in this order.

    Returns:
        Probabilities by name, without a baseline that finds none of its columns.
    """
    found = {
        name: baseline.probability(_features(settings, name, baseline, archive, nodules))
        for name, baseline in frozen.items()
    }
    return {name: probability for name, probability in found.items() if probability is not None}


def _features(
    settings: Settings, name: Baseline, baseline: Frozen, archive: Archive, nodules: Sequence[str]
) -> pd.DataFrame:
    if name == "size":
        return design.size(archive, nodules)
    if name == "clinical":
        return clinical(load_nodules(settings), nodules, baseline.columns())
    table = pd.read_parquet(archive.folder / MEASURED)
    return design.measured(archive, table, nodules, baseline.units)


def compared(
    table: pd.DataFrame, frozen: Mapping[Baseline, Frozen], confidence: float
) -> dict[Baseline, dict[str, Any]]:
    """Computes what each baseline reaches, and how much more the champion does on the same nodules.

    Args:
        table: label, patient_id, probability of the champion, and `<baseline>_probability`; a baseline that
            has no such column is left out.
        frozen: the baselines by name.
        confidence: of the intervals.

    Returns:
        Per baseline `threshold`, all of `measure`, and `difference`: the champion's AUC minus the baseline's
        (clustered DeLong, paired): estimate, low, high, p.
    """
    found = {}
    for name, baseline in frozen.items():
        column, threshold = f"{name}_probability", baseline.threshold
        if column not in table:
            continue
        more = auc_difference(
            table["label"], table["probability"], table[column], table["patient_id"], confidence
        )
        own = measure(table.assign(probability=table[column]), threshold, confidence)
        found[name] = {"threshold": threshold, **own, "difference": vars(more)}
    return found
