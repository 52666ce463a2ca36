"""Baselines without a network on the external cohort: numbers by hand, order, gaps, what is left out."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from dgfnet import digests
from dgfnet.errors import InputError
from dgfnet.external import baselines
from dgfnet.measured.measure import NAMES
from dgfnet.results import MEASURED
from dgfnet.settings import load
from dgfnet.tabular.logistic import Logistic
from tiny_archive import numbered, write_archive


def term(column, coefficient, kind="number", **others):
    values = {"level": None, "fill": 0.0, "centre": 0.0, "scale": 1.0} | others
    return {"column": column, "kind": kind, "coefficient": coefficient, **values}


def model(fold, intercept, *terms):
    return {"fold": fold, "terms": list(terms), "intercept": intercept, "strength": 1.0}


AGE = [model(0, 0.0, term("age", 1.0)), model(1, 1.0, term("age", 3.0, centre=1.0, scale=2.0))]


@pytest.fixture
def settings(tmp_path, params):
    (tmp_path / "params.yaml").write_text(params.read_text())
    return load(tmp_path / "params.yaml", ["preprocess.us_size=32", "preprocess.ct_size=32"])


def put(settings, name, folds=(), nodules=("a", "b", "c", "d"), **more):
    """What crossval leaves of a baseline or network whose folds' thresholds are 0.2 and 0.5."""
    folder = settings.artifacts("crossval", "central", name)
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame({"nodule_id": nodules, "patient_id": nodules, "fold": [0, 0, 1, 1]})
    rows = rows.assign(label=[0, 1, 0, 1], probability=0.5, threshold=[0.2, 0.2, 0.5, 0.5])
    rows.to_csv(folder / "out_of_fold.csv", index=False)
    thresholds = [{"threshold": 0.2}, {"threshold": 0.5}]
    (folder / "metrics.json").write_text(json.dumps({"folds": thresholds}))
    if folds:
        plain = {"baseline": name, "site": "central", "units": {}, "folds": list(folds)} | more
        (folder / "model.json").write_text(json.dumps({k: v for k, v in plain.items() if v is not None}))
    digests.keep(folder)


def cohort(settings, **columns):
    folder = settings.artifacts("cohort")
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / "nodules.parquet", index=False)
    digests.keep(folder)


def test_log_odds_and_thresholds_of_the_folds_are_averaged_and_rows_follow_the_nodules(settings):
    """Ages 3, 1, none: fold 0 says 3, 1, 0 and fold 1 says 3 (3 - 1) / 2 + 1 = 4, 1, 3 (0 - 1) / 2 + 1."""
    put(settings, "dgf")
    put(settings, "clinical", AGE)
    cohort(settings, nodule_id=["x", "y", "z"], age=["1", "3", None])
    frozen, left_out = baselines.load_frozen(settings, "central", "dgf", current=True)
    assert (list(frozen), left_out) == (["clinical"], {})
    assert frozen["clinical"].threshold == pytest.approx(1 / 3)  # log odds -ln 4 and 0: mean -ln 2
    found = baselines.score(settings, frozen, None, ["y", "x", "z"])["clinical"]
    np.testing.assert_allclose(found, expit([3.5, 1.0, -0.25]), atol=1e-15)


def test_size_is_read_from_the_external_archive_in_the_order_asked(settings, tmp_path):
    put(settings, "dgf")
    size = [model(fold, 0.0, term("us_log_area_mm2", weight)) for fold, weight in enumerate((1.0, 3.0))]
    put(settings, "size", size)
    areas = {"x": [8, 40], "y": [20, 4], "z": [80]}  # a pixel has 0.5 mm: the largest are 10, 5 and 20 mm2
    nodules = [(name, name, {"us": own, "ct": [4]}) for name, own in areas.items()]
    archive = write_archive(tmp_path / "archive", settings.preprocess, nodules, numbered)
    frozen, _ = baselines.load_frozen(settings, "central", "dgf", current=True)
    found = baselines.score(settings, frozen, archive, ["z", "x", "y"])["size"]
    np.testing.assert_allclose(found, expit(2 * np.log([20, 10, 5])), atol=1e-12)


