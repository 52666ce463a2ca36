"""Fusions that read the record, from cross-validation to answers, in a copy of a finished project."""

import base64
import json
import shutil
import subprocess

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score
from whole import called, client, external_cohort, predicted, served

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.preprocess.windowing import to_grey
from dgfnet.registry.champion import load_champion
from dgfnet.registry.facts import facts
from dgfnet.settings import load
from dgfnet.sweep.plan import classification, gather, places
from dgfnet.training.task import finished
from dicom_files import CT_SOP, dicom

WANTED = (
    *("--set", "crossval.variants=[us_multitask,ct_multitask,concat,dgf,concat_record,dgf_record]"),
    *("--set", "base.sites=[central]"),
)
READING = ("concat_record", "dgf_record")
CHOSEN = (
    *WANTED,
    *("--set", "register.variant=dgf_record", "--set", "register.minimum_gain=-1.0"),
    *("--set", "attribute.variant=dgf_record", "--set", "holdout.variant=dgf_record"),
    *("--set", "applicability.both=dgf_record"),
)
PARTS = ["us_contribution", "ct_contribution", "record_contribution", "reference_log_odds"]


@pytest.fixture(scope="module")
def validated(changeable):
    """The project with these variants, compared and reported; what it had before is not trained again."""
    keys = fit_keys(changeable)
    for stage in ("crossval", "compare", "report"):
        called(changeable, stage, *WANTED)
    assert fit_keys(changeable) > keys
    return changeable


def fit_keys(project):
    return {path.name for path in (project / "work/fits").iterdir() if path.is_dir()}


def out_of_fold(project, variant):
    path = project / "artifacts/crossval/central" / variant / "out_of_fold.csv"
    return pd.read_csv(path, dtype={"nodule_id": str})


def test_every_nodule_is_scored_once_by_a_network_that_read_its_record(validated):
    plain = out_of_fold(validated, "dgf")
    for variant in READING:
        table = out_of_fold(validated, variant)
        assert table[["nodule_id", "fold", "label"]].equals(plain[["nodule_id", "fold", "label"]])
        assert table["probability"].between(0, 1).all()
    assert (out_of_fold(validated, "dgf_record")["probability"] - plain["probability"]).abs().max() > 1e-6


def test_fits_keep_the_terms_of_their_record_and_start_from_the_same_parents(validated):
    settings = load(validated / "params.yaml", WANTED[1::2])
    inputs = gather(settings, READING)
    nodules = pd.read_csv(validated / "data/nodules.csv", dtype=str)
    levels = sorted(nodules.loc[nodules["cohort"] == "main", "sex"].dropna().unique())
    for variant in READING:
        task, parents = classification(settings, inputs, "central", variant, 0)
        assert [parent.variant for parent in parents] == ["us_multitask", "ct_multitask"]
        record = finished(places(settings), task.key)
        assert {(term["column"], term["kind"]) for term in record["record"]} >= {
            *(("age", "number"), ("sex", "level"))
        }
        assert sorted(t["level"] for t in record["record"] if t["kind"] == "level") == levels
        assert parents[0].key == classification(settings, inputs, "central", "concat", 0)[1][0].key


def test_what_the_record_adds_stands_in_tables_runs_and_report(validated):
    folder = validated / "artifacts/compare/central"
    areas = pd.read_csv(folder / "table.csv").set_index("variant")["pooled_auc"]
    pairs = pd.read_csv(folder / "pairs.csv").set_index(["a", "b"])
    for variant in READING:
        table, plain = out_of_fold(validated, variant), variant.removesuffix("_record")
        assert areas[variant] == pytest.approx(roc_auc_score(table["label"], table["probability"]))
        gain = areas[variant] - areas[plain]
        assert pairs.loc[(plain, variant), "estimate"] == pytest.approx(-gain, abs=1e-9)
        said = f"What the record adds: AUC of {variant} minus that of {plain} {gain:+.3f}"
        assert said in (folder / "table.md").read_text()
        page = (validated / "artifacts/report/index.html").read_text()
        assert f"{variant}" in page
    attended = pd.read_csv(folder / "attention.csv")
    assert set(attended["variant"]) == {"dgf", "dgf_record"}
    experiment = client(validated).get_experiment_by_name("dgfnet-central")
    found = client(validated).search_runs([experiment.experiment_id], "tags.variant = 'dgf_record'")
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len(found) == 3  # the variant, and a fold each


@pytest.fixture(scope="module")
def registered(validated):
    """The project, in which version 2 is a fusion that reads the record, champion and validated outside."""
    for stage in ("register", "external"):
        called(validated, stage, *CHOSEN)
    return validated


@pytest.fixture(scope="module")
def champion(registered):
    return load_champion(load(registered / "params.yaml"), "central")


@pytest.fixture
def cohort(registered, tmp_path):
    return external_cohort(registered, tmp_path / "cohort")


