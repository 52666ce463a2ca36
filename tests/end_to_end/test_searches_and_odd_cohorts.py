"""Searches, and cohorts with one modality or without the labels of a site, through the real command line."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score
from whole import called, copy_of, dgfnet, environment, project, runs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, drawn, empty_store):
    """A folder in which everything has run that comes before the label."""
    folder = project(tmp_path_factory.mktemp("prepared") / "project", drawn)
    shutil.copy(empty_store, folder / "mlflow.db")
    for stage in ("cohort", "audit", "preprocess", "pretrain"):
        called(folder, stage)
    return folder


def test_a_site_without_labels_is_skipped_and_said_so(drawn, empty_store, tmp_path):
    folder = project(tmp_path / "one-site", drawn)
    shutil.copy(empty_store, folder / "mlflow.db")
    nodules = pd.read_csv(folder / "data/nodules.csv")
    nodules["lnm_lateral"] = ""
    nodules.to_csv(folder / "data/nodules.csv", index=False)
    small = ("--set", "crossval.variants=[us_multitask]", "--set", "register.variant=us_multitask")
    done = called(folder, "all", *small, "--set", "compare.reference=us_multitask")
    assert "lateral skipped" in done.stderr
    assert json.loads((folder / "artifacts/crossval/lateral/skipped.json").read_text())["reason"]
    assert (folder / "artifacts/external/central/metrics.json").is_file()
    assert not (folder / "artifacts/register/lateral.json").exists()
    assert "lateral: skipped" in called(folder, "summary", COLUMNS="200").stdout


def test_a_cohort_of_ultrasound_alone_goes_all_the_way(drawn, empty_store, tmp_path):
    folder = project(tmp_path / "us-only", drawn)
    shutil.copy(empty_store, folder / "mlflow.db")
    images = pd.read_csv(folder / "data/images.csv")
    images[images["modality"] == "us"].to_csv(folder / "data/images.csv", index=False)
    alone = ("--set", "cohort.modalities=[us]", "--set", "base.sites=[central]")
    small = ("--set", "crossval.variants=[us_multitask]", "--set", "register.variant=us_multitask")
    told = called(folder, "all", *alone, *small, "--set", "compare.reference=us_multitask").stderr
    assert "central late skipped: it joins a network of each of two modalities, found us_multitask" in told
    crossval = folder / "artifacts/crossval/central"
    assert json.loads((crossval / "late/skipped.json").read_text())["reason"]
    sizes = json.loads((crossval / "size/model.json").read_text())["folds"][0]["terms"]
    assert [term["column"] for term in sizes] == ["us_log_area_mm2"]
    assert "No late: it joins" in (folder / "artifacts/report/index.html").read_text()
    assert json.loads((folder / "artifacts/external/central/metrics.json").read_text())["external"]["n"] == 12
    done = called(folder, "crossval", *alone, "--set", "crossval.variants=[concat]", check=False)
    assert done.returncode == 2
    assert "ct_multitask needs ct, which no image of the cohort shows" in done.stderr
    done = called(folder, "tune", *alone, "--set", "tune.trials=1", check=False)
    assert done.returncode == 2
    assert "tune.variants: dgf needs ct, which no image of the cohort shows" in done.stderr


SEARCH = (
    *("--set", "tune.trials=3", "--set", "tune.grace_epochs=1", "--set", "tune.inner_folds=2"),
    *("--set", "base.sites=[central]", "--set", "tune.variants=[us_resnet]"),
)


def ledgers(folder: Path) -> dict[str, list]:
    """The points of every fold's search, by the name of its file."""
    return {path.name: json.loads(path.read_text()) for path in (folder / "work/tune").glob("*.json")}


def test_a_search_chooses_settings_that_crossval_uses_and_compare_judges(prepared, tmp_path):
    folder = tmp_path / "searched"
    copy_of(prepared, folder)
    variants = ("--set", "crossval.variants=[us_resnet]")
    called(folder, "tune", *SEARCH, ray=True)
    chosen = yaml.safe_load((folder / "artifacts/tune/chosen.yaml").read_text())
    trials = pd.read_csv(folder / "artifacts/tune/trials.csv")
    record = chosen["central"]["us_resnet"]
    assert list(chosen) == ["central"]
    assert trials.groupby("fold").size().tolist() == [3, 3]
    for fold, part in trials.groupby("fold"):
        longest = part[part["epoch"] == part["epoch"].max()]
        assert record["inner_score"][fold] == pytest.approx(longest["score"].max())
        assert (part["training.learning_rate"] == 1e-3).any()  # the settings as they are compete too
    found = [run for run in runs(folder, "dgfnet-central") if run.data.tags["stage"] == "tune"]
    assert {run.info.status for run in found} == {"FINISHED"}
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == ["tune us_resnet"]
    tried = [run for run in found if run.data.tags.get("role") == "trial"]
    assert len(tried) == 6
    winners = [run for run in tried if run.data.tags["chosen"] == "yes"]
    assert sorted(run.data.params["fold"] for run in winners) == ["0", "1"]
    for run in tried:  # also those that ASHA stopped: columns and axes of the comparison page
        assert {"training.learning_rate", "training.weight_decay", "network.dropout"} <= set(run.data.params)
        assert run.info.run_name.startswith(f"fold{run.data.params['fold']}, ")
        for name in ("learning_rate", "weight_decay", "dropout"):
            assert f", {name} " in run.info.run_name
    for run in winners:
        values = record["chosen"][int(run.data.params["fold"])]
        assert {name: float(run.data.params[name]) for name in values} == pytest.approx(values)
    called(folder, "crossval", *SEARCH, *variants)
    metrics = json.loads((folder / "artifacts/crossval/central/us_resnet/metrics.json").read_text())
    assert metrics["searched"] is True
    for fold in metrics["folds"]:
        (child,) = [r for r in runs(folder, "dgfnet-central") if r.data.tags.get("fit") == fold["key"]]
        wanted = record["chosen"][fold["fold"]]["training.learning_rate"]
        assert float(child.data.params["learning_rate"]) == pytest.approx(wanted)
    called(folder, "compare", *SEARCH, *variants)
    optimism = pd.read_csv(folder / "artifacts/compare/central/optimism.csv")
    outer = [fold["scores"]["auc"] for fold in metrics["folds"]]
    assert optimism["optimism"].tolist() == pytest.approx(np.subtract(record["inner_score"], outer))
    called(folder, "report", *SEARCH, *variants)
    assert "Searched settings, central" in (folder / "artifacts/report/index.html").read_text()


