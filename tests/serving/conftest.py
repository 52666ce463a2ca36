import made
import mlflow
import pytest

from dgfnet.serving.pyfunc import model_arguments


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "bundle"
    made.write(folder)
    return folder


@pytest.fixture(scope="session")
def model(bundle, tmp_path_factory):
    """The bundle as an MLflow model, as the stage `register` logs it."""
    path = tmp_path_factory.mktemp("model") / "m"
    mlflow.pyfunc.save_model(path, **model_arguments(bundle, ("us", "ct")))
    return path
