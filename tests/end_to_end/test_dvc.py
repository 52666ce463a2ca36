"""DVC as its users know it: another machine, promotions it sees, and experiments."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from whole import ROOT, client, environment, project, put_under_git_and_dvc, runs

from dgfnet.registry.aliases import CHAMPION
from dgfnet.registry.facts import facts

pytestmark = pytest.mark.slow
GIT = ("git", "-c", "user.name=n", "-c", "user.email=e@x")


def run(folder, *command, status=0, **extra):
    """What a command says, errors after the rest."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment() | extra,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def reran(said):
    return re.findall(r"Running stage '(\w+)'", said)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A project in which `dvc repro` has run, with its results committed and pushed to a folder."""
    top = tmp_path_factory.mktemp("dvc")
    folder = project(top / "here")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "project", folder / "project", ignore=ignored)
    (folder / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    run(folder, "dgfnet", "phantom", PYTHONPATH=str(folder / "project"))
    put_under_git_and_dvc(folder)
    run(folder, "dvc", "config", "cache.type", "hardlink,copy")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    run(folder, "dvc", "remote", "add", "-q", "-d", "folder", str(top / "remote"))
    run(folder, *GIT, "add", ".dvc")
    run(folder, *GIT, "commit", "-q", "-m", "where the results go")  # what is trained has a clean commit
    run(folder, "dvc", "repro", PYTHONPATH=str(folder / "project"))
    run(folder, *GIT, "add", "dvc.lock", "champions.json", ".dvc")
    run(folder, *GIT, "commit", "-q", "-m", "results")
    run(folder, "dvc", "push", "-q")
    return folder


def test_another_machine_has_everything_that_is_needed_and_trains_nothing(here, tmp_path):
    there = tmp_path / "there"
    run(tmp_path, "git", "clone", "-q", str(here), str(there))
    assert not (there / "work").exists()
    own = {"PYTHONPATH": str(there / "project")}
    run(there, "dvc", "pull", "-q")
    assert reran(run(there, "dvc", "repro", **own)) == []
    assert not (there / "work").exists()
    # attributions and page are made from what was pulled, and are the same
    where = "artifacts/attribution/central/contributions.csv"
    before = (there / where).read_bytes()
    run(there, "dgfnet", "attribute", "--set", "attribute.random_labels=false", **own)
    assert (there / where).read_bytes() == before
    assert not list(there.glob("work/fits/*"))
    run(there, "dgfnet", "report", **own)
    assert (there / "artifacts/report/index.html").stat().st_size > 100_000
    said = run(there, "dgfnet", "reproduce", "central", "1", status=2, **own)
    assert "MLFLOW_TRACKING_URI" in said
    assert len(said.strip().splitlines()) == 1, said
    # as that sentence says
    for name in ("mlflow.db", "id.key"):
        (there / name).unlink(missing_ok=True)
        shutil.copy(here / name, there / name)
    shutil.rmtree(there / "mlruns", ignore_errors=True)
    shutil.copytree(here / "mlruns", there / "mlruns")
    assert "\nagrees\n" in run(there, "dgfnet", "reproduce", "central", "1", **own)


def test_an_experiment_in_a_temporary_copy_logs_to_the_projects_store(here):
    own = {"PYTHONPATH": str(here / "project")}
    fits = {path.name for path in (here / "work/fits").iterdir()}
    before = len(runs(here, "dgfnet-central"))
    key = (here / "id.key").read_bytes()
    said = run(
        here,
        "dvc",
        "exp",
        "run",
        "--temp",
        "-S",
        "crossval.multimodal_epochs=1",
        "-n",
        "short",
        "compare",
        **own,
    )
    assert reran(said) == ["tune", "crossval", "compare"]  # a search reads the section, too
    assert len(runs(here, "dgfnet-central")) > before
    assert (here / "id.key").read_bytes() == key
    new = {path.name for path in (here / "work/fits").iterdir()} - fits
    # the fusions of two sites and two folds; what they start from was trained before
    names = {json.loads((here / "work/fits" / name / "fit.json").read_text())["name"] for name in new}
    variants = yaml.safe_load((here / "params.yaml").read_text())["crossval"]["variants"]
    fusions = [name for name in variants if name in ("concat", "dgf")]
    assert len(names) == len(new) == 2 * 2 * len(fusions)
    diff = json.loads(run(here, "dvc", "metrics", "diff", "HEAD", "short", "--json"))
    told = {name.rsplit(".", 1)[-1] for name in diff["artifacts/compare/metrics.json"]}
    assert told <= {"auc", "sensitivity", "specificity", "brier", "calibration_slope"}
    assert {"auc", "brier"} <= told


def test_dvc_sees_a_promotion_and_a_rollback(here):
    own = {"PYTHONPATH": str(here / "project")}
    assert stale(here) == set()
    run(here, "dgfnet", "register", "--set", "register.scoring=best_fold", **own)
    assert champions(here)["dgfnet-central"]["version"] == "2"  # no worse on the same nodules
    assert stale(here) == {"external", "report"}
    run(here, "dgfnet", "rollback", "central", **own)
    run(here, "dgfnet", "rollback", "lateral", **own)
    assert stale(here) == set()  # as it was when external ran
    run(here, "dgfnet", "promote", "central", "2", **own)
    assert stale(here) == {"external", "report"}
    run(here, "dgfnet", "rollback", "central", **own)
    # elsewhere: DVC cannot see that, until somebody looks
    client(here).set_registered_model_alias("dgfnet-central", CHAMPION, "2")
    assert stale(here) == set()
    assert "run dgfnet champions" in run(here, "dgfnet", "external", status=2, **own)
    assert "dgfnet-central: version 2" in run(here, "dgfnet", "champions", **own)
    assert stale(here) == {"external", "report"}


def champions(folder):
    return json.loads((folder / "champions.json").read_text())


def stale(folder):
    """Stages with a changed champions.json, as `dvc status` says it."""
    told = json.loads(run(folder, "dvc", "status", "--json").strip().splitlines()[-1])
    return {
        name.split(":")[-1]
        for name, changes in told.items()
        if any(
            "champions.json" in change.get("changed deps", {})
            for change in changes
            if isinstance(change, dict)
        )
    }


def test_an_experiment_goes_through_the_gate_as_any_other_run(here):
    """Last in this file: it moves the champions. Its settings are not committed; the version keeps them."""
    own = {"PYTHONPATH": str(here / "project")}
    before, fits = champions(here), {path.name for path in (here / "work/fits").iterdir()}
    said = run(here, "dvc", "exp", "run", "--temp", "-S", "register.coverage=0.8", "-n", "covered", **own)
    assert reran(said)[0] == "register"
    assert {path.name for path in (here / "work/fits").iterdir()} >= fits
    for name, champion in champions(here).items():  # of the project itself, not of DVC's copy
        version = client(here).get_model_version(name, champion["version"])
        assert int(champion["version"]) > int(before[name]["version"])
        assert facts(version)["coverage"] == "0.8"
    assert "champion 1 -> " in run(here, "dgfnet", "history", "lateral", **own).splitlines()[-1]
