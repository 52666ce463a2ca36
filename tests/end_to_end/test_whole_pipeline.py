"""The whole pipeline through the real command line, on a tiny phantom."""

import hmac
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
import requests
import yaml
from mlflow import MlflowClient
from requests.adapters import HTTPAdapter
from sklearn.metrics import roc_auc_score
from urllib3.util import Retry
from whole import ROOT, client, dgfnet, environment, project, runs

PLANTED = "MUSTERMANN"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder under git and DVC in which the pipeline has run from the phantom to the report."""
    folder = project(tmp_path_factory.mktemp("project"))
    dgfnet(folder, "phantom")
    plant_identities(folder / "data")
    put_under_git_and_dvc(folder)
    dgfnet(folder, "all")
    return folder


def put_under_git_and_dvc(folder: Path) -> None:
    """Commits settings, cohort and, where it is there, the package."""
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@x")
    for command in (
        ("git", "init", "-q"),
        ("dvc", "init", "-q"),
        ("dvc", "add", "-q", "data"),
        ("git", "add", "params.yaml", "data.dvc", ".gitignore", ".dvc", ".dvcignore"),
        *((("git", "add", "project", "dvc.yaml"),) if (folder / "project").is_dir() else ()),
        (*git, "commit", "-q", "-m", "settings and cohort"),
    ):
        subprocess.run(command, cwd=folder, env=environment(), check=True, timeout=300)


def plant_identities(data: Path) -> None:
    """A name in every id, file name and further column, and in the tags of one picture stored as DICOM."""
    for name in ("nodules.csv", "images.csv"):
        text = (data / name).read_text()
        text = re.sub(r"\b([PE]\d{4})", rf"{PLANTED}-\1", text)
        header, rows = text.split("\n", 1)
        rows = "".join(f"{row},{PLANTED} Erika\n" for row in rows.splitlines())
        (data / name).write_text(f"{header},family\n{rows}")
    for path in [*data.glob("us/*"), *data.glob("ct/*")]:
        path.rename(path.with_name(f"{PLANTED}-{path.name}"))
    images = pd.read_csv(data / "images.csv")
    picture = data / images.loc[images["modality"] == "us", "image"].iloc[0]
    write_dicom(picture, picture.with_suffix(".dcm"))
    images["image"] = images["image"].replace(f"us/{picture.name}", f"us/{picture.stem}.dcm")
    images.to_csv(data / "images.csv", index=False)


def write_dicom(picture: Path, path: Path) -> None:
    """The picture as DICOM, declared clean, with the name where the standard's short list does not look."""
    pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.UltrasoundImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientID, data.PatientIdentityRemoved = PLANTED, "YES"
    data.StudyDescription = data.SeriesDescription = data.StationName = PLANTED
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)


def test_every_kept_nodule_is_predicted_once_by_a_model_that_never_saw_its_patient(finished):
    nodules = pd.read_parquet(finished / "artifacts/cohort/nodules.parquet")
    folds = pd.read_csv(finished / "artifacts/cohort/folds.csv").set_index("nodule_id")
    main = nodules[nodules["cohort"] == "main"].set_index("nodule_id")
    for site in ("central", "lateral"):
        for variant in ("us_multitask", "ct_multitask", "concat", "dgf"):
            table = pd.read_csv(finished / f"artifacts/crossval/{site}/{variant}/out_of_fold.csv")
            assert sorted(table["nodule_id"]) == sorted(main.index)
            assert (table["fold"].to_numpy() == folds.loc[table["nodule_id"], "fold"].to_numpy()).all()
            assert (table["label"].to_numpy() == main.loc[table["nodule_id"], f"lnm_{site}"].to_numpy()).all()
            assert table["probability"].between(0, 1).all()
            assert table["probability"].nunique() > len(table) / 2


