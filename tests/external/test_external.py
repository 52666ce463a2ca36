from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

from dgfnet.cohort.records import Image, Nodule
from dgfnet.external.casemix import case_mix
from dgfnet.external.measures import measure, recalibrated


def table(seed=0, count=60, shift=0.0):
    """Probabilities that are right for an intercept `shift` lower than the truth's."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, count)
    label = (rng.random(count) < expit(odds + shift)).astype(int)
    ids = [f"p{i}" for i in range(count)]
    return pd.DataFrame({"patient_id": ids, "label": label, "probability": expit(odds)})


def test_measures_equal_scikit_learn():
    rows = table()
    measured = measure(rows, 0.4, 0.95)
    tn, fp, fn, tp = confusion_matrix(rows["label"], rows["probability"] >= 0.4).ravel()
    assert measured["auc"] == pytest.approx(roc_auc_score(rows["label"], rows["probability"]))
    assert measured["sensitivity"] == pytest.approx(tp / (tp + fn))
    assert measured["intervals"]["specificity"]["estimate"] == pytest.approx(tn / (tn + fp))
    assert (
        measured["intervals"]["precision"]["low"]
        < tp / (tp + fp)
        < measured["intervals"]["precision"]["high"]
    )
    assert measured["calibration"]["brier"] == pytest.approx(
        brier_score_loss(rows["label"], rows["probability"])
    )
    assert measured["net_benefit"] == pytest.approx(tp / 60 - fp / 60 * 0.4 / 0.6)
    assert (measured["n"], measured["positives"]) == (60, int(rows["label"].sum()))


def test_the_papers_external_counts_have_its_interval():
    """22 positive, 38 negative, 20 and 29 right: sensitivity 0.909, specificity 0.763, precision 20 of 29."""
    label = [1] * 22 + [0] * 38
    probability = [0.9] * 20 + [0.1] * 2 + [0.1] * 29 + [0.9] * 9
    measured = measure(
        pd.DataFrame({"patient_id": range(60), "label": label, "probability": probability}), 0.5, 0.95
    )
    assert [
        round(measured[name], 3) for name in ("accuracy", "sensitivity", "specificity", "precision", "f1")
    ] == [
        *(0.817, 0.909, 0.763, 0.690, 0.784),
    ]


def test_moving_the_intercept_mends_a_shifted_prevalence():
    rows = table(1, 800, shift=1.0)  # each row is judged by a shift fitted on the others
    before, after = measure(rows, 0.5, 0.95)["calibration"], recalibrated(rows)
    assert before["in_the_large"] == pytest.approx(1.0, abs=0.15)
    assert after["shift"] == pytest.approx(before["in_the_large"])
    assert after["in_the_large"] == pytest.approx(0.0, abs=0.01)
    assert after["brier"] < before["brier"]


def test_nobody_judges_a_shift_fitted_on_them():
    """Two patients of opposite labels: each is moved by what the other says, so both get worse."""
    rows = pd.DataFrame({"patient_id": ["a", "b"] * 2, "label": [1, 0] * 2, "probability": [0.5] * 4})
    measured = recalibrated(rows)
    assert math.isnan(measured["brier"])  # with a left out, only one class remains
    rows = pd.DataFrame({"patient_id": ["a", "b", "c", "d"], "label": [1, 0, 1, 0], "probability": [0.5] * 4})
    # without a: 1 of 3 positive, so a gets 1/3; without b: 2 of 3
    assert recalibrated(rows)["brier"] == pytest.approx((2 / 3) ** 2)


def nodule(name, cohort, label, images=2, **attributes):
    picture = Image(name, "us", "transverse", None, None, 0.1, None, None, None, False)
    return Nodule(name, name, cohort, {"central": label, "lateral": None}, 1, attributes, (picture,) * images)


def test_case_mix_by_hand():
    main = [nodule(f"m{i}", "main", i % 2, age=str(40 + i), sex="F" if i else "M") for i in range(5)]
    external = [nodule("e", "external", 1, images=4, sex="F")]
    measured = case_mix([*main, *external]).set_index("attribute")
    assert measured.loc["nodules"].tolist() == ["5", "1"]
    assert measured.loc["us images per nodule"].tolist() == ["2.0", "4.0"]
    assert measured.loc["central metastasis"].tolist() == ["2 of 5 (40%)", "1 of 1 (100%)"]
    assert measured.loc["lateral metastasis"].tolist() == ["", ""]
    assert measured.loc["age"].tolist() == ["42 (41 to 43)", ""]
    assert measured.loc["sex: F"].tolist() == ["4 of 5 (80%)", "1 of 1 (100%)"]
