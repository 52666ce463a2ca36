"""`dgfnet serve` on a registry: a champion whose stored code no release can run any more is served."""

import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import mlflow
import pytest
import requests
from made import case

from dgfnet import tracking
from dgfnet.bundle.layout import CODE, FORMAT
from dgfnet.errors import InputError
from dgfnet.registry.seal import sealed
from dgfnet.serve import serve
from dgfnet.serving.access import Access
from dgfnet.serving.connection import Limits
from dgfnet.settings import load

NAME = "dgfnet-central"


@pytest.fixture(scope="module")
def project(model, params, tmp_path_factory):
    """A folder with settings, store and a champion whose code imports what has moved."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(params.read_text())
    settings = load(folder / "params.yaml")
    client = tracking.registry(settings)
    experiment = tracking.prepare(tracking.store(settings), NAME)
    run = client.create_run(experiment).info.run_id
    model = shutil.copytree(model, folder / "model")
    (model / "scorer.py").write_text("from dgfnet.a_room_that_moved import Scorer\n")
    with zipfile.ZipFile(model / "artifacts" / CODE, "w") as code:
        code.writestr("dgfnet/__init__.py", "raise ImportError('code of the version was run')\n")
    path = list(sys.path)
    with pytest.raises((ImportError, mlflow.MlflowException)):
        mlflow.pyfunc.load_model(str(model))  # as `mlflow models serve` would
    sys.path[:] = path  # MLflow leaves the version's code there, and processes started later would run it
    client.log_artifacts(run, str(model), "model")
    client.create_registered_model(NAME)
    source = f"{client.get_run(run).info.artifact_uri}/model"
    client.create_model_version(NAME, source, run, tags=FORMAT | sealed(model))
    client.set_registered_model_alias(NAME, "champion", "1")
    return folder


def test_a_port_in_use_is_told_before_the_model_is_loaded(project, monkeypatch):
    monkeypatch.setattr("dgfnet.serve.load_champion", lambda *_: pytest.fail("the model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = f"port {port} of 127.0.0.1 is in use by another program; name another with --port"
        with pytest.raises(InputError, match=said):
            serve(load(project / "params.yaml"), "central", "127.0.0.1", port, Limits(), Access())


def test_before_register_nothing_is_served_and_no_store_is_made(params, tmp_path, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow leaves there where others looked
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "params.yaml").write_text(params.read_text())
    with pytest.raises(
        InputError, match=r"^the registry has no dgfnet-central@champion; run the stage register$"
    ):
        serve(load(tmp_path / "params.yaml"), "central", "127.0.0.1", 0, Limits(), Access())
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_version_is_served_without_its_code(project):
    command = [Path(sys.executable).with_name("dgfnet"), "serve", "central", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("dgfnet-central version 1 answers at http://127.0.0.1:")
            response = requests.post(line.split()[-1], json={"inputs": [case()]}, timeout=60)
        finally:
            process.terminate()
    (row,) = response.json()["predictions"]
    assert (row["nodule"], row["variant"], row["model"], row["version"]) == ("n0", "dgf", NAME, "1")
    assert 0 < row["probability"] < 1


def test_a_time_limit_that_is_no_number_is_one_message(params, monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "soon")
    with pytest.raises(InputError, match=r"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.*expected whole seconds"):
        serve(load(params), "central", "127.0.0.1", 0, Limits(), Access())