def test_no_identity_leaves_the_cohort_and_its_tables(finished):
    """Ids stay in tables beside the cohort, where users join them; nothing of a person goes to MLflow."""

    def naming(*patterns):
        files = [path for pattern in patterns for path in finished.glob(pattern) if path.is_file()]
        assert files, patterns
        named = [path for path in files if PLANTED.encode() in path.read_bytes() or PLANTED in str(path)]
        return files, named

    files, named = naming("mlflow.db", "mlruns/**/*", "artifacts/report/*", "artifacts/register/*")
    assert named == []
    assert {"out_of_fold.csv", "predictions.csv", "weights.safetensors"} <= {path.name for path in files}
    assert naming("artifacts/compare/**/*", "artifacts/pretrain/*", "artifacts/tune/*")[1] == []
    assert naming("artifacts/cohort/folds.csv", "data/*.csv")[1]  # the search can find it


def test_pseudonyms_in_mlflow_stand_for_patients_and_only_the_key_tells_which(finished):
    local = pd.read_csv(finished / "artifacts/crossval/central/dgf/out_of_fold.csv")
    logged = next((finished / "mlruns").rglob("out_of_fold.csv"))
    table = pd.read_csv(logged)
    assert table["patient_id"].str.fullmatch("[0-9a-f]{16}").all()
    assert table["nodule_id"].nunique() == local["nodule_id"].nunique()
    assert table["patient_id"].nunique() == local["patient_id"].nunique()
    key = (finished / "id.key").read_bytes()
    assert (finished / "id.key").stat().st_mode & 0o077 == 0
    expected = {hmac.new(key, one.encode(), "sha256").hexdigest()[:16] for one in local["patient_id"]}
    assert set(table["patient_id"]) == expected


def test_metrics_equal_those_recomputed_from_the_table_and_stand_in_mlflow(finished):
    for site in ("central", "lateral"):
        folder = finished / f"artifacts/crossval/{site}/dgf"
        metrics = json.loads((folder / "metrics.json").read_text())
        table = pd.read_csv(folder / "out_of_fold.csv")
        pooled = roc_auc_score(table["label"], table["probability"])
        by_fold = [roc_auc_score(part["label"], part["probability"]) for _, part in table.groupby("fold")]
        assert metrics["pooled"]["auc"] == pytest.approx(pooled, abs=1e-12)
        assert metrics["mean"]["auc"] == pytest.approx(np.mean(by_fold), abs=1e-12)
        logged = client(finished).get_run(metrics["mlflow_run_id"]).data.metrics
        assert logged["pooled_auc"] == pytest.approx(pooled, abs=1e-12)
        assert logged["mean_auc"] == pytest.approx(np.mean(by_fold), abs=1e-12)


