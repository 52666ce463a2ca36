import made
import pytest
from mlflow.models import Model

from dgfnet import tracking
from dgfnet.bundle.layout import FORMAT
from dgfnet.registry.seal import sealed
from dgfnet.serving.pyfunc import save_model
from dgfnet.settings import load


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "bundle"
    made.write(folder)
    return folder


@pytest.fixture(scope="session")
def model(bundle, tmp_path_factory):
    """The bundle as an MLflow model, as the stage `register` logs it."""
    path = tmp_path_factory.mktemp("model") / "m"
    save_model(bundle, ("us", "ct"), path, Model())
    return path


@pytest.fixture(scope="session")
def served_project(model, params, tmp_path_factory):
    """A project folder with settings, store and a champion."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "params.yaml").write_text(params.read_text())
    settings = load(folder / "params.yaml")
    client = tracking.registry(settings)
    run = client.create_run(tracking.prepare(tracking.store(settings), "dgfnet-central")).info.run_id
    client.log_artifacts(run, str(model), "model")
    client.create_registered_model("dgfnet-central")
    source = f"{client.get_run(run).info.artifact_uri}/model"
    client.create_model_version("dgfnet-central", source, run, tags=FORMAT | sealed(model))
    client.set_registered_model_alias("dgfnet-central", "champion", "1")
    return folder
