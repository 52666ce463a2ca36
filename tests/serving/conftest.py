import made
import pytest
from mlflow.models import Model

from dgfnet.serving.pyfunc import save_model


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