def test_the_version_is_a_fusion_of_three_that_gives_what_cross_validation_gave(registered, champion):
    version = client(registered).get_model_version("dgfnet-central", "2")
    known = facts(version)
    assert (version.tags["variant"], known["network"], known["bundle_format"]) == (
        *("dgf_record", "dgf_record"),
        "11",
    )
    evidence = json.loads(known["gate"])
    for name in ("reproduction_error", "onnx_error", "batch_variance"):
        assert evidence[name] < 1e-6
    assert evidence["unimodal"]["name"] in ("us_multitask", "ct_multitask")
    assert evidence["simpler"]["name"] == "concat_record"
    settings = load(registered / "params.yaml", CHOSEN[1::2])
    inputs = gather(settings, ("dgf_record",))
    for member in champion.metadata["members"]:
        task, _ = classification(settings, inputs, "central", "dgf_record", member["fold"])
        assert member["fit"] == task.key
        assert member["terms"] == finished(places(settings), task.key)["record"]
    assert {name: column.kind for name, column in champion.model.record.items()} == {
        "age": "number",
        "sex": "level",
    }
    assert list(champion.model.unimodal) == ["us", "ct"]
    assert all(not model.record for model in champion.model.unimodal.values())
    record = json.loads((registered / "artifacts/register/central.json").read_text())
    assert (record["variant"], record["version"], record["promoted"]) == ("dgf_record", "2", True)


