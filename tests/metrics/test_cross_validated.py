"""Intervals of pooled out-of-fold AUCs cover the AUC that the folds' models truly have."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from dgfnet.metrics.intervals import auc_interval

FOLDS = 8


def cross_validated(seed, patients, features, separation):
    """Interval of the pooled AUC of Fisher's discriminant, and the mean true AUC of its eight fits.

    Patients have one or two nodules that share part of their features. Features are normal with unit variance
    and means +-d/2 along the first axis, so weights w have the AUC Phi(w.d / (sqrt(2) |w|)).
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 3, patients))
    label = (rng.random(patients) < 0.4).astype(int)[patient]
    axis = np.zeros(features)
    axis[0] = separation
    shared = rng.normal(size=(patients, features))[patient]
    x = np.sqrt(0.5) * (shared + rng.normal(size=shared.shape)) + np.outer(label - 0.5, axis)
    fold = rng.permutation(patients)[patient] % FOLDS
    score, true = np.empty(len(x)), []
    for one in range(FOLDS):
        held = fold == one
        a, b = (x[~held & (label == value)] for value in (0, 1))
        spread = np.cov(np.vstack([a - a.mean(0), b - b.mean(0)]), rowvar=False)
        weights = np.linalg.solve(spread, b.mean(0) - a.mean(0))
        score[held] = expit(x[held] @ weights - weights @ (a.mean(0) + b.mean(0)) / 2)
        true.append(norm.cdf(weights @ axis / (np.sqrt(2) * np.linalg.norm(weights))))
    found = auc_interval(label, score, patient, 0.95)
    return found.low <= np.mean(true) <= found.high, found.estimate - np.mean(true)


def test_intervals_of_pooled_folds_cover_and_their_centre_is_nearly_right():
    for patients, features in ((300, 5), (80, 10)):
        found = [cross_validated(seed, patients, features, 1.2) for seed in range(300)]
        covered, bias = np.mean(found, axis=0)
        print(f"{patients} patients, {features} features: covered {covered:.3f}, bias {bias:+.4f}")
        assert covered > 0.89  # at a true 0.94 less has a chance of 0.05 % of 300
        assert -0.03 < bias < 0.005  # pooling folds of different models loses a little, never gains
