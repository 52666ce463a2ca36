"""How often the DeLong interval of a cross-validated AUC contains 0.5 when there is nothing to learn.

    python benchmarks/null_intervals.py --data-sets 150

Logistic regression on independent noise, 500 subjects, stratified folds. Prints a table; takes a few minutes.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from dgfnet.metrics.intervals import Interval, auc_interval

SUBJECTS, PREVALENCE = 500, 0.44


def main() -> None:
    """Simulates and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-sets", type=int, default=150)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        "| features | folds | mean AUC | sd | intervals that contain 0.5 |\n| --- | --- | --- | --- | --- |"
    )
    for features in (1, 2, 4, 8, 32, 128):
        for folds in (4, 8):
            found = [cross_validate(features, folds, rng) for _ in range(options.data_sets)]
            areas = [interval.estimate for interval in found]
            share = np.mean([interval.low <= 0.5 <= interval.high for interval in found])
            print(f"| {features} | {folds} | {np.mean(areas):.3f} | {np.std(areas):.3f} | {share:.0%} |")


def cross_validate(features: int, folds: int, rng: np.random.Generator) -> Interval:
    """Out-of-fold AUC of one data set of pure noise, with its interval."""
    x = rng.standard_normal((SUBJECTS, features))
    y = (rng.random(SUBJECTS) < PREVALENCE).astype(int)
    score = np.zeros(SUBJECTS)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**31)))
    for train, test in splitter.split(x, y):
        score[test] = LogisticRegression().fit(x[train], y[train]).decision_function(x[test])
    return auc_interval(y, score, np.arange(SUBJECTS), 0.95)


if __name__ == "__main__":
    main()
