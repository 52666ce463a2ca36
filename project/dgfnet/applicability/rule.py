"""The rule for CT: US for all, CT for those whose prediction it is expected to improve most.

The expected improvement is learned on out-of-fold predictions of the other folds, so a nodule is never judged
by a rule that was fitted on it. Its predictors are known before a CT: US probability, size and shape.
 Its target is the change that CT makes to the call: 1 where a wrong call becomes right, -1 where
a right call becomes wrong, 0 where it changes nothing. (The squared error of the probability was tried first:
few extreme predictions ruled it, and the rule did worse than chance on the phantom.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from dgfnet.metrics.discrimination import checked
from dgfnet.metrics.netbenefit import net_benefit

SHARES = tuple(np.round(np.arange(0.0, 1.001, 0.05), 2))
POLICIES = ("rule", "near threshold", "random")
DRAWS = 20  # of the random policy, averaged
NEAREST = 1e-6
PENALTIES = np.logspace(-2, 4, 13)

Scores = NDArray[np.float64]


def features(us: pd.DataFrame, attributes: pd.DataFrame) -> NDArray[np.float64]:
    """Computes the predictors, (n, k): log-odds of US, their distance from the threshold, attributes."""
    odds = logit(us["probability"].clip(NEAREST, 1 - NEAREST)).to_numpy()
    distance = np.abs(odds - logit(us["threshold"].clip(NEAREST, 1 - NEAREST)).to_numpy())
    numbers = attributes.reindex(us["nodule_id"]).to_numpy(dtype=float)
    return np.column_stack([odds, distance, numbers])


def improvement(us: pd.DataFrame, both: pd.DataFrame) -> Scores:
    """Compares calls at the frozen thresholds: 1 where CT corrects one, -1 where it spoils one, else 0."""
    before, after = (
        (table["probability"] >= table["threshold"]).to_numpy() == (table["label"] == 1).to_numpy()
        for table in (us, both)
    )
    return np.asarray(after.astype(np.float64) - before, dtype=np.float64)


def learned(us: pd.DataFrame, both: pd.DataFrame, attributes: pd.DataFrame) -> Scores:
    """Ranks every nodule inside its fold by the improvement that a rule of the other folds expects."""
    x, y, fold = features(us, attributes), improvement(us, both), us["fold"].to_numpy()
    expected = np.empty(len(us))
    for number in np.unique(fold):
        held = fold == number
        expected[held] = _model().fit(x[~held], y[~held]).predict(x[held])
    return within_folds(expected, fold)


def expected_externally(
    us: pd.DataFrame,
    both: pd.DataFrame,
    attributes: pd.DataFrame,
    external: pd.DataFrame,
    external_attributes: pd.DataFrame,
) -> Scores:
    """Ranks the nodules of the external cohort by the improvement that the rule of all folds expects.

    Args:
        us: out-of-fold table of the US model.
        both: the same nodules by the model of US and CT.
        attributes: their size and shape, by nodule_id.
        external: table of the external cohort by the US model; its labels are not used.
        external_attributes: size and shape of its nodules.
    """
    model = _model().fit(features(us, attributes), improvement(us, both))
    return within_folds(model.predict(features(external, external_attributes)), external["fold"].to_numpy())


def within_folds(score: Scores, fold: NDArray[Any]) -> Scores:
    """Computes ranks inside each fold, above 0 and at most 1, the highest score 1.

    Scores of different folds come from different rules and do not compare: the mean of the other folds is low
    where a fold's own is high, so pooled scores would pick the wrong folds.
    """
    ranks = np.empty(len(score))
    for number in np.unique(fold):
        held = fold == number
        ranks[held] = rankdata(score[held]) / held.sum()
    return ranks


def frontier(us: pd.DataFrame, both: pd.DataFrame, expected: Scores, seed: int) -> pd.DataFrame:
    """Computes AUC, net benefit and mean improvement for shares of nodules with CT, chosen in three ways.

    Args:
        us: out-of-fold table of the US model.
        both: the same nodules with US and CT.
        expected: of `learned`.
        seed: of the random policy.

    Returns:
        Columns policy (`rule`, `near threshold`, `random`), ct_share, auc, net_benefit (at the median frozen
        threshold), improvement (calls corrected less spoiled, per nodule of the cohort). Shares 0 and 1 are
        US for all and CT for all.
    """
    rng = np.random.default_rng(seed)
    mixture = _Mixture.of(us, both)
    near = -np.abs(us["probability"].to_numpy() - us["threshold"].to_numpy())
    orders: Mapping[str, list[Scores]] = {
        "rule": [expected],
        "near threshold": [within_folds(near, us["fold"].to_numpy())],
        "random": [rng.random(len(us)) for _ in range(DRAWS)],
    }
    rows: list[dict[str, Any]] = []
    for policy, scores in orders.items():
        ranked = [np.argsort(-score, kind="stable") for score in scores]
        for share in SHARES:
            measured = [mixture.measure(_first(order, float(share))) for order in ranked]
            means = {name: float(np.mean([values[name] for values in measured])) for name in measured[0]}
            rows.append({"policy": policy, "ct_share": float(share), **means})
    return pd.DataFrame(rows)


def chosen(score: Scores, share: float) -> NDArray[np.bool_]:
    """Marks the nodules with the highest scores, as many as make up the share."""
    return _first(np.argsort(-score, kind="stable"), share)


def better_than_chance(
    us: pd.DataFrame, both: pd.DataFrame, expected: Scores, share: float, replicates: int, seed: int
) -> dict[str, float]:
    """Tests by permutation of patients that the rule's nodules gain more from CT than as many at random.

    Returns:
        `improvement` of those chosen, mean; `by_chance`, the mean over all; `p`, one-sided.
    """
    gain = improvement(us, both)
    picked = chosen(expected, share)
    rng = np.random.default_rng(seed)
    observed = float(gain[picked].mean()) if picked.any() else 0.0
    patients, index = np.unique(us["patient_id"].to_numpy(), return_inverse=True)
    hits = 0
    for _ in range(replicates):
        order = rng.permutation(len(patients))[index]  # nodules of a patient stay together
        drawn = np.argsort(order, kind="stable")[: int(picked.sum())]
        hits += float(gain[drawn].mean()) >= observed if picked.any() else 1
    return {"improvement": observed, "by_chance": float(gain.mean()), "p": (1 + hits) / (1 + replicates)}


def _first(order: NDArray[np.intp], share: float) -> NDArray[np.bool_]:
    picked = np.zeros(len(order), dtype=bool)
    picked[order[: round(share * len(order))]] = True
    return picked


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Predictions of both models, ranked together once: a mixture of them is then measured in linear time.

    Attributes:
        positive: (n,) the label.
        probability: (2, n) of the US model, of the model of both.
        rank: (2, n) of each probability among all, equal ones alike.
        gain: (n,) of `improvement`.
        threshold: median frozen threshold.
    """

    positive: NDArray[np.bool_]
    probability: Scores
    rank: NDArray[np.intp]
    gain: Scores
    threshold: float

    @classmethod
    def of(cls, us: pd.DataFrame, both: pd.DataFrame) -> _Mixture:
        """Ranks the predictions of two tables of the same nodules."""
        positive, alone = checked(us["label"], us["probability"])
        probability = np.stack([alone, checked(us["label"], both["probability"])[1]])
        rank = np.unique(probability, return_inverse=True)[1].reshape(probability.shape)
        return cls(positive, probability, rank, improvement(us, both), float(us["threshold"].median()))

    def measure(self, picked: NDArray[np.bool_]) -> dict[str, float]:
        """Computes AUC, net benefit and mean improvement with the model of both where picked, (n,)."""
        mixed = np.where(picked, self.probability[1], self.probability[0])
        return {
            "auc": self._auc(np.where(picked, self.rank[1], self.rank[0])),
            "net_benefit": net_benefit(self.positive, mixed, self.threshold),
            "improvement": float(np.where(picked, self.gain, 0.0).mean()),
        }

    def _auc(self, rank: NDArray[np.intp]) -> float:
        """Computes `discrimination.auc` of ranks (n,): negatives below each positive, ties at half."""
        negatives = np.bincount(rank[~self.positive], minlength=self.rank.size)
        below = np.cumsum(negatives) - negatives / 2
        pairs = int(self.positive.sum()) * int(negatives.sum())
        return float(below[rank[self.positive]].sum()) / pairs if pairs else math.nan


def _model() -> Pipeline:
    """Builds the regression: smooth in each feature, additive, and shrunk as leave-one-out asks for."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        SplineTransformer(n_knots=4, degree=2, extrapolation="constant"),
        RidgeCV(alphas=PENALTIES),
    )
