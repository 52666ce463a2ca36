"""A project that was copied or moved keeps its runs and models to itself."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dgfnet import moved, tracking


@pytest.fixture
def original(tmp_path, empty_store):
    """A project folder with a run, an artifact of it, and a model version that names the artifact."""
    folder = tmp_path / "first project"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment = tracking.prepare(uri, "dgfnet-central")
    run = tracking.open_run(uri, experiment, "a", "identity", {})
    (tmp_path / "table.csv").write_text("1")
    run.artifact(tmp_path / "table.csv")
    client = MlflowClient(uri, uri)  # other tests may have named another registry
    client.create_registered_model("dgfnet-central")
    client.create_model_version("dgfnet-central", f"{artifacts(folder)}/model", run.run_id)
    return folder


def store(folder):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def artifacts(folder):
    experiment = store(folder).get_experiment_by_name("dgfnet-central").experiment_id
    (run,) = store(folder).search_runs([experiment], "attributes.run_name = 'a'")
    return run.info.artifact_uri


def texts(folder):
    """Every cell of the store."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return "\n".join(database.iterdump())


def test_a_copy_writes_beside_itself_and_leaves_the_original_alone(original, tmp_path, capsys):
    copy = tmp_path / "second"
    shutil.copytree(original, copy)
    before = texts(original)
    assert moved.follow(copy / "mlflow.db")
    assert f"mlflow.db came from {original.as_uri().removeprefix('file://')}; its" in capsys.readouterr().err
    assert texts(original) == before
    assert original.as_uri() not in texts(copy)
    assert artifacts(copy).startswith(f"{copy.as_uri()}/mlruns/dgfnet-central/")
    (version,) = store(copy).search_model_versions("name='dgfnet-central'")
    assert version.source == f"{artifacts(copy)}/model"
    uri = f"sqlite:///{copy / 'mlflow.db'}"
    # a new run: MLflow remembers, per process, where the artifacts of one are
    another = tracking.open_run(uri, tracking.prepare(uri, "dgfnet-central"), "b", "other", {})
    (tmp_path / "other.csv").write_text("2")
    another.artifact(tmp_path / "other.csv")
    assert [path.parents[3] for path in copy.rglob("other.csv")] == [copy / "mlruns"]
    assert not list(original.rglob("other.csv"))
    assert not moved.follow(copy / "mlflow.db")  # once is enough


def test_a_moved_project_finds_its_artifacts(original, tmp_path):
    there = tmp_path / "elsewhere" / "project"
    there.parent.mkdir()
    original.rename(there)
    assert moved.follow(there / "mlflow.db")
    (found,) = store(there).list_artifacts(artifacts(there).split("/")[-2])
    assert found.path == "table.csv"


def test_a_project_next_door_whose_name_begins_alike_is_another(original, tmp_path):
    twin = tmp_path / "first project b"
    shutil.copytree(original, twin)
    moved.follow(twin / "mlflow.db")
    assert artifacts(twin).startswith(f"{twin.as_uri()}/mlruns/")


@pytest.mark.parametrize("what", ["in place", "without artifacts", "no database", "another database"])
def test_nothing_is_rewritten_where_nothing_moved(original, tmp_path, what):
    database = original / "mlflow.db"
    if (
        what == "without artifacts"
    ):  # the database alone was taken elsewhere: its artifacts are where they were
        (tmp_path / "alone").mkdir()
        database = shutil.copy(database, tmp_path / "alone")
    elif what == "no database":
        database.unlink()
    elif what == "another database":
        database.unlink()
        with closing(sqlite3.connect(database)) as other:
            other.execute("CREATE TABLE x (y)")
    database = Path(database)
    assert not moved.follow(database)
    assert database.exists() == (what != "no database")
