"""Shortcuts: models that predict the label without pictures, from size, acquisition or one column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dgfnet.metrics.intervals import Interval, auc_interval
from dgfnet.tabular.logistic import fit

# of the table that `measurements.table` makes; each is there for both modalities
COLUMNS = {
    "size": ("area_px", "area_mm2", "extent_mm"),
    "acquisition": ("rows", "columns", "spacing_mm", "mean", "deviation", "images"),
}
LEAST = 20  # leaf of a tree; smaller ones learn a cohort of 200 by heart


@dataclass(frozen=True)
class Baseline:
    """Out-of-fold area under the ROC curve of a model that sees no picture."""

    site: str
    kind: str
    model: str
    nodules: int
    auc: Interval


def baselines(table: pd.DataFrame, fold: pd.Series, site: str, confidence: float) -> list[Baseline]:
    """Cross-validates a linear model and boosted trees per kind of columns, over the cohort's own folds.

    Args:
        table: one row per nodule: patient_id, lnm_<site> (NaN where unknown) and the columns of COLUMNS with
            the prefixes us_ and ct_.
        fold: fold of each row.
        site: central or lateral.
        confidence: of the interval.

    Returns:
        Nothing for a site without both classes in the training part of every fold.
    """
    labelled = table[f"lnm_{site}"].notna()
    table, fold = table[labelled], fold[labelled]
    label = table[f"lnm_{site}"].to_numpy().astype(int)
    halves = _training_parts(label, fold)
    results = []
    for kind, names in COLUMNS.items() if halves else ():
        columns = table[[f"{prefix}_{name}" for prefix in ("us", "ct") for name in names]]
        features = columns.loc[:, columns.notna().any()].to_numpy(dtype=float)
        if not features.size:  # no image could be read
            continue
        for model in ("linear", "trees"):
            score = np.empty(len(label))
            for train in halves:
                classifier = _classifier(model).fit(features[train], label[train])
                score[~train] = classifier.predict_proba(features[~train])[:, 1]
            auc = auc_interval(label, score, table["patient_id"].to_numpy(), confidence)
            results.append(Baseline(site, kind, model, len(label), auc))
    return results


@dataclass(frozen=True)
class ColumnAlone:
    """Out-of-fold area under the ROC curve of one column of nodules.csv."""

    site: str
    column: str
    nodules: int
    auc: Interval


def columns_alone(
    table: pd.DataFrame, attributes: pd.DataFrame, fold: pd.Series, site: str, confidence: float
) -> list[ColumnAlone]:
    """Cross-validates a logistic regression on every further column of nodules.csv by itself.

    One that tells nearly everything was probably derived from the label, or written down after it was known.

    Args:
        table: one row per nodule: patient_id and lnm_<site> (NaN where unknown).
        attributes: the columns, texts and None, of the same nodules in the same order.
        fold: fold of each row.
        site: central or lateral.
        confidence: of the interval.

    Returns:
        Nothing for a site without both classes in the training part of every fold.
    """
    labelled = table[f"lnm_{site}"].notna()
    table, attributes, fold = table[labelled], attributes[labelled.to_numpy()], fold[labelled]
    label = table[f"lnm_{site}"].to_numpy(dtype=float)
    halves = _training_parts(label, fold)
    results = []
    for name in attributes if halves else ():
        score = np.empty(len(label))
        for train in halves:
            score[~train] = fit(attributes.loc[train, [name]], label[train]).log_odds(
                attributes.loc[~train, [name]]
            )
        auc = auc_interval(label, score, table["patient_id"].to_numpy(), confidence)
        results.append(ColumnAlone(site, str(name), len(label), auc))
    return results


def _training_parts(label: NDArray[Any], fold: pd.Series) -> list[NDArray[np.bool_]]:
    """Returns which rows train for each fold; nothing where a training part lacks a class."""
    parts = [(fold != number).to_numpy() for number in sorted(fold.unique())]
    return parts if len(parts) > 1 and all(len(set(label[train])) == 2 for train in parts) else []


def _classifier(model: str) -> Any:
    if model == "trees":
        return HistGradientBoostingClassifier(min_samples_leaf=LEAST, max_iter=100, random_state=0)
    return make_pipeline(
        SimpleImputer(add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