def test_runs_are_parents_with_one_child_per_fold_all_finished_with_lineage(finished):
    for site in ("central", "lateral"):
        found = runs(finished, f"dgfnet-{site}")
        assert {run.info.status for run in found} == {"FINISHED"}
        crossval = [run for run in found if run.data.tags["stage"] == "crossval"]
        parents = [run for run in crossval if "mlflow.parentRunId" not in run.data.tags]
        assert sorted(run.info.run_name for run in parents) == [
            "concat",
            "ct_multitask",
            "dgf",
            "us_multitask",
        ]
        for parent in parents:
            children = [r for r in crossval if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
            assert sorted(run.data.tags["fold"] for run in children) == ["0", "1"]
            assert {run.data.tags["variant"] for run in children} == {parent.data.tags["variant"]}
            assert {"git_commit", "data_md5", "params_sha256", "site"} <= set(parent.data.tags)
            assert parent.inputs.dataset_inputs[0].dataset.name == "cohort"
            assert all("loss_label" in run.data.metrics for run in children)


def test_champion_scores_the_external_cohort_as_its_bundle_does(finished):
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    settings = load(finished / "params.yaml")
    champion = load_champion(settings, "central")
    record = json.loads((finished / "artifacts/register/central.json").read_text())
    metrics = json.loads((finished / "artifacts/external/central/metrics.json").read_text())
    table = pd.read_csv(finished / "artifacts/external/central/predictions.csv")
    assert (champion.name, champion.version, record["alias"]) == ("dgfnet-central", "1", "champion")
    assert len(table) == 12
    assert metrics["threshold"] == champion.metadata["threshold"]
    assert metrics["external"]["auc"] == pytest.approx(roc_auc_score(table["label"], table["probability"]))
    called = table["probability"] >= metrics["threshold"]
    assert metrics["external"]["accuracy"] == pytest.approx((called == table["label"]).mean())
    version = client(finished).get_model_version("dgfnet-central", "1")
    assert float(version.tags["external_auc"]) == pytest.approx(metrics["external"]["auc"], abs=5e-5)
    assert version.aliases == ["champion"]
    pooled = json.loads((finished / "artifacts/crossval/central/dgf/metrics.json").read_text())
    interval = pooled["auc_interval"]
    compared = client(finished).get_run(version.run_id).data.metrics  # MLflow's page of versions shows them
    for name, value in (("", "estimate"), ("_low", "low"), ("_high", "high")):
        assert compared[f"pooled_auc{name}"] == pytest.approx(interval[value])


def network_of(project, site):
    """The champion's network in torch, from its checked bundle."""
    from dgfnet.bundle.network import BundledNetwork
    from dgfnet.registry.champion import champion_version, open_bundle
    from dgfnet.settings import load

    with open_bundle(*champion_version(load(project / "params.yaml"), site)) as folder:
        return BundledNetwork.open(folder)


@pytest.mark.parametrize("site", ["central", "lateral"])
def test_the_bundle_gives_held_out_nodules_the_probabilities_of_cross_validation(finished, site):
    """The fusion, and the models of one modality inside it, each at its own frozen threshold."""
    from dgfnet.preprocess.archive import Archive, centre
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), site)
    archive = Archive.open(finished / "artifacts/preprocess")
    models = [network_of(finished, site), champion.model, *champion.model.unimodal.values()]
    assert [model.metadata["variant"] for model in models] == ["dgf", "dgf", "us_multitask", "ct_multitask"]
    for model in models:
        variant = model.metadata["variant"]
        table = pd.read_csv(
            finished / f"artifacts/crossval/{site}/{variant}/out_of_fold.csv", dtype={"nodule_id": str}
        )
        table = table[table["fold"] == champion.metadata["fold"]]
        crops = {}
        for modality in ("us", "ct"):
            rows = [archive.largest(modality)[name] for name in table["nodule_id"]]
            crops[modality] = np.array(centre(archive.planes(modality)[rows, 0], archive.size[modality]))
        np.testing.assert_allclose(model.score(crops)["probability"], table["probability"], atol=1e-6)
        assert model.threshold == pytest.approx(table["threshold"].iloc[0])


def test_what_us_and_ct_alone_say_elsewhere_is_measured_at_their_own_thresholds(finished):
    metrics = json.loads((finished / "artifacts/external/central/metrics.json").read_text())
    table = pd.read_csv(finished / "artifacts/external/central/predictions.csv")
    for modality in ("us", "ct"):
        found, told = table[f"{modality}_probability"], metrics["alone"][modality]
        assert told["auc"] == pytest.approx(roc_auc_score(table["label"], found))
        assert told["accuracy"] == pytest.approx(((found >= told["threshold"]) == table["label"]).mean())
    rule = json.loads((finished / "artifacts/applicability/central/rule_external.json").read_text())
    frontier = pd.read_csv(finished / "artifacts/applicability/central/frontier_external.csv")
    ends = frontier[frontier["policy"] == "rule"].set_index("ct_share")["auc"]
    assert rule["n"] == len(table)
    assert ends[0.0] == pytest.approx(metrics["alone"]["us"]["auc"])
    assert ends[1.0] == pytest.approx(metrics["external"]["auc"])


def test_the_registered_model_gives_a_nodule_the_same_probability_in_any_company(finished):
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), "lateral").model
    rng = np.random.default_rng(0)
    crops = {modality: rng.integers(0, 256, (9, 32, 32), dtype=np.uint8) for modality in ("us", "ct")}
    together = champion.score(crops)["probability"].to_numpy()
    order = rng.permutation(9)
    shuffled = champion.score({name: values[order] for name, values in crops.items()})[
        "probability"
    ].to_numpy()
    alone = [champion.score({n: v[i : i + 1] for n, v in crops.items()})["probability"][0] for i in range(9)]
    assert np.ptp(together) > 1e-4
    assert np.abs(together[order] - shuffled).max() < 1e-6
    assert np.abs(together - alone).max() < 1e-6


