"""A stack that reads the record is registered, scores and is validated, on a copy of a finished project."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from whole import called, client, external_cohort, predicted

from dgfnet import recalibrate
from dgfnet.metrics.updating import CalibrationUpdate
from dgfnet.registry.champion import load_champion
from dgfnet.registry.facts import facts
from dgfnet.settings import load

WANTED = (
    *("--set", "register.variant=record_stack", "--set", "base.sites=[central]"),
    *("--set", "register.minimum_gain=-1.0"),  # networks of a few steps: the record may bring nothing
)
PARTS = ["us_contribution", "ct_contribution", "record_contribution", "reference_log_odds"]


@pytest.fixture(scope="module")
def registered(changeable):
    """The project, in which version 2 reads the record and is champion; validated on the external cohort."""
    called(changeable, "register", *WANTED)
    called(changeable, "external", *WANTED)
    return changeable


@pytest.fixture(scope="module")
def champion(registered):
    return load_champion(load(registered / "params.yaml"), "central")


@pytest.fixture
def cohort(registered, tmp_path):
    return external_cohort(registered, tmp_path / "cohort")


def test_the_version_reads_the_record_and_gives_what_cross_validation_gave(registered, champion):
    version = client(registered).get_model_version("dgfnet-central", "2")
    known = facts(version)
    assert (version.tags["variant"], known["network"], known["bundle_format"]) == (
        "record_stack",
        "dgf",
        "11",
    )
    evidence = json.loads(known["gate"])
    assert evidence["reproduction_error"] < 1e-6
    assert evidence["onnx_error"] < 1e-6
    assert evidence["batch_variance"] < 1e-6
    columns = champion.model.record
    assert {name: column.kind for name, column in columns.items()} == {"age": "number", "sex": "level"}
    told = pd.read_csv(registered / "data/nodules.csv")
    ages = told.loc[told["cohort"] == "main", "age"]
    assert ages.min() <= columns["age"].low < columns["age"].high <= ages.max()
    assert columns["sex"].levels == ("F", "M")
    assert [one.metadata["variant"] for one in champion.model.unimodal.values()] == ["us_stack", "ct_stack"]
    run = client(registered).get_run(version.run_id)
    assert run.data.tags["variant"] == "record_stack"
    assert (
        json.loads((registered / "artifacts/register/central.json").read_text())["variant"] == "record_stack"
    )


def test_what_the_record_adds_stands_among_the_comparisons(registered):
    folder = registered / "artifacts/compare/central"
    pairs = pd.read_csv(folder / "pairs.csv").set_index(["a", "b"])
    row = pairs.loc[("record_stack", "stack")]
    areas = pd.read_csv(folder / "table.csv").set_index("variant")["pooled_auc"]
    assert row["estimate"] == pytest.approx(areas["record_stack"] - areas["stack"], abs=1e-9)
    assert (
        f"AUC of record_stack minus that of stack {row['estimate']:+.3f}" in (folder / "table.md").read_text()
    )


def test_a_cohort_is_scored_with_its_record_and_the_same_by_external(registered, cohort, tmp_path):
    table = predicted(registered, cohort, tmp_path / "out.csv")
    known = pd.read_csv(registered / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    known = known.set_index("nodule_id").loc[table["nodule_id"]]
    np.testing.assert_allclose(table["probability"], known["probability"], atol=1e-6)
    assert table["level"].tolist() == known["level"].tolist()
    np.testing.assert_allclose(table[PARTS].sum(axis=1), logit(table["probability"]), atol=1e-6)
    assert not table["warnings"].str.contains("record").any()
    metrics = json.loads((registered / "artifacts/external/central/metrics.json").read_text())
    assert (metrics["variant"], metrics["version"]) == ("record_stack", "2")
    assert metrics["internal"] is not None


def test_without_columns_every_answer_is_the_rest_of_the_sum_and_says_so(registered, cohort, tmp_path):
    whole = predicted(registered, cohort, tmp_path / "whole.csv")
    nodules = pd.read_csv(cohort / "nodules.csv", dtype=str).drop(columns=["age", "sex"])
    nodules.to_csv(cohort / "nodules.csv", index=False)
    table = predicted(registered, cohort, tmp_path / "out.csv")
    gap = logit(whole["probability"]) - logit(table["probability"])
    expected = whole["record_contribution"] - table["record_contribution"]
    np.testing.assert_allclose(gap, expected, atol=1e-6)
    assert table["record_contribution"].nunique() == 1
    assert table["warnings"].str.contains("record age not given, taken as the training median").all()
    assert (table["level"] == "caution").all()


def test_one_case_by_its_files_is_asked_for_its_record(registered, cohort, tmp_path):
    table = predicted(registered, cohort, tmp_path / "out.csv").set_index("nodule_id")
    name = table.index[0]
    nodule = pd.read_csv(cohort / "nodules.csv", dtype=str).set_index("nodule_id").loc[name]
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    own = images[images["nodule_id"] == name]
    us = own[own["modality"] == "us"]
    files = [
        text
        for row in us.itertuples()
        for text in ("--us", *(str(cohort / p) for p in (row.image, row.mask)))
    ]
    side = ("--spacing", "us", us["spacing_mm"].iloc[0])
    known = ("--record", f"age={nodule['age']}", "--record", f"sex={nodule['sex']}")
    said = called(registered, "predict", "central", *files, *side, *known).stdout
    assert "us_stack" in said  # without CT
    assert "without the record" in said
    for wrong, words in (
        (("--record", "agee=3"), "did you mean age?"),
        (("--record", "age=old"), "--record age: found a text; expected a number"),
        ((), None),
    ):
        done = called(registered, "predict", "central", *files, *side, *wrong, check=False)
        assert (done.returncode, words is None or words in done.stderr) == (0 if words is None else 2, True)
    done = called(registered, "predict", "central", str(cohort), "--record", "age=3", check=False)
    assert (done.returncode, "has its columns in nodules.csv" in done.stderr) == (2, True)


def test_it_is_validated_and_recalibrated_with_the_record(registered, cohort, tmp_path, monkeypatch):
    told = called(registered, "validate", "central", "champion", "--cohort", str(cohort)).stdout
    metrics = json.loads((registered / "artifacts/external/central/metrics.json").read_text())
    if metrics["levels"]["no answer"] == 0:  # else external measures those too
        assert f"AUC {metrics['external']['auc']:.3f}" in told
    assert told.startswith("dgfnet-central version 2 on ")
    before = predicted(registered, cohort, tmp_path / "before.csv")
    line = CalibrationUpdate("intercept and slope", 0.7, 0.5, 0.01, 0.02)
    monkeypatch.setattr(recalibrate, "update_line", lambda label, log_odds: line)
    done = called(registered, "recalibrate", "central", "--cohort", str(registered / "data"))
    assert "registered as version 3" in done.stdout
    called(registered, "promote", "central", "3")
    after = predicted(registered, cohort, tmp_path / "after.csv")
    assert set(after["version"]) == {3}
    for name in ("probability", "record_contribution"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-9)
    assert (after["calibrated"] != before["calibrated"]).all()
