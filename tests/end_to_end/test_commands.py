"""The commands beside the stages, on a project in which everything has run; each is a process once."""

import base64
import json
import math
import re
import shutil
import subprocess
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from whole import PLANTED, called, client, dgfnet, project, served

from dgfnet.registry.facts import facts
from dicom_files import CT_SOP, dicom


def test_new_nodules_are_scored_without_labels_and_without_one_modality(finished, tmp_path):
    """The external cohort as a hospital would bring it: no labels, one nodule without CT, one without US."""
    folder = tmp_path / "new"
    shutil.copytree(finished / "data", folder)
    nodules = pd.read_csv(folder / "nodules.csv", dtype=str)
    nodules = nodules[nodules["cohort"] == "external"].assign(lnm_central="", lnm_lateral="")
    nodules.to_csv(folder / "nodules.csv", index=False)
    without_ct, without_us, *_ = ids = list(nodules["nodule_id"])
    images = pd.read_csv(folder / "images.csv", dtype=str)
    images = images[images["nodule_id"].isin(ids)]
    gone = {"ct": without_ct, "us": without_us}
    images = images[images["nodule_id"] != images["modality"].map(gone)]
    images.to_csv(folder / "images.csv", index=False)
    done = dgfnet(finished, "predict", "central", str(folder), "--out", str(tmp_path / "out.csv"))
    table = pd.read_csv(tmp_path / "out.csv", dtype={"nodule_id": str}, keep_default_na=False)
    known = pd.read_csv(finished / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    known = known.set_index("nodule_id").loc[ids]
    assert done.stdout.endswith(f"12 nodules, {table['decision'].sum()} called positive\n")
    assert table["nodule_id"].tolist() == ids
    expected = known["probability"].copy()
    expected[without_ct], expected[without_us] = (
        known.loc[without_ct, "us_probability"],
        known.loc[without_us, "ct_probability"],
    )
    np.testing.assert_allclose(table["probability"], expected, atol=1e-6)
    assert table["variant"].tolist() == ["us_stack", "ct_stack", *["stack"] * 10]
    assert table["statement"].str.split(":").str[0].tolist() == ["no CT", "no ultrasound", *[""] * 10]
    assert (table["decision"] == (table["probability"] >= table["threshold"])).all()
    assert set(table["version"]) == {1}
    odds = np.log(table["probability"] / (1 - table["probability"]))
    shares = table[["us_contribution", "ct_contribution"]].apply(pd.to_numeric).fillna(0.0).sum(axis=1)
    np.testing.assert_allclose(table["reference_log_odds"] + shares, odds, atol=1e-5)
    assert table.loc[0, "ct_contribution"] == table.loc[1, "us_contribution"] == ""
    spread = table[["calibrated_low", "calibrated", "calibrated_high"]].apply(pd.to_numeric).dropna()
    assert (spread.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    bright = images[(images["modality"] == "us") & (images["nodule_id"] == ids[5])]
    for name in bright["image"]:
        pixels = cv2.imread(str(folder / name))
        cv2.imwrite(str(folder / name), 128 + pixels // 2)
    one = ("--nodule", ids[5], "--out", str(tmp_path / "one.csv"))
    called(finished, "predict", "central", str(folder), *one)
    (row,) = pd.read_csv(tmp_path / "one.csv", keep_default_na=False).to_dict("records")
    assert (row["level"], row["probability"]) == ("no answer", "")
    assert re.search(
        r"ultrasound \w.* than in the training cohort \([\d.]+ times the usual limit\)", row["statement"]
    )
    (tmp_path / "a file").touch()
    before = (folder / "nodules.csv").read_bytes()
    for arguments, words in (
        (("--out", str(folder / "nodules.csv")), "belongs to the cohort"),
        (("--out", str(tmp_path / "a file" / "x.csv")), "cannot be written"),
        (("--out", "x.csv", "--overlays", str(tmp_path / "a file")), "cannot be written"),
        ((), "needs --out"),
        (("--us", "a.png", "b.png"), "expected a cohort folder, or one case"),
    ):
        done = called(finished, "predict", "central", str(folder), *arguments, check=False)
        assert (done.returncode, done.stderr.count("\n"), words in done.stderr) == (2, 1, True)
    assert (folder / "nodules.csv").read_bytes() == before
    shown = images[(images["nodule_id"] == ids[4]) & (images["modality"] == "us")]
    files = [str(folder / path) for path in shown[["image", "mask"]].to_numpy().ravel()]
    pairs = [text for at in range(0, len(files), 2) for text in ("--us", *files[at : at + 2])]
    overlays = tmp_path / "overlays"
    side = ("--spacing", "us", shown["spacing_mm"].iloc[0])
    done = called(finished, "predict", "central", *pairs, *side, "--overlays", str(overlays))
    assert f"probability         {known.loc[ids[4], 'us_probability']:.4f}" in done.stdout
    assert cv2.imread(str(overlays / "0000_case.png")).shape[0] > 400
    one = ("--nodule", "nobody", "--out", str(tmp_path / "none.csv"))
    done = called(finished, "predict", "central", str(folder), *one, check=False)
    assert (done.returncode, "no nodule nobody; it has 12 others" in done.stderr) == (2, True)


def test_a_served_champion_answers_as_external_did(finished, tmp_path):
    """US as a matrix with the side of its pixels, CT as DICOM, which has Hounsfield units and that side."""
    from dgfnet.cohort.manifest import read_cohort
    from dgfnet.cohort.readers import read_pair
    from dgfnet.preprocess.windowing import to_grey
    from dgfnet.settings import load

    settings = load(finished / "params.yaml")
    nodule = next(one for one in read_cohort(settings.data).nodules if one.cohort == "external")
    case = {name: [] for name in ("us", "us_mask", "ct", "ct_mask")}
    for image in nodule.images:
        pixels, mask = read_pair(image)
        case[f"{image.modality}_mask"].append(mask.tolist())
        if image.modality == "us":
            case["us"].append(to_grey(pixels, image, settings.preprocess).tolist())
            case["us_spacing_mm"] = image.spacing_mm
            continue
        side = image.spacing_mm
        scale = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU", "PixelSpacing": [side, side]}
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
        dicom(tmp_path / "ct.dcm", pixels.values.astype(np.int16), CT_SOP, **scale, **place)
        case["ct"].append(base64.b64encode((tmp_path / "ct.dcm").read_bytes()).decode())
    with served(finished) as (said, session):
        assert re.fullmatch(
            r"dgfnet-central version 1 answers at http://127\.0\.0\.1:\d+/invocations\n", said
        )
        case["nodule"] = "one"
        body = {"dataframe_records": [case]}
        (row,) = session.post(said.split()[-1], json=body, timeout=60).json()["predictions"]
        del case["us_spacing_mm"]
        (less,) = session.post(said.split()[-1], json=body, timeout=60).json()["predictions"]
    known = pd.read_csv(finished / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    expected = known.set_index("nodule_id").loc[nodule.nodule_id, "probability"]
    assert row["probability"] == pytest.approx(expected, abs=1e-6)
    assert (row["nodule"], row["model"], row["version"]) == ("one", "dgfnet-central", "1")
    lost = "us area_mm2, equivalent_diameter_mm, maximum_diameter_mm and 1 more not measured, taken as the "
    assert [text for text in less["warnings"] if lost in text]
    assert not [text for text in row["warnings"] if lost in text]
    (folder,) = (finished / "mlruns/dgfnet-central/models").glob("m-*/artifacts")
    with zipfile.ZipFile(folder / "artifacts/bundle.zip") as packed:
        line = json.loads(packed.read("bundle.json"))["calibration"]
    if line is None:  # two epochs may leave a network worse than chance
        assert row["calibrated"] is None
    else:
        odds = line["intercept"] + line["slope"] * math.log(row["probability"] / (1 - row["probability"]))
        assert row["calibrated"] == pytest.approx(1 / (1 + math.exp(-odds)))
        assert row["calibrated_low"] <= row["calibrated"] <= row["calibrated_high"]
    asked = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    assert "onnxruntime" in asked
    unwanted = {"torch", "torchvision", "ray", "dvc", "captum", "albumentations", "optuna", "scikit-learn"}
    assert not asked & unwanted
    card = (folder / "artifacts/MODEL_CARD.md").read_text()
    assert "pooled out-of-fold AUC" in card


def test_a_champion_answers_the_same_in_another_hospital(finished, tmp_path):
    """Exported with a key, imported elsewhere into an empty registry, promoted there."""
    key, public, file = (tmp_path / name for name in ("key.pem", "key.pub", "model.dgfnet"))
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", key],
        ["pkey", "-in", key, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    there = project(tmp_path / "there")
    shutil.copytree(finished / "data", there / "data")
    called(finished, "export", "central", "champion", str(file), "--key", str(key))
    called(finished, "predict", "central", "data", "--out", str(tmp_path / "here.csv"))
    assert (
        "imported, signed with the key" in called(there, "import", str(file), "--trust", str(public)).stdout
    )
    results = tmp_path / "results.json"
    hospital, hospital_public = tmp_path / "hospital.pem", tmp_path / "hospital.pub"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", hospital],
        ["pkey", "-in", hospital, "-pubout", "-out", hospital_public],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    told = called(
        there, "validate", "central", "1", "--cohort", "data", "--out", str(results), "--key", str(hospital)
    ).stdout
    assert re.match(r"dgfnet-central version 1 on \d+ nodules of \d+ patients, \d+ with metastasis", told)
    assert "version 1 is champion" in called(there, "promote", "central", "1").stdout
    called(there, "predict", "central", "data", "--out", str(tmp_path / "there.csv"))
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert PLANTED.encode() not in file.read_bytes()
    content = json.loads(json.loads(results.read_text())["content"])["results"]
    labels = pd.read_csv(there / "data/nodules.csv").set_index("nodule_id")["lnm_central"]
    scored = pd.read_csv(tmp_path / "there.csv").set_index("nodule_id")
    scored = (
        scored[scored["variant"].eq("stack") & scored["probability"].notna()]
        .join(labels)
        .dropna(subset=["lnm_central"])
    )
    assert content["nodules"] == len(scored)
    area = roc_auc_score(scored["lnm_central"], scored["probability"])
    assert content["external"]["auc"] == pytest.approx(area)
    patients = pd.read_csv(there / "data/nodules.csv")["patient_id"]
    assert not any(name in results.read_text() for name in patients)
    home = shutil.copytree(finished, tmp_path / "home", symlinks=True)  # others read the version's tags
    told = called(home, "import", str(results), "--trust", str(hospital_public)).stdout
    assert f"dgfnet-central version 1: validated elsewhere on {len(scored)} nodules, AUC {area:.3f}" in told
    assert f"AUC {area:.3f}" in called(home, "lineage", "central", "1").stdout
    again = called(home, "import", str(results), "--trust", str(public), check=False)
    assert (again.returncode, "none of those you trust" in again.stderr) == (2, True)


def test_the_champion_is_judged_told_and_rolled_back_by_command(finished):
    told = dgfnet(finished, "promote", "central", "1", "--dry-run").stdout
    assert "met      reproduces cross-validation" in told
    assert "dgfnet-central version 1 would become champion" in told
    version = client(finished).get_model_version("dgfnet-central", "1")
    told = dgfnet(finished, "lineage", "central", "1").stdout
    parent = client(finished).get_run(version.run_id).data.tags.get("mlflow.parentRunId", version.run_id)
    assert "dgfnet-central version 1 (champion)" in told
    for part in (parent, version.run_id, facts(version)["fit"], "external: AUC 0."):
        assert part in told
    told = dgfnet(finished, "history", "central").stdout
    assert "version 1: champion none -> 1; all 11 criteria are met" in told
    done = called(finished, "rollback", "central", check=False)  # it goes the way of `history`
    assert (done.returncode, done.stdout) == (2, "")
    assert "version 1 is the first champion; there is none to go back to" in done.stderr
    done = called(finished, "promote", "central", "7", check=False)
    assert done.stderr == "dgfnet promote: the registry has no dgfnet-central version 7; it has 1\n"


def test_a_version_is_made_again_from_its_commit_its_cohort_and_its_settings(finished, tmp_path):
    version = client(finished).get_model_version("dgfnet-central", "1")
    table = pd.read_csv(finished / "artifacts/crossval/central/dgf/out_of_fold.csv")
    fold = int(facts(version)["fold"])
    done = dgfnet(finished, "reproduce", "central", "1", "--into", str(tmp_path / "again"))
    record = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert done.stdout.endswith("\nagrees\n")
    assert PLANTED not in done.stdout + done.stderr
    assert (record["agrees"], record["same_fit"], record["fold"]) == (True, True, fold)
    assert (record["nodules"], record["alone"]) == ((table["fold"] == fold).sum(), 0)
    assert record["probability"] <= 1e-6
    assert record["metrics"]["auc"][0] == pytest.approx(record["metrics"]["auc"][1], abs=1e-6)
    assert record["git_commit"] == facts(version)["git_commit"]
    fits = [json.loads(path.read_text())["name"] for path in tmp_path.glob("again/work/fits/*/fit.json")]
    assert sorted(fits) == sorted(
        [f"segmentation/{name}_multitask/fold{fold}" for name in ("us", "ct")]
        + [f"central/{name}/fold{fold}" for name in ("us_multitask", "ct_multitask", "dgf")]
    )
    assert not (tmp_path / "again/id.key").exists()
    again = called(finished, "reproduce", "central", "1", "--into", str(tmp_path / "again"), check=False)
    assert (again.returncode, "exists and is not empty" in again.stderr) == (2, True)


def test_summary_prints_every_variant_and_the_oracle(finished):
    text = dgfnet(finished, "summary", COLUMNS="200").stdout
    truth = json.loads((finished / "data-truth/bayes.json").read_text())
    for site in ("central", "lateral"):
        assert f"{truth[site]['both']:.3f}" in text
        assert f"dgfnet-{site} version 1 is champion" in text
    assert (finished / "artifacts/report/index.html").stat().st_size > 20_000


def test_bad_input_is_one_message_and_status_2(tmp_path):
    folder = project(tmp_path)
    for run, arguments, words in (
        (dgfnet, ("cohort",), "nodules.csv: no such file"),
        (called, ("crossval",), "run the stage cohort first"),
        (called, ("cohort", "--set", "cohort.fold=3"), "unknown setting cohort.fold"),
        (called, ("report", "--params", "nowhere.yaml"), "no such settings file"),
    ):
        done = run(folder, *arguments, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