def test_a_cohort_is_scored_with_its_record_and_the_same_by_external(registered, cohort, tmp_path):
    table = predicted(registered, cohort, tmp_path / "out.csv")
    known = pd.read_csv(registered / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    known = known.set_index("nodule_id").loc[table["nodule_id"]]
    np.testing.assert_allclose(table["probability"], known["probability"], atol=1e-6)
    assert table["level"].tolist() == known["level"].tolist()
    np.testing.assert_allclose(table[PARTS].sum(axis=1), logit(table["probability"]), atol=1e-6)
    assert not table["warnings"].str.contains("record").any()
    assert table["record_contribution"].abs().max() > 1e-6
    metrics = json.loads((registered / "artifacts/external/central/metrics.json").read_text())
    assert (metrics["variant"], metrics["version"]) == ("dgf_record", "2")
    assert metrics["internal"] is not None
    assert [one["variant"] for one in metrics["alone"].values()] == ["us_multitask", "ct_multitask"]


def test_without_a_record_every_nodule_is_answered_with_caution(registered, cohort, tmp_path):
    whole = predicted(registered, cohort, tmp_path / "whole.csv")
    nodules = pd.read_csv(cohort / "nodules.csv", dtype=str).drop(columns=["age", "sex"])
    nodules.to_csv(cohort / "nodules.csv", index=False)
    table = predicted(registered, cohort, tmp_path / "out.csv")
    assert table["warnings"].str.contains("record age not given, taken as the training median").all()
    assert (table["level"] == "caution").all()
    np.testing.assert_allclose(table["record_contribution"], 0, atol=1e-6)  # it is as it is where absent
    np.testing.assert_allclose(table["reference_log_odds"], whole["reference_log_odds"], atol=1e-9)
    assert (table["probability"] - whole["probability"]).abs().max() > 1e-6


def test_a_case_by_its_files_and_by_request_is_answered_alike(registered, cohort, tmp_path):
    """US as PNG and CT as DICOM, by name and in base64; with its record as `external` answered it."""
    known = pd.read_csv(registered / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    settings = load(registered / "params.yaml")
    nodule = next(one for one in read_cohort(cohort).nodules if one.labels["central"] is not None)
    files, case = as_files(nodule, settings, tmp_path)
    cells = pd.read_csv(cohort / "nodules.csv", dtype=str).set_index("nodule_id").loc[nodule.nodule_id]
    options = ("--record", f"age={cells['age']}", "--record", f"sex={cells['sex']}")
    record = {"age": float(cells["age"]), "sex": cells["sex"]}
    answers = by_rest(registered, {"dataframe_records": [case | {"record": record}, case]})
    for own, by_request in zip((options, ()), answers, strict=True):
        out = tmp_path / "case.csv"
        called(registered, "predict", "central", *files, *own, "--out", str(out))
        (by_file,) = pd.read_csv(out, keep_default_na=False).to_dict("records")
        for column in ("probability", "calibrated_low", *PARTS):
            if by_request[column] is not None:
                assert by_file[column] == pytest.approx(by_request[column], abs=1e-9)
        assert by_file["level"] == by_request["level"]
        assert ("record age not given" in by_file["warnings"]) == (not own)
        if own:
            expected = known.set_index("nodule_id").loc[nodule.nodule_id, "probability"]
            assert by_file["probability"] == pytest.approx(expected, abs=1e-6)
        else:
            assert by_file["level"] == "caution"


def by_rest(project, body):
    """The answers of `dgfnet serve` in a process of its own."""
    with served(project) as (said, session):
        return session.post(said.split()[-1], json=body, timeout=60).json()["predictions"]


def as_files(nodule, settings, folder):
    """Pictures and masks of a nodule as options of `predict`, and the same files in base64."""
    options, case = [], {"nodule": "one", "us": [], "us_mask": [], "ct": [], "ct_mask": []}
    for number, image in enumerate(nodule.images):
        pixels, mask = read_pair(image)
        picture, drawn = folder / f"{number}.png", folder / f"{number}_mask.png"
        cv2.imwrite(str(drawn), mask.astype(np.uint8) * 255)
        if image.modality == "us":
            cv2.imwrite(str(picture), to_grey(pixels, image, settings.preprocess))
        else:
            picture, side = folder / f"{number}.dcm", image.spacing_mm
            scale = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"}
            place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
            stored = pixels.values.astype(np.int16)
            dicom(picture, stored, CT_SOP, **scale, **place, PixelSpacing=[side, side])
        options += [f"--{image.modality}", str(picture), str(drawn)]
        for field, path in ((image.modality, picture), (f"{image.modality}_mask", drawn)):
            case[field].append(base64.b64encode(path.read_bytes()).decode())
    return options, case


def test_a_fold_is_explained_with_the_record_as_a_third_player(registered):
    called(registered, "attribute", *CHOSEN)
    folder = registered / "artifacts/attribution/central"
    table = pd.read_csv(folder / "contributions.csv", dtype={"nodule_id": str})
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["variant"] == "dgf_record"
    assert table["completeness_error"].max() <= load(registered / "params.yaml").attribute.tolerance
    assert table["shapley_record"].abs().max() > 1e-6
    assert facts["mean"]["shapley_record"] == pytest.approx(table["shapley_record"].mean())
    assert table["nodule_id"].tolist() == sorted(out_of_fold(registered, "dgf_record")["nodule_id"])
    assert len(pd.read_csv(folder / "repeatability.csv")) > 0
    nodule = table["nodule_id"].iloc[0]
    said = called(registered, "attribute", *CHOSEN, "--nodule", nodule, "--variant", "dgf_record").stdout
    assert "; Shapley values with the record: us " in said
    path = registered / f"work/attribution/central-dgf_record-{nodule}.json"
    known = json.loads(path.read_text())
    row, sign = table.iloc[0], 1 if table["label"].iloc[0] == 1 else -1
    for player in ("us", "ct", "record"):
        assert known["shapley"][player] == pytest.approx(sign * row[f"shapley_{player}"], abs=1e-5)
    outside = json.loads((folder / "summary.json").read_text())["repeatability"]
    assert outside["reason"] is None


def test_the_papers_protocol_takes_one_too(registered):
    called(registered, "holdout", *CHOSEN)
    folder = registered / "artifacts/holdout/central"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["variant"] == "dgf_record"
    for part in ("validation", "external"):
        table = pd.read_csv(folder / f"{part}.csv")
        assert table["probability"].between(0, 1).all()
        assert metrics[part]["auc"] == pytest.approx(roc_auc_score(table["label"], table["probability"]))


def test_subgroups_and_report_take_one_too(registered):
    for stage in ("applicability", "report"):
        called(registered, stage, *CHOSEN)
    page = (registered / "artifacts/report/index.html").read_text()
    assert "The record, as a third player, adds" in page


def test_it_is_validated_elsewhere_and_made_again(registered, cohort, tmp_path):
    file, key, public, there = (tmp_path / name for name in ("model.dgfnet", "key.pem", "key.pub", "there"))
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", key],
        ["pkey", "-in", key, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    called(registered, "export", "central", "2", str(file), "--key", str(key))
    there.mkdir()
    shutil.copy(registered / "params.yaml", there)
    called(there, "import", str(file), "--trust", str(public))
    called(there, "promote", "central", "1")
    here, other = (
        predicted(project, cohort, tmp_path / f"{project.name}.csv") for project in (registered, there)
    )
    pd.testing.assert_frame_equal(here.drop(columns="version"), other.drop(columns="version"))
    told = called(registered, "validate", "central", "2", "--cohort", str(cohort)).stdout
    assert told.startswith("dgfnet-central version 2 on ")
    done = called(registered, "reproduce", "central", "2", "--into", str(tmp_path / "again"))
    assert done.stdout.endswith("\nagrees\n")
    record = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert (record["variant"], record["same_fit"]) == ("dgf_record", True)


def test_columns_that_the_cohort_has_not_are_named(validated):
    done = called(validated, "crossval", *WANTED, "--set", "crossval.record=[ages]", check=False)
    assert done.returncode != 0
    assert "crossval.record names no column of nodules.csv: ages" in done.stderr
    metrics = json.loads((validated / "artifacts/crossval/central/dgf_record/metrics.json").read_text())
    assert metrics["variant"] == "dgf_record"  # nothing was begun
