from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from dgfnet.metrics.discrimination import (
    SCORES,
    Confusion,
    auc,
    average,
    confusion,
    midranks,
    roc_curve,
    scores,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=40)  # few values: ties


def paper_external():
    """The counts behind the paper's table 4, external cohort: 22 positive, 38 negative, TP 20, TN 29."""
    label = [1] * 22 + [0] * 38
    called = [0.9] * 20 + [0.1] * 2 + [0.9] * 9 + [0.1] * 29
    return label, called


def test_the_papers_table_4_follows_from_its_counts():
    label, called = paper_external()
    assert confusion(label, called, 0.5) == Confusion(20, 9, 29, 2)
    found = scores(label, called, 0.5)
    expected = {
        "accuracy": 0.817,
        "sensitivity": 0.909,
        "specificity": 0.763,
        "precision": 0.690,
        "f1": 0.784,
    }
    assert {key: round(found[key], 3) for key in expected} == expected
    assert tuple(found) == SCORES


def test_auc_counts_pairs_and_half_for_ties():
    # pairs (positive, negative): (3,2) right, (3,1) right, (2,2) tie, (2,1) right -> 3.5 of 4
    assert auc([1, 1, 0, 0], [3, 2, 2, 1]) == 3.5 / 4


def test_tied_scores_share_their_rank():
    # 0.1 is first, the two 0.4 share ranks 2 and 3, 0.9 is fourth
    assert midranks([0.4, 0.9, 0.1, 0.4]).tolist() == [2.5, 4.0, 1.0, 2.5]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40))
def test_midranks_are_scipys(values):
    assert midranks(values).tolist() == rankdata(values).tolist()


def test_the_roc_curve_by_hand():
    # from the highest score: a positive, a tie of a positive and a negative, a negative
    across, up = roc_curve([1, 1, 0, 0], [3, 2, 2, 1])
    assert across.tolist() == [0, 0, 0.5, 1]
    assert up.tolist() == [0, 0.5, 1, 1]


@given(rows)
def test_the_roc_curve_is_sklearns(rows):
    label, score = map(np.array, zip(*rows, strict=True))
    across, up = roc_curve(label, score)
    with warnings.catch_warnings():  # sklearn warns where a class is missing
        warnings.simplefilter("ignore")
        expected_across, expected_up, _ = sklearn_metrics.roc_curve(label, score, pos_label=1)
    np.testing.assert_array_equal(across, expected_across)
    np.testing.assert_array_equal(up, expected_up)


def test_probability_equal_to_the_threshold_is_positive():
    assert confusion([1, 0], [0.5, np.nextafter(0.5, 0)], 0.5) == Confusion(1, 0, 1, 0)


def test_one_class_leaves_its_metrics_undefined():
    only_negative = scores([0, 0], [0.1, 0.9], 0.5)
    assert math.isnan(only_negative["auc"])
    assert math.isnan(only_negative["sensitivity"])
    assert only_negative["specificity"] == 0.5
    assert only_negative["precision"] == 0.0
    only_positive = scores([1, 1], [0.1, 0.9], 0.5)
    assert math.isnan(only_positive["specificity"])
    assert only_positive["sensitivity"] == 0.5


def test_no_positive_call_has_no_precision_but_an_f1_of_zero():
    found = scores([1, 0], [0.2, 0.1], 0.5)
    assert math.isnan(found["precision"])
    assert found["f1"] == 0.0
    assert math.isnan(scores([0, 0], [0.2, 0.1], 0.5)["f1"])


@given(rows)
def test_agrees_with_scikit_learn_where_both_are_defined(data):
    label, score = (np.array(column) for column in zip(*data, strict=True))
    called = score >= 4
    found = scores(label, score, 4)
    assert found["accuracy"] == pytest.approx(accuracy_score(label, called))
    if 0 < label.sum() < label.size:
        assert found["auc"] == pytest.approx(roc_auc_score(label, score))
        assert found["sensitivity"] == pytest.approx(recall_score(label, called))
        assert found["specificity"] == pytest.approx(recall_score(1 - label, ~called))
        assert found["f1"] == pytest.approx(f1_score(label, called))
        if called.any():
            assert found["precision"] == pytest.approx(precision_score(label, called))


@given(rows)
def test_auc_sees_order_only_and_flips_with_the_labels(data):
    label, score = (np.array(column) for column in zip(*data, strict=True))
    area = auc(label, score)
    assert auc(label, np.exp(score) - 5) == pytest.approx(area, nan_ok=True)
    assert auc(1 - label, score) == pytest.approx(1 - area, nan_ok=True)
    assert auc(label, -score) == pytest.approx(1 - area, nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_average_ignores_undefined_folds_key_by_key():
    mean, sd = average([{"auc": 0.5, "f1": math.nan}, {"auc": 0.7, "f1": 0.4}, {"auc": 0.9, "f1": math.nan}])
    assert mean == pytest.approx({"auc": 0.7, "f1": 0.4})
    assert sd["auc"] == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)
    assert math.isnan(sd["f1"])  # one value has no spread
    mean, _ = average([{"auc": math.nan}])
    assert math.isnan(mean["auc"])


def test_average_refuses_nothing_and_unlike_folds():
    with pytest.raises(ValueError, match="no folds"):
        average([])
    with pytest.raises(ValueError, match="different metrics"):
        average([{"auc": 0.5}, {"f1": 0.5}])


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [
        ([], [], "at least one row"),
        ([0, 1], [0.5], r"two \(n,\) arrays"),
        ([[0, 1]], [[0.5, 0.5]], r"two \(n,\) arrays"),
        ([0, 2], [0.5, 0.5], "must be 0 or 1"),
        ([0, math.nan], [0.5, 0.5], "must be 0 or 1"),
        ([0, 1], [0.5, math.nan], "1 of 2 probabilities are not finite"),
        ([0, 1], [0.5, math.inf], "not finite"),
    ],
)
def test_unusable_input_is_refused(label, probability, message):
    with pytest.raises(ValueError, match=message):
        scores(label, probability, 0.5)


def test_a_missing_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold is nan"):
        scores([0, 1], [0.2, 0.8], math.nan)


def test_booleans_are_labels():
    assert confusion(np.array([True, False]), [0.9, 0.9], 0.5) == Confusion(1, 1, 0, 0)