@pytest.mark.parametrize(("there", "expected"), [("HU", 1.5 * 7 + 0.5), ("grey", 1.5 * 2 + 0.5)])
def test_grey_levels_are_no_hounsfield_units_at_the_other_hospital(settings, tmp_path, there, expected):
    """Fitted in HU: where the external pictures are grey, their mean of 7 is a gap, which counts as 2."""
    put(settings, "dgf")
    terms = term("ct_mean", 1.5, fill=2.0), term("ct_solidity", 1.0)
    put(settings, "radiomics", [model(0, 0.0, *terms), model(1, 0.0, *terms)], units={"ct": "HU"})
    nodules = [(name, name, {"us": [4], "ct": [4]}) for name in "xy"]
    archive = write_archive(tmp_path / "archive", settings.preprocess, nodules, numbered)
    parts = []
    for modality in ("us", "ct"):
        part = pd.DataFrame(np.nan, index=[0, 1], columns=list(NAMES[modality]))
        part["mean"], part["solidity"] = 7.0, 0.5
        parts.append(part.assign(modality=modality, row=[0, 1], unit=there))
    pd.concat(parts).to_parquet(archive.folder / MEASURED, index=False)
    frozen, _ = baselines.load_frozen(settings, "central", "dgf", current=True)
    found = baselines.score(settings, frozen, archive, ["y", "x"])["radiomics"]
    np.testing.assert_allclose(found, expit([expected, expected]), atol=1e-15)


def test_a_column_that_the_other_hospital_lacks_is_a_gap_and_none_at_all_tells_nothing(settings):
    put(settings, "dgf")
    terms = (
        term("age", 1.0, fill=5.0),
        term("age", 0.25, "gap"),
        term("sex", 9.0, "level", level="F"),
        term("margin", 2.0, "level", level="smooth"),
    )
    put(settings, "clinical", [model(0, 0.0, *terms), model(1, 0.0, *terms)])
    frozen, _ = baselines.load_frozen(settings, "central", "dgf", current=True)
    cohort(settings, nodule_id=["x", "y"], margin=["smooth", "rough"])
    found = baselines.score(settings, frozen, None, ["x", "y"])["clinical"]
    np.testing.assert_allclose(found, expit([7.25, 5.25]), atol=1e-15)
    cohort(settings, nodule_id=["x", "y"], colour=["red", "blue"], age=[None, None])
    assert baselines.score(settings, frozen, None, ["x", "y"]) == {}


def test_what_was_not_cross_validated_with_the_champion_is_left_out(settings):
    put(settings, "dgf")
    assert baselines.load_frozen(settings, "central", "dgf", current=True) == ({}, {})
    put(settings, "late", AGE)  # needs networks
    assert baselines.load_frozen(settings, "central", "dgf", current=True) == ({}, {})
    put(settings, "clinical", AGE, nodules=("a", "b", "c", "other"))
    put(settings, "size", AGE, units=None)
    put(settings, "radiomics", AGE)
    frozen, left_out = baselines.load_frozen(settings, "central", "dgf", current=True)
    assert list(frozen) == ["radiomics"]
    assert left_out == {
        "clinical": "it was cross-validated on other nodules than the champion",
        "size": "an earlier release cross-validated it; run the stage crossval again",
    }
    frozen, left_out = baselines.load_frozen(settings, "central", "dgf", current=False)
    assert (frozen, set(left_out)) == ({}, {"size", "clinical", "radiomics"})
    path = settings.artifacts("crossval", "central", "radiomics", "model.json")
    path.write_text(path.read_text().replace('"strength": 1.0', '"strength": 2.0'))
    with pytest.raises(InputError, match="run the stage crossval again"):
        baselines.load_frozen(settings, "central", "dgf", current=True)


def test_the_champion_is_compared_on_the_same_nodules():
    """Of 3 x 3 pairs the champion orders 8, the baseline 6, called at 0.3: difference 2 / 9."""
    table = pd.DataFrame(
        {
            "patient_id": list("abcdef"),
            "label": [0, 0, 0, 1, 1, 1],
            "probability": [0.1, 0.2, 0.6, 0.5, 0.7, 0.8],
            "size_probability": [0.1, 0.4, 0.6, 0.2, 0.5, 0.9],
        }
    )
    plain = Logistic.of(AGE[0])
    frozen = {name: baselines.Frozen((plain,), 0.3, {}) for name in ("size", "clinical")}
    found = baselines.compared(table, frozen, 0.95)
    assert list(found) == ["size"]
    size = found["size"]
    assert size["auc"] == pytest.approx(6 / 9) == roc_auc_score(table["label"], table["size_probability"])
    assert (size["threshold"], size["sensitivity"], size["n"]) == (0.3, pytest.approx(2 / 3), 6)
    difference = size["difference"]
    assert difference["estimate"] == pytest.approx(2 / 9)
    # positives are above 1/3, 1/3, 0 more of the negatives than by the baseline, negatives below 0, 1/3, 1/3
    # more of the positives: variances 1/9/3 each, so DeLong's is 2/81, and 2/9 is sqrt 2 standard errors
    error = math.sqrt(2) / 9
    assert difference["low"] == pytest.approx(2 / 9 - 1.959964 * error, abs=1e-6)
    assert difference["high"] == pytest.approx(2 / 9 + 1.959964 * error, abs=1e-6)
    assert difference["p"] == pytest.approx(math.erfc(1))