def test_a_search_of_few_points_tries_each_once_and_is_done(prepared, tmp_path):
    """Fewer points than trials: Optuna would suggest them again and again; a second run trains nothing."""
    folder = tmp_path / "few"
    copy_of(prepared, folder)
    few = (
        "--set",
        "tune.space={training.batch: {choices: [8, 10]}, training.weight_decay: {choices: [0.0]}}",
    )
    called(folder, "tune", *SEARCH, *few, ray=True)
    names = [folder / "artifacts/tune/chosen.yaml", folder / "artifacts/tune/trials.csv"]
    written = [name.read_bytes() for name in names]
    trials = pd.read_csv(names[1])
    assert trials.groupby("fold")["training.batch"].apply(sorted).tolist() == [[8, 10], [8, 10]]
    fits = sorted((folder / "work/fits").iterdir())
    count = len(runs(folder, "dgfnet-central"))
    called(folder, "tune", *SEARCH, *few)  # without Ray: nothing is left to train
    assert [name.read_bytes() for name in names] == written
    assert sorted((folder / "work/fits").iterdir()) == fits
    assert len(runs(folder, "dgfnet-central")) == count


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_stopped_goes_on(prepared, tmp_path, how):
    """SIGKILL of the process group or Ctrl-C when the ledger holds a result, then the same command again."""
    folder = tmp_path / "killed"
    copy_of(prepared, folder)
    longer = (
        "--set",
        "crossval.unimodal_epochs=12",
        "--set",
        "tune.trials=4",
        "--set",
        "sweep.cpus_per_trial=2",
    )
    running = subprocess.Popen(
        ["dgfnet", "tune", *SEARCH, *longer],
        **{"cwd": folder, "env": environment(), "start_new_session": True},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not any(point["done"] for ledger in ledgers(folder).values() for point in ledger):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how == signal.SIGKILL:
        os.killpg(running.pid, how)
    else:
        running.send_signal(how)
    assert running.wait(60) == (130 if how == signal.SIGINT else -how)
    assert not (folder / "artifacts/tune/chosen.yaml").exists()  # of a search that is not done
    before = ledgers(folder)
    dgfnet(folder, "tune", *SEARCH, *longer)
    after = ledgers(folder)
    assert [len([p for p in ledger if p["done"]]) for ledger in after.values()] == [4, 4]
    for name, ledger in before.items():  # done is not done again; what was interrupted is among the four
        known = {json.dumps(point["values"], sort_keys=True): point for point in after[name]}
        for point in ledger:
            now = known[json.dumps(point["values"], sort_keys=True)]
            assert now == point if point["done"] else now["done"]
    found = [run for run in runs(folder, "dgfnet-central") if run.data.tags["stage"] == "tune"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len([run for run in found if run.data.tags.get("role") == "trial"]) == 8


def test_a_cohort_of_several_centres_is_held_out_by_centre(tmp_path, drawn):
    folder = project(tmp_path / "project", drawn)
    table = pd.read_csv(folder / "data/nodules.csv", dtype=str)
    number = table["patient_id"].str.extract(r"(\d+)$")[0].astype(int)
    table["hospital"] = number.map(lambda value: ("Aix", "Bonn", "Chur")[value % 3])
    table.to_csv(folder / "data/nodules.csv", index=False)
    by_centre = ("--set", "cohort.centre=hospital", "--set", "cohort.split=centres")
    by_centre += ("--set", "cohort.minimum_per_class=1", "--set", "crossval.variants=[us_resnet]")
    by_centre += ("--set", "crossval.stacked=null", "--set", "register.variant=us_resnet")
    by_centre += ("--set", "compare.reference=us_resnet")
    for stage in ("cohort", "audit", "preprocess", "pretrain", "tune", "crossval", "compare", "report"):
        called(folder, stage, *by_centre)
    centre = table.set_index("nodule_id")["hospital"]
    held_out = pd.read_csv(
        folder / "artifacts/crossval/central/us_resnet/out_of_fold.csv", dtype={"nodule_id": str}
    )
    assert (held_out["fold"] == held_out["nodule_id"].map(centre).map(["Aix", "Bonn", "Chur"].index)).all()
    rows = pd.read_csv(folder / "artifacts/compare/central/centres.csv")
    own = rows[rows["variant"] == "us_resnet"].set_index("centre")
    for name, part in held_out.groupby(held_out["nodule_id"].map(centre)):
        assert own.loc[name, "n"] == len(part)
        assert own.loc[name, "auc"] == pytest.approx(roc_auc_score(part["label"], part["probability"]))
    assert "us_resnet at every centre, central" in (folder / "artifacts/report/index.html").read_text()
    # a column that the stage cohort has not read is one sentence
    said = called(folder, "compare", "--set", "cohort.centre=clinic", check=False)
    assert (said.returncode, "have no column clinic" in said.stderr) == (2, True)
