"""A version beside the champion on the nodules they share, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dgfnet.metrics.intervals import auc_difference
from dgfnet.registry.paired import compare


def table(ids, labels, probabilities):
    rows = {"nodule_id": list(ids), "patient_id": list(ids), "label": labels, "probability": probabilities}
    return pd.DataFrame(rows)


OLD = table("abcd", [0, 1, 0, 1], [0.1, 0.9, 0.6, 0.5])
BETTER = OLD.assign(probability=[0.1, 0.9, 0.2, 0.5])
NOTHING = "left out: 0 of this version alone, 0 of the champion alone, 0 labelled differently"


def test_the_same_nodules_in_another_order():
    comparison = compare(BETTER.iloc[::-1], OLD, 2, 0.95)
    assert comparison.difference.estimate == pytest.approx(1 - 3 / 4)
    assert comparison.account == f"4 shared nodules, 2 positive; {NOTHING}"


def test_a_patient_more_and_a_label_changed_do_not_switch_the_comparison_off():
    """New e and f, old g, another label of h: the four that are left decide, as they did alone."""
    new = pd.concat([BETTER, table("efh", [0, 1, 1], [0.99, 0.0, 0.0])])
    old = pd.concat([OLD, table("gh", [1, 0], [0.7, 0.9])]).sample(frac=1.0, random_state=0)
    comparison = compare(new, old, 2, 0.95)
    assert comparison.difference == compare(BETTER, OLD, 2, 0.95).difference
    assert comparison.account == (
        "4 shared nodules, 2 positive; left out: 2 of this version alone, 1 of the champion alone, "
        "1 labelled differently"
    )


@pytest.mark.parametrize("swapped", [0, 1])
def test_both_classes_need_the_minimum(swapped):
    """Two nodules of one class, one of the other."""
    three = OLD.iloc[[0, 1, 2] if swapped else [0, 1, 3]]
    comparison = compare(three, OLD, 2, 0.95)
    assert comparison.difference is None
    assert comparison.trusted
    assert comparison.account.startswith(
        f"not compared: fewer than 2 of each class (3 shared nodules, {2 - swapped}"
    )
    assert compare(three, OLD, 1, 0.95).difference is not None


def test_without_a_shared_nodule_the_key_of_the_hashes_is_named():
    comparison = compare(OLD.assign(nodule_id=list("efgh")), OLD, 1, 0.95)
    assert comparison.difference is None
    assert "id.key was lost" in comparison.account


def test_the_difference_is_that_of_the_shared_rows_clustered_by_patient():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 60)
    rows = pd.DataFrame({"nodule_id": [f"n{i}" for i in range(60)], "label": label})
    rows["patient_id"] = [f"p{i // 2}" for i in range(60)]
    new, old = (rows.assign(probability=rng.random(60) + weight * label) for weight in (0.8, 0.3))
    comparison = compare(new.iloc[:50], old.iloc[10:], 5, 0.9).difference
    part, other = new.iloc[10:50], old.iloc[10:50]
    areas = [roc_auc_score(part["label"], one["probability"]) for one in (part, other)]
    assert comparison.estimate == pytest.approx(areas[0] - areas[1])
    scores = part["probability"].to_numpy(), other["probability"].to_numpy()
    assert comparison == auc_difference(part["label"], *scores, part["patient_id"], 0.9)
    assert not math.isnan(comparison.low)
