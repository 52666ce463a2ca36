"""What every folder of tests shares: small settings, and Hypothesis without a stopwatch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads as cores for each of as many processes are too many
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings

from dgfnet.settings import Settings, load

PARAMS = Path(__file__).parents[1] / "params.yaml"
TINY = (
    "preprocess.us_size=32",
    "preprocess.ct_size=32",
    "network.width=0.0625",  # 8, 8, 8, 16, 32 channels
    "network.pooling=global",  # the paper's inputs; tests of masks say so
    "network.mask_channel=false",
    "network.tlr.size=75",
    "network.tlr.annealing=3",
    "training.batch=8",
)

# Hypothesis times each example; on a busy machine that fails tests that are right.
hypothesis_settings.register_profile("fast", deadline=None, max_examples=25)
hypothesis_settings.register_profile("full", deadline=None)  # make test-slow
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


# One file is one worker's. The first makes `finished`; by the time another asks for it, it is there.
LONGEST = (
    *("test_commands", "test_searches_and_odd_cohorts", "test_review", "test_phantom"),
    *("test_attribute_stage", "test_audit", "test_changed_project", "test_whole_pipeline"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: whoever gets one of them last works on alone."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def params() -> Path:
    """The project's params.yaml."""
    return PARAMS


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """The project's settings at sizes that train in milliseconds."""
    return load(PARAMS, TINY)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is made once and used by all workers of pytest-xdist, behind a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def drawn(common: Path) -> Path:
    """Folders data and data-truth: 40 patients and 12 external ones, drawn by the command."""
    folder, made = common / "phantom", common / "phantom.made"
    with FileLock(common / "phantom.lock"):
        if not made.exists():
            folder.mkdir()
            few = ("--patients", "40", "--set", "phantom.external_patients=12")
            command = [sys.executable, "-m", "dgfnet.cli", "phantom", "--params", str(PARAMS), *few]
            subprocess.run([*command, "--out", str(folder / "data")], check=True)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def empty_store(common: Path) -> Path:
    """An SQLite store that MLflow has made: a copy takes no time, making one takes seconds."""
    path, started = common / "empty.db", common / "started.db"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            from dgfnet import tracking

            tracking.client(f"sqlite:///{started}").search_experiments()
            started.rename(path)
    return path


# as the process began
STORES = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    """MLflow keeps its places in globals, the environment and sys.path; no test inherits them."""
    path = list(sys.path)
    _forget_stores()  # of a fixture that several tests share
    yield
    sys.path[:] = path
    _forget_stores()


def _forget_stores() -> None:
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    for name, value in STORES.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
