"""What every folder of tests shares: small settings, and Hypothesis without a stopwatch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads as cores for each of as many processes are too many
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings as hypothesis_settings

from dgfnet.settings import Settings, load

PARAMS = Path(__file__).parents[1] / "params.yaml"
TINY = (
    "preprocess.us_size=32",
    "preprocess.ct_size=32",
    "network.width=0.0625",  # 8, 8, 8, 16, 32 channels
    "network.tlr.size=75",
    "network.tlr.annealing=3",
    "training.batch=8",
)

# Hypothesis times each example; on a busy machine that fails tests that are right.
hypothesis_settings.register_profile("no_deadline", deadline=None)
hypothesis_settings.load_profile("no_deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: whoever gets one of them last works on alone."""
    items.sort(key=lambda item: item.path.parent.name != "end_to_end")


@pytest.fixture(scope="session")
def params() -> Path:
    """The project's params.yaml."""
    return PARAMS


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """The project's settings at sizes that train in milliseconds."""
    return load(PARAMS, TINY)


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    """MLflow keeps its places in globals and in the environment; no test inherits them."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = {name: os.environ.get(name) for name in names}
    yield
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
