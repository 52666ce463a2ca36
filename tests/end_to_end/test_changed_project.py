"""A project in which everything has run, changed, broken and run again."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score
from whole import ROOT, called, client, copy_of, dgfnet, environment, project, put_under_git_and_dvc, runs


def test_a_tampered_champion_is_not_loaded(changeable, tmp_path):
    from dgfnet import tracking
    from dgfnet.errors import InputError
    from dgfnet.registry.champion import load_champion
    from dgfnet.registry.facts import facts, keep_facts
    from dgfnet.registry.seal import digests
    from dgfnet.settings import load

    settings = load(changeable / "params.yaml")
    (folder,) = (changeable / "mlruns/dgfnet-lateral/models").glob("m-*/artifacts")
    bundle = folder / "artifacts" / "bundle.zip"
    before = bundle.read_bytes()
    for path, content, words in (
        (bundle, before[:-1] + bytes([before[-1] ^ 1]), r"bundle\.zip was changed"),
        (folder / "python_model.pkl", b"cos\nsystem\n", r"python_model\.pkl was added"),
        (bundle, None, r"bundle\.zip is missing"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            load_champion(settings, "lateral")
        (folder / "python_model.pkl").unlink(missing_ok=True)
        bundle.write_bytes(before)
    aside = tmp_path / "aside"
    folder.rename(aside)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "colorsys.py").write_text("raise SystemExit\n")
    for name in ("colorsyspkg", "artifacts/other"):  # what a link leads to was not registered
        shutil.copytree(aside, folder)
        (folder / name).symlink_to(tmp_path / "other")
        with pytest.raises(InputError, match="resolved path is outside the artifact directory"):
            load_champion(settings, "lateral")
        shutil.rmtree(folder)
    aside.rename(folder)
    cache = folder / "__pycache__" / "scorer.cpython-311.pyc"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"what Python might run in place of the source")
    registry = tracking.registry(settings)
    registered = registry.get_model_version("dgfnet-lateral", "1")
    keep_facts(registry, registered, {"checksums": facts(registered)["checksums"].replace("  ML", "  M")})
    with pytest.raises(InputError, match="list of checksums is not the one"):
        load_champion(settings, "lateral")
    registry.set_model_version_tag("dgfnet-lateral", "1", "dgfnet", registered.tags["dgfnet"])
    champion = load_champion(settings, "lateral")
    assert champion.version == "1"
    # before format 8 the list was an artifact of the version's run, and the bundle a folder
    with zipfile.ZipFile(bundle) as packed:
        packed.extractall(bundle.with_suffix(""))
    bundle.unlink()
    text = "".join(f"{digest}  {name}\n" for name, digest in digests(folder).items())
    registry.log_text(registered.run_id, text, "seals/dgfnet-lateral 1.sha256")
    earlier = {"seal": sha256(text.encode()).hexdigest(), "checksums": "", "bundle_format": "7"}
    keep_facts(registry, registered, earlier)
    again = load_champion(settings, "lateral").model
    assert (again.threshold, again.metadata) == (champion.model.threshold, champion.metadata)


def test_a_champion_whose_card_was_changed_is_not_served(changeable):
    card = next((changeable / "mlruns/dgfnet-central/models").glob("m-*/artifacts/artifacts/MODEL_CARD.md"))
    text = card.read_text()
    card.write_text(text + "It never errs.")
    try:
        done = called(changeable, "serve", "central", check=False)
    finally:
        card.write_text(text)
    assert (done.returncode, "MODEL_CARD.md was changed; not loaded" in done.stderr) == (2, True)


def test_a_refused_model_is_no_champion_and_external_says_so(finished, empty_store, tmp_path):
    folder = copy_of(finished, tmp_path / "strict")
    shutil.copy(empty_store, folder / "mlflow.db")
    strict = ("--set", "register.minimum_auc_lower_bound=1.0")
    for stage in ("crossval", "register", "external", "applicability", "report", "summary"):
        done = called(folder, stage, *strict)
    record = json.loads((folder / "artifacts/register/central.json").read_text())
    assert (record["promoted"], record["has_champion"], record["alias"]) == (False, False, "challenger")
    assert "lower limit of the out-of-fold AUC" in record["reason"]
    assert "needed at least 1" in record["reason"]
    assert "no champion" in (folder / "artifacts/external/central/skipped.json").read_text()
    assert not (folder / "artifacts/external/central/metrics.json").exists()
    assert "is not champion" in done.stdout.replace("\n", " ")


def test_the_better_of_two_trained_models_becomes_champion_and_rollback_gives_back_its_answers(
    finished, empty_store, tmp_path
):
    folder = project(tmp_path / "two")
    shutil.copy(empty_store, folder / "mlflow.db")
    for name in ("data", "artifacts", "work"):
        shutil.copytree(finished / name, folder / name)
    one = ("--site", "central", "--variant", "dgf")
    aucs = {}
    for version, setting in (("1", ()), ("2", ("--set", "crossval.multimodal_epochs=1"))):
        called(folder, "crossval", *one, *setting)
        registered = ("--set", "register.minimum_gain=-1.0", "--set", "register.variant=dgf")
        called(folder, "register", "--site", "central", *setting, *registered)
        metrics = json.loads((folder / "artifacts/crossval/central/dgf/metrics.json").read_text())
        aucs[version] = metrics["pooled"]["auc"]
    worse, better = sorted(aucs, key=lambda version: aucs[version])
    assert aucs[worse] < aucs[better]

    def champion():
        return str(client(folder).get_model_version_by_alias("dgfnet-central", "champion").version)

    def answers():
        called(folder, "predict", "central", "data", "--out", "answers.csv")
        return pd.read_csv(folder / "answers.csv")

    assert champion() == "2"  # with minimum_gain -1 the newest is
    called(folder, "promote", "central", worse, "--set", "register.minimum_gain=-1.0")
    assert champion() == worse
    before = answers()
    assert set(before["version"]) == {int(worse)}
    called(folder, "promote", "central", better)
    assert champion() == better
    assert (answers()["probability"] != before["probability"]).any()
    said = called(folder, "promote", "central", worse).stdout
    assert "NOT MET  AUC less the champion's, shared nodules" in said
    assert champion() == better
    called(folder, "rollback", "central")
    assert champion() == worse
    pd.testing.assert_frame_equal(answers(), before)


def test_running_again_trains_nothing_and_makes_no_new_run(changeable):
    before = {
        name: len(runs(changeable, name)) for name in ("dgfnet-central", "dgfnet-lateral", "dgfnet-pretrain")
    }
    stamps = {
        path: path.stat().st_mtime_ns for path in (changeable / "work/fits").glob("*/weights.safetensors")
    }
    tables = {
        path: path.read_bytes() for path in (changeable / "artifacts/crossval").glob("*/*/out_of_fold.csv")
    }
    called(changeable, "crossval")
    called(changeable, "register")
    assert {name: len(runs(changeable, name)) for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path: path.read_bytes() for path in tables} == tables
    assert len(client(changeable).search_model_versions("name = 'dgfnet-central'")) == 1


def test_a_run_killed_after_its_fit_was_written_is_finished_by_the_next_call(changeable):
    child = next(run for run in runs(changeable, "dgfnet-central") if run.data.tags.get("fold") == "1")
    client(changeable).update_run(child.info.run_id, "RUNNING")
    client(changeable).set_tag(child.info.run_id, "dgfnet.process", f"{socket.gethostname()}:999999999")
    called(changeable, "crossval")
    assert client(changeable).get_run(child.info.run_id).info.status == "FINISHED"


def test_a_changed_setting_repeats_only_what_it_touches(changeable):
    fits = {path.name for path in (changeable / "work/fits").iterdir()}
    called(
        changeable,
        "crossval",
        "--site",
        "lateral",
        "--variant",
        "concat",
        "--set",
        "crossval.multimodal_epochs=1",
    )
    new = {path.name for path in (changeable / "work/fits").iterdir()} - fits
    names = {json.loads((changeable / "work/fits" / key / "fit.json").read_text())["name"] for key in new}
    assert names == {"lateral/concat/fold0", "lateral/concat/fold1"}


def test_diverging_training_stops_with_a_clear_error_and_a_failed_run(changeable):
    done = called(
        *(changeable, "crossval", "--site", "central", "--variant", "us_multitask"),
        *("--set", "training.learning_rate=1.0e+30"),
        check=False,
        ray=True,
    )
    assert done.returncode == 2
    assert "lower training.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    statuses = [
        run.info.status for name in ("dgfnet-pretrain", "dgfnet-central") for run in runs(changeable, name)
    ]
    assert "FAILED" in statuses
    assert "RUNNING" not in statuses


def test_mlflow_run_works_and_logs_where_the_tracking_uri_points(changeable, empty_store, tmp_path):
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'elsewhere.db')}"
    # the code of one folder, the project of another
    command = ["mlflow", "run", str(ROOT), "-e", "crossval", "--env-manager", "local"]
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
        cwd=changeable,
        env=environment() | {"MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store = MlflowClient(uri)
    found = store.search_runs([store.get_experiment_by_name("dgfnet-lateral").experiment_id])
    networks = [run for run in found if "baseline" not in run.data.tags]
    parents = [run for run in networks if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == ["us_multitask"]
    assert len(networks) == 3  # a parent and two folds
    assert {run.info.status for run in found} == {"FINISHED"}
    project_run = store.get_run(parents[0].data.tags["dgfnet.project_run"])
    assert project_run.info.status == "FINISHED"
    provenance = json.loads((changeable / "artifacts/crossval/provenance.json").read_text())
    assert "sweep.retries=0" in provenance["overrides"]


def test_ablations_stand_beside_dgf_and_go_when_they_are_no_longer_named(changeable):
    folder, table = changeable / "artifacts/crossval/central", "artifacts/compare/central/table.csv"
    before = (folder / "dgf/out_of_fold.csv").read_bytes()

    def trained():
        return {path.parent.name for path in changeable.glob("work/fits/*/fit.json")}

    known = trained()
    values = {"by_sum": {"network.dgf.combiner": "sum"}}
    narrowed = ("--site", "central", "--set", f"crossval.ablations={json.dumps(values)}")
    called(changeable, "crossval", *narrowed)
    called(changeable, "compare", *narrowed)
    assert (folder / "dgf/out_of_fold.csv").read_bytes() == before
    own = [pd.read_csv(folder / name / "out_of_fold.csv") for name in ("dgf", "dgf-by_sum")]
    assert own[0]["nodule_id"].equals(own[1]["nodule_id"])
    assert not own[0]["probability"].equals(own[1]["probability"])
    assert len(trained() - known) == 2  # the fusion of each fold, and no parent
    assert "dgf-by_sum" in set(pd.read_csv(changeable / table)["variant"])
    (run,) = [run for run in runs(changeable, "dgfnet-central") if run.info.run_name == "dgf-by_sum"]
    assert run.data.params["network.dgf.combiner"] == "sum"
    same = {"same": {"network.dgf.combiner": "product"}}
    done = called(
        changeable, "crossval", *narrowed[:3], f"crossval.ablations={json.dumps(same)}", check=False
    )
    assert (done.returncode, "its networks are those of dgf" in done.stderr) == (2, True)
    called(changeable, "crossval", "--site", "central")
    called(changeable, "compare", "--site", "central")
    assert not (folder / "dgf-by_sum").exists()
    assert "dgf-by_sum" not in set(pd.read_csv(changeable / table)["variant"])


@pytest.mark.slow
def test_nine_variants_and_two_sites_fill_the_papers_tables(finished, tmp_path):
    folder = copy_of(finished, tmp_path / "matrix")
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
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=1800
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
        path.parent.name: path.stat().st_mtime_ns
        for path in (folders[1] / "work/fits").glob("*/digests.json")
    }
    dgfnet(folders[1], "crossval", *longer)
    for key, stamp in done.items():
        assert (folders[1] / "work/fits" / key / "digests.json").stat().st_mtime_ns == stamp
    for path in (folders[0] / "artifacts/crossval").glob("*/*/out_of_fold.csv"):
        assert (folders[1] / path.relative_to(folders[0])).read_bytes() == path.read_bytes()
    for name in ("dgfnet-central", "dgfnet-lateral", "dgfnet-pretrain"):
        counts = [len(runs(folder, name)) for folder in folders]
        assert counts[0] == counts[1]
        assert {run.info.status for run in runs(folders[1], name)} == {"FINISHED"}
