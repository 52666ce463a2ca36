"""A champion is recalibrated at a new site: `dgfnet recalibrate`, on a copy of a finished project."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from whole import called, client

from dgfnet import recalibrate
from dgfnet.metrics.conformal import set_limits
from dgfnet.metrics.updating import CalibrationUpdate
from dgfnet.registry.facts import facts

LINE = CalibrationUpdate("intercept and slope", 0.7, 0.5, 0.01, 0.02)


@pytest.fixture(scope="module")
def cohort(changeable, tmp_path_factory):
    """The nodules of the project as those of a new site."""
    folder = tmp_path_factory.mktemp("site") / "cohort"
    shutil.copytree(changeable / "data", folder)
    return folder


def predicted(project, cohort, out):
    called(project, "predict", "central", str(cohort), "--out", str(out))
    return pd.read_csv(out, dtype={"nodule_id": str}).set_index("nodule_id")


def test_calibration_and_threshold_move_and_nothing_else(changeable, cohort, tmp_path, monkeypatch):
    before = predicted(changeable, cohort, tmp_path / "before.csv")
    monkeypatch.setattr(recalibrate, "update_line", lambda label, log_odds: LINE)
    told = called(changeable, "recalibrate", "central", "--cohort", str(cohort)).stdout
    assert "intercept and slope updated" in told
    assert "registered as version 2" in told
    assert "cases that measure calibration well here (Riley 2021): " in told
    # nobody is champion by it: a person promotes it, by the same gate
    assert client(changeable).get_model_version_by_alias("dgfnet-central", "champion").version == 1
    judged = called(changeable, "promote", "central", "2").stdout
    assert judged.endswith("dgfnet-central version 2 is champion\n")
    after = predicted(changeable, cohort, tmp_path / "after.csv").loc[before.index]
    assert set(after["version"]) == {2}
    fused = (before["variant"] == "stack") & before["probability"].notna()
    assert fused.sum() > 40
    np.testing.assert_allclose(after["probability"], before["probability"], atol=1e-12)
    np.testing.assert_allclose(after["us_contribution"], before["us_contribution"], atol=1e-9)
    assert (after["level"] == before["level"]).all()
    old = before["calibrated"].where(before["calibrated"].notna(), before["probability"])
    expected = expit(0.7 + 0.5 * logit(old[fused]))
    np.testing.assert_allclose(after["calibrated"][fused], expected, atol=1e-6)
    # the same calibrated risk is called positive as before
    edges = before["threshold"].iloc[0], after["threshold"].iloc[0]
    version = client(changeable).get_model_version("dgfnet-central", "2")
    assert facts(version)["threshold"] == f"{edges[1]:.4f}"
    assert (after["decision"] == (after["probability"] >= edges[1]))[fused].all()
    packed = (changeable / "mlruns/dgfnet-central/models").glob("m-*/artifacts/artifacts/bundle.zip")
    bundles = [json.loads(zipfile.ZipFile(path).read("bundle.json")) for path in packed]
    first = next(bundle for bundle in bundles if "recalibrated" not in bundle)
    second = next(bundle for bundle in bundles if "recalibrated" in bundle)
    line = first["calibration"] or {"intercept": 0.0, "slope": 1.0}
    risks = [
        own["calibration"]["intercept"] + own["calibration"]["slope"] * logit(own["threshold"])
        for own in ({**first, "calibration": line}, second)
    ]
    assert risks[1] == pytest.approx(risks[0])
    assert second["recalibrated"]["update"] == "intercept and slope"
    # the models of one modality keep their own
    assert (after["threshold"] == before["threshold"])[before["variant"] != "stack"].all()
    labels = pd.read_csv(cohort / "nodules.csv", dtype=str).set_index("nodule_id")["lnm_central"]
    local = fused & labels.reindex(after.index).notna()
    risks = after["calibrated"][local]
    sets = set_limits(labels.reindex(after.index)[local].astype(int), before["probability"][local], 0.9)
    assert second["sets"] == pytest.approx({"coverage": 0.9, **vars(sets)}, abs=1e-6)
    assert second["held_out_risks"]["mean"] == pytest.approx(risks.mean(), abs=1e-6)
    assert sum(second["held_out_risks"]["counts"]) == len(risks)


def test_it_is_known_where_it_comes_from(changeable):
    told = called(changeable, "lineage", "central", "2").stdout
    assert "recalibrated from version 1: Version 1, calibrated on" in told
    assert "dgfnet-central version 2 (champion)" in told
    first, second = (client(changeable).get_model_version("dgfnet-central", number) for number in "12")
    for name in ("fits", "fit", "git_commit", "origin", "out_of_fold"):
        assert facts(second)[name] == facts(first)[name]
    assert facts(second)["seal"] != facts(first)["seal"]
    assert not [name for name in facts(second) if name.startswith("external_")]


def test_the_stage_register_does_not_undo_it(changeable, cohort, monkeypatch):
    """Nor does it undo a recalibration of what was recalibrated."""
    for champion in (2, 3):
        called(changeable, "register")
        found = client(changeable).get_model_version_by_alias("dgfnet-central", "champion").version
        assert found == champion
        if champion == 2:
            monkeypatch.setattr(recalibrate, "update_line", lambda label, log_odds: LINE)
            called(changeable, "recalibrate", "central", "--cohort", str(cohort))
            # no network gains over itself, whatever the gate asks for
            called(changeable, "promote", "central", "3", "--set", "register.minimum_gain=0.05")
    versions = client(changeable).search_model_versions("name = 'dgfnet-central'")
    assert sorted(version.version for version in versions) == [1, 2, 3]
    told = json.loads((changeable / "artifacts/register/central.json").read_text())
    assert told["reason"].startswith("its networks are champion with another calibration")


def test_what_fits_is_left_alone(changeable, cohort, monkeypatch):
    monkeypatch.setattr(
        recalibrate, "update_line", lambda label, log_odds: CalibrationUpdate("none", 0, 1, 0.6, np.nan)
    )
    told = called(changeable, "recalibrate", "central", "--cohort", str(cohort)).stdout
    assert "recalibration is not needed" in told
    assert len(client(changeable).search_model_versions("name = 'dgfnet-central'")) == 3


def test_too_few_of_a_class_are_refused(changeable, cohort, tmp_path):
    folder = tmp_path / "few"
    shutil.copytree(cohort, folder)
    nodules = pd.read_csv(folder / "nodules.csv", dtype=str)
    positive = nodules.index[nodules["lnm_central"] == "1"][5:]
    nodules.loc[positive, "lnm_central"] = ""
    nodules.to_csv(folder / "nodules.csv", index=False)
    done = called(changeable, "recalibrate", "central", "--cohort", str(folder), check=False)
    assert done.returncode == 2
    assert "nodules with metastasis and" in done.stderr
    assert "expected at least 10 of each" in done.stderr


def test_a_folder_without_labels_is_refused(changeable, cohort, tmp_path):
    folder = tmp_path / "unlabelled"
    shutil.copytree(cohort, folder)
    nodules = pd.read_csv(folder / "nodules.csv", dtype=str).assign(lnm_central="")
    nodules.to_csv(folder / "nodules.csv", index=False)
    done = called(changeable, "recalibrate", "central", "--cohort", str(folder), check=False)
    assert done.returncode == 2
    assert "0 nodules with metastasis and 0 without are answered" in done.stderr