@pytest.mark.parametrize(
    ("crops", "words"),
    [
        ({"us": np.zeros((1, 32, 32), np.uint8)}, "crops of ct are missing"),
        ({"us": np.zeros((1, 32, 32), np.uint8), "ct": np.zeros((1, 32, 31), np.uint8)}, "ct: expected"),
        ({"us": np.zeros((1, 32, 32)), "ct": np.zeros((1, 32, 32), np.uint8)}, "us: expected"),
        (
            {"us": np.zeros((2, 32, 32), np.uint8), "ct": np.zeros((1, 32, 32), np.uint8)},
            "one crop per nodule",
        ),
        ({"us": np.zeros((0, 32, 32), np.uint8), "ct": np.zeros((0, 32, 32), np.uint8)}, "us: expected"),
    ],
)
def test_a_bundle_refuses_crops_that_do_not_fit(finished, crops, words):
    from dgfnet.errors import InputError
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), "central")
    for model in (champion.model, network_of(finished, "central")):
        with pytest.raises(InputError, match=words):
            model.score(crops)


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
    assert table["variant"].tolist() == ["us_multitask", "ct_multitask", *["dgf"] * 10]
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
    dgfnet(finished, "predict", "central", str(folder), *one)
    (row,) = pd.read_csv(tmp_path / "one.csv", keep_default_na=False).to_dict("records")
    assert re.search(r"us brightness [\d.]+, training [\d.]+ to [\d.]+", row["warnings"])
    (tmp_path / "a file").touch()
    before = (folder / "nodules.csv").read_bytes()
    for arguments, words in (
        (("--out", str(folder / "nodules.csv")), "belongs to the cohort"),
        (("--out", str(tmp_path / "a file" / "x.csv")), "cannot be written"),
        (("--out", "x.csv", "--overlays", str(tmp_path / "a file")), "cannot be written"),
        ((), "needs --out"),
        (("--us", "a.png", "b.png"), "expected a cohort folder, or one case"),
    ):
        done = dgfnet(finished, "predict", "central", str(folder), *arguments, check=False)
        assert (done.returncode, done.stderr.count("\n"), words in done.stderr) == (2, 1, True)
    assert (folder / "nodules.csv").read_bytes() == before
    shown = images[(images["nodule_id"] == ids[4]) & (images["modality"] == "us")]
    files = [str(folder / path) for path in shown[["image", "mask"]].to_numpy().ravel()]
    pairs = [text for at in range(0, len(files), 2) for text in ("--us", *files[at : at + 2])]
    overlays = tmp_path / "overlays"
    done = dgfnet(finished, "predict", "central", *pairs, "--overlays", str(overlays))
    assert f"probability        {known.loc[ids[4], 'us_probability']:.4f}" in done.stdout
    assert cv2.imread(str(overlays / "0000_case.png")).shape[0] > 400
    one = ("--nodule", "nobody", "--out", str(tmp_path / "none.csv"))
    done = dgfnet(finished, "predict", "central", str(folder), *one, check=False)
    assert (done.returncode, "no nodule nobody; it has 12 others" in done.stderr) == (2, True)


def test_a_served_champion_answers_as_external_did_and_a_changed_one_is_not_served(finished):
    from dgfnet.cohort.manifest import read_cohort
    from dgfnet.cohort.readers import read_pair
    from dgfnet.preprocess.windowing import to_grey
    from dgfnet.settings import load

    settings = load(finished / "params.yaml")
    nodule = next(one for one in read_cohort(settings.data).nodules if one.cohort == "external")
    case = {name: [] for name in ("us", "us_mask", "ct", "ct_mask")}
    for image in nodule.images:
        pixels, mask = read_pair(image)
        case[image.modality].append(to_grey(pixels, image, settings.preprocess).tolist())
        case[f"{image.modality}_mask"].append(mask.tolist())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["dgfnet", "serve", "central", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=finished, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = process.stdout.readline()
            assert said == f"dgfnet-central version 1 answers at http://127.0.0.1:{port}/invocations\n"
            answered = requests.Session()
            answered.mount("http://", HTTPAdapter(max_retries=Retry(connect=20, backoff_factor=0.1)))
            body = {"dataframe_records": [case | {"nodule": "one"}]}
            (row,) = answered.post(said.split()[-1], json=body, timeout=60).json()["predictions"]
        finally:
            process.terminate()
    known = pd.read_csv(finished / "artifacts/external/central/predictions.csv", dtype={"nodule_id": str})
    expected = known.set_index("nodule_id").loc[nodule.nodule_id, "probability"]
    assert row["probability"] == pytest.approx(expected, abs=1e-6)
    assert (row["nodule"], row["model"], row["version"]) == ("one", "dgfnet-central", "1")
    (folder,) = (finished / "mlruns/dgfnet-central/models").glob("m-*/artifacts")
    line = json.loads((folder / "artifacts/bundle/bundle.json").read_text())["calibration"]
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
    card = folder / "artifacts/bundle/MODEL_CARD.md"
    text = card.read_text()
    assert "pooled out-of-fold AUC" in text
    card.write_text(text + "It never errs.")
    done = dgfnet(finished, "serve", "central", check=False)
    card.write_text(text)
    assert (done.returncode, "MODEL_CARD.md was changed; not loaded" in done.stderr) == (2, True)


def test_the_champion_is_judged_told_and_rolled_back_by_command(finished):
    told = dgfnet(finished, "promote", "central", "1", "--dry-run").stdout
    assert "met      reproduces cross-validation" in told
    assert "dgfnet-central version 1 would become champion" in told
    version = client(finished).get_model_version("dgfnet-central", "1")
    told = dgfnet(finished, "lineage", "central", "1").stdout
    record = json.loads((finished / "artifacts/register/central.json").read_text())
    assert "dgfnet-central version 1 (champion)" in told
    for part in (record["source_run_id"], version.run_id, version.tags["fit"], "external: AUC 0."):
        assert part in told
    told = dgfnet(finished, "history", "central").stdout
    assert "version 1: champion none -> 1; all 8 criteria are met" in told
    done = dgfnet(finished, "rollback", "central", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "version 1 is the first champion; there is none to go back to" in done.stderr
    done = dgfnet(finished, "promote", "central", "7", check=False)
    assert done.stderr == "dgfnet promote: the registry has no dgfnet-central version 7; it has 1\n"


def test_a_version_is_made_again_from_its_commit_its_cohort_and_its_settings(finished, tmp_path):
    version = client(finished).get_model_version("dgfnet-central", "1")
    table = pd.read_csv(finished / "artifacts/crossval/central/dgf/out_of_fold.csv")
    fold = int(version.tags["fold"])
    done = dgfnet(finished, "reproduce", "central", "1", "--into", str(tmp_path / "again"))
    record = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert done.stdout.endswith("\nagrees\n")
    assert PLANTED not in done.stdout + done.stderr
    assert (record["agrees"], record["same_fit"], record["fold"]) == (True, True, fold)
    assert (record["nodules"], record["alone"]) == ((table["fold"] == fold).sum(), 0)
    assert record["probability"] <= 1e-6
    assert record["metrics"]["auc"][0] == pytest.approx(record["metrics"]["auc"][1], abs=1e-6)
    assert record["git_commit"] == version.tags["git_commit"]
    fits = [json.loads(path.read_text())["name"] for path in tmp_path.glob("again/work/fits/*/fit.json")]
    assert sorted(fits) == sorted(
        [f"segmentation/{name}_multitask/fold{fold}" for name in ("us", "ct")]
        + [f"central/{name}/fold{fold}" for name in ("us_multitask", "ct_multitask", "dgf")]
    )
    assert not (tmp_path / "again/id.key").exists()
    again = dgfnet(finished, "reproduce", "central", "1", "--into", str(tmp_path / "again"), check=False)
    assert (again.returncode, "exists and is not empty" in again.stderr) == (2, True)


def test_a_tampered_champion_is_not_loaded(finished, tmp_path):
    from dgfnet.errors import InputError
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    settings = load(finished / "params.yaml")
    (folder,) = (finished / "mlruns/dgfnet-lateral/models").glob("m-*/artifacts")
    weights = next(folder.glob("artifacts/*/weights.safetensors"))
    before = weights.read_bytes()
    for path, content, words in (
        (weights, before[:-1] + bytes([before[-1] ^ 1]), r"weights\.safetensors was changed"),
        (folder / "python_model.pkl", b"cos\nsystem\n", r"python_model\.pkl was added"),
        (weights, None, r"weights\.safetensors is missing"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            load_champion(settings, "lateral")
        (folder / "python_model.pkl").unlink(missing_ok=True)
        weights.write_bytes(before)
    aside = tmp_path / "aside"
    folder.rename(aside)
    for name in ("code/colorsyspkg", "artifacts/other"):  # a folder that is a link would not be walked into
        shutil.copytree(aside, folder)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(tmp_path)
        with pytest.raises(InputError, match=f"{name} is a link"):
            load_champion(settings, "lateral")
        shutil.rmtree(folder)
    aside.rename(folder)
    cache = folder / "__pycache__" / "scorer.cpython-311.pyc"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"what Python might run in place of the source")
    (listed,) = (finished / "mlruns").rglob("seals/dgfnet-lateral 1.sha256")
    text = listed.read_text()
    listed.write_text(text.replace("  MLmodel", "  MLmodels"))
    with pytest.raises(InputError, match="list of checksums is not the one"):
        load_champion(settings, "lateral")
    listed.write_text(text)
    assert load_champion(settings, "lateral").version == "1"


def test_a_refused_model_is_no_champion_and_external_says_so(finished, tmp_path):
    folder = project(tmp_path / "strict")
    for name in ("data", "artifacts", "work", "data-truth"):
        shutil.copytree(finished / name, folder / name)
    strict = ("--set", "register.minimum_auc_lower_bound=1.0")
    for stage in ("crossval", "register", "external", "report", "summary"):
        done = dgfnet(folder, stage, *strict)
    record = json.loads((folder / "artifacts/register/central.json").read_text())
    assert (record["promoted"], record["has_champion"], record["alias"]) == (False, False, "challenger")
    assert "lower limit of the out-of-fold AUC" in record["reason"]
    assert "needed at least 1" in record["reason"]
    assert "no champion" in (folder / "artifacts/external/central/skipped.json").read_text()
    assert not (folder / "artifacts/external/central/metrics.json").exists()
    assert "is not champion" in done.stdout.replace("\n", " ")


def test_the_better_of_two_trained_models_becomes_champion_and_rollback_gives_back_its_answers(
    finished, tmp_path
):
    folder = project(tmp_path / "two")
    for name in ("data", "artifacts", "work"):
        shutil.copytree(finished / name, folder / name)
    one = ("--site", "central", "--variant", "dgf")
    aucs = {}
    for version, setting in (("1", ()), ("2", ("--set", "crossval.multimodal_epochs=1"))):
        dgfnet(folder, "crossval", *one, *setting)
        dgfnet(folder, "register", "--site", "central", *setting, "--set", "register.minimum_gain=-1.0")
        metrics = json.loads((folder / "artifacts/crossval/central/dgf/metrics.json").read_text())
        aucs[version] = metrics["pooled"]["auc"]
    worse, better = sorted(aucs, key=lambda version: aucs[version])
    assert aucs[worse] < aucs[better]

    def champion():
        return str(client(folder).get_model_version_by_alias("dgfnet-central", "champion").version)

    def answers():
        dgfnet(folder, "predict", "central", "data", "--out", "answers.csv")
        return pd.read_csv(folder / "answers.csv")

    assert champion() == "2"  # with minimum_gain -1 the newest is
    dgfnet(folder, "promote", "central", worse, "--set", "register.minimum_gain=-1.0")
    assert champion() == worse
    before = answers()
    assert set(before["version"]) == {int(worse)}
    dgfnet(folder, "promote", "central", better)
    assert champion() == better
    assert (answers()["probability"] != before["probability"]).any()
    said = dgfnet(folder, "promote", "central", worse).stdout
    assert "NOT MET  AUC less the champion's, shared nodules" in said
    assert champion() == better
    dgfnet(folder, "rollback", "central")
    assert champion() == worse
    pd.testing.assert_frame_equal(answers(), before)


def test_running_again_trains_nothing_and_makes_no_new_run(finished):
    before = {
        name: len(runs(finished, name)) for name in ("dgfnet-central", "dgfnet-lateral", "dgfnet-pretrain")
    }
    stamps = {
        path: path.stat().st_mtime_ns for path in (finished / "work/fits").glob("*/weights.safetensors")
    }
    tables = {
        path: path.read_bytes() for path in (finished / "artifacts/crossval").glob("*/*/out_of_fold.csv")
    }
    dgfnet(finished, "crossval")
    dgfnet(finished, "register")
    assert {name: len(runs(finished, name)) for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path: path.read_bytes() for path in tables} == tables
    assert len(client(finished).search_model_versions("name = 'dgfnet-central'")) == 1


def test_a_run_killed_after_its_fit_was_written_is_finished_by_the_next_call(finished):
    child = next(run for run in runs(finished, "dgfnet-central") if run.data.tags.get("fold") == "1")
    client(finished).update_run(child.info.run_id, "RUNNING")
    client(finished).set_tag(child.info.run_id, "dgfnet.process", f"{socket.gethostname()}:999999999")
    dgfnet(finished, "crossval")
    assert client(finished).get_run(child.info.run_id).info.status == "FINISHED"


def test_a_changed_setting_repeats_only_what_it_touches(finished):
    fits = {path.name for path in (finished / "work/fits").iterdir()}
    dgfnet(
        finished,
        "crossval",
        "--site",
        "lateral",
        "--variant",
        "concat",
        "--set",
        "crossval.multimodal_epochs=1",
    )
    new = {path.name for path in (finished / "work/fits").iterdir()} - fits
    names = {json.loads((finished / "work/fits" / key / "fit.json").read_text())["name"] for key in new}
    assert names == {"lateral/concat/fold0", "lateral/concat/fold1"}


def test_diverging_training_stops_with_a_clear_error_and_a_failed_run(finished):
    done = dgfnet(
        *(finished, "crossval", "--site", "central", "--variant", "us_multitask"),
        *("--set", "training.learning_rate=1.0e+30"),
        check=False,
    )
    assert done.returncode == 2
    assert "lower training.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    statuses = [
        run.info.status for name in ("dgfnet-pretrain", "dgfnet-central") for run in runs(finished, name)
    ]
    assert "FAILED" in statuses
    assert "RUNNING" not in statuses


def test_summary_prints_every_variant_and_the_oracle(finished):
    text = dgfnet(finished, "summary", COLUMNS="200").stdout
    truth = json.loads((finished / "data-truth/bayes.json").read_text())
    for site in ("central", "lateral"):
        assert f"{truth[site]['both']:.3f}" in text
        assert f"dgfnet-{site} version 1 is champion" in text
    assert (finished / "artifacts/report/index.html").stat().st_size > 20_000


def test_bad_input_is_one_message_and_status_2(tmp_path):
    folder = project(tmp_path)
    for arguments, words in (
        (("cohort",), "nodules.csv: no such file"),
        (("crossval",), "run the stage cohort first"),
        (("cohort", "--set", "cohort.fold=3"), "unknown setting cohort.fold"),
        (("report", "--params", "nowhere.yaml"), "no such settings file"),
    ):
        done = dgfnet(folder, *arguments, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_mlflow_run_works_and_logs_where_the_tracking_uri_points(finished, tmp_path):
    for name in ("MLproject", "conda.yaml"):
        shutil.copy(ROOT / name, finished / name)
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    command = ["mlflow", "run", ".", "-e", "crossval", "--env-manager", "local"]
    command += [
        "-P",
        "site=lateral",
        "-P",
        "variant=us_multitask",
        "-P",
        "set=sweep.retries=0 compare.reference=concat",
    ]
    done = subprocess.run(
        command,
        cwd=finished,
        env=environment() | {"MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store = MlflowClient(uri)
    found = store.search_runs([store.get_experiment_by_name("dgfnet-lateral").experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == ["us_multitask"]
    assert len(found) == 3  # a parent and two folds
    assert {run.info.status for run in found} == {"FINISHED"}
    project_run = store.get_run(parents[0].data.tags["dgfnet.project_run"])
    assert project_run.info.status == "FINISHED"
    provenance = json.loads((finished / "artifacts/crossval/provenance.json").read_text())
    assert "sweep.retries=0" in provenance["overrides"]


def test_without_trials_nothing_is_searched(finished):
    assert yaml.safe_load((finished / "artifacts/tune/chosen.yaml").read_text()) == {}
    assert not (finished / "work/tune").exists()


@pytest.mark.slow
def test_nine_variants_and_two_sites_fill_the_papers_tables(finished, tmp_path):
    folder = tmp_path / "matrix"
    shutil.copytree(finished, folder)
    names = "us_resnet,us_tlr,us_multitask,ct_resnet,ct_multitask,concat,sum,product,dgf"
    everything = ("--set", f"crossval.variants=[{names}]")
    tlr = ("--set", "network.tlr.annealing=3")
    for stage in ("crossval", "compare", "report"):
        dgfnet(folder, stage, *everything, *tlr)
    table = pd.read_csv(folder / "artifacts/compare/tables.csv")
    assert table.groupby("table").size().to_dict() == {1: 10, 2: 8, 3: 4}
    for site in ("central", "lateral"):
        mine = table[table["site"] == site].set_index(["table", "method"])["auc"]
        basic = [mine[2, name] for name in ("concatenation", "element-wise sum", "element-wise product")]
        assert mine[2, "mean of the three"] == pytest.approx(np.mean(basic))
        assert mine[3, "mean of basic fusions"] == mine[2, "mean of the three"]
        for name in names.split(","):
            path = folder / f"artifacts/crossval/{site}/{name}/out_of_fold.csv"
            found = pd.read_csv(path)
            by_fold = [roc_auc_score(part["label"], part["probability"]) for _, part in found.groupby("fold")]
            (row,) = table[(table["site"] == site) & (table["variants"] == name)].to_dict("records")
            assert row["auc"] == pytest.approx(np.mean(by_fold))


@pytest.mark.slow
def test_dvc_repro_runs_everything_once_and_then_only_what_changed(tmp_path):
    folder = project(tmp_path / "clone")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "project", folder / "project", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dgfnet(folder, "phantom")
    put_under_git_and_dvc(folder)
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert re.findall(r"Running stage '(\w+)'", run("dvc", "repro")) == stages
    assert "Running stage" not in run("dvc", "repro")
    fresh = tmp_path / "fresh"
    assert "\nagrees\n" in run("dgfnet", "reproduce", "lateral", "1", "--into", str(fresh))
    package = json.loads((fresh / "reproduction.json").read_text())["package"]
    assert Path(package) == fresh / "project" / "dgfnet"  # the commit's code, not the installed one
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["report"]["title"] = "Another title"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    again = run("dvc", "repro")
    assert re.findall(r"Running stage '(\w+)'", again) == ["report"]
    params["compare"]["reference"] = "concat"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert re.findall(r"Running stage '(\w+)'", run("dvc", "repro")) == ["compare", "report"]
    assert "up to date" in run("dvc", "status", "data.dvc")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [9.0, 14.0, 20.0])
def test_killed_and_run_again_gives_the_uninterrupted_table(finished, tmp_path, seconds):
    """SIGKILL of the whole process group in the middle of crossval, then the same command again."""
    longer = ("--set", "crossval.unimodal_epochs=6", "--set", "crossval.multimodal_epochs=4")
    folders = [project(tmp_path / name) for name in ("whole", "killed")]
    for folder in folders:
        shutil.copytree(finished / "data", folder / "data")
        for stage in ("cohort", "audit", "preprocess", "pretrain"):
            dgfnet(folder, stage)
    dgfnet(folders[0], "crossval", *longer)
    running = subprocess.Popen(
        ["dgfnet", "crossval", *longer],
        **{"cwd": folders[1], "env": environment(), "start_new_session": True},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = {
        path.parent.name: path.stat().st_mtime_ns for path in (folders[1] / "work/fits").glob("*/fit.json")
    }
    dgfnet(folders[1], "crossval", *longer)
    for key, stamp in done.items():
        assert (folders[1] / "work/fits" / key / "fit.json").stat().st_mtime_ns == stamp
    for path in (folders[0] / "artifacts/crossval").glob("*/*/out_of_fold.csv"):
        assert (folders[1] / path.relative_to(folders[0])).read_bytes() == path.read_bytes()
    for name in ("dgfnet-central", "dgfnet-lateral", "dgfnet-pretrain"):
        counts = [len(runs(folder, name)) for folder in folders]
        assert counts[0] == counts[1]
        assert {run.info.status for run in runs(folders[1], name)} == {"FINISHED"}
