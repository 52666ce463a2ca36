"""A tiny project folder, the real command line in it, and what MLflow then holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
TINY = {
    "phantom": {"patients": 40, "external_patients": 12},
    "cohort": {"folds": 2, "minimum_per_class": 2},
    "preprocess": {"us_size": 32, "ct_size": 32},
    "network": {"width": 0.125},
    "pretrain": {"epochs": 1},
    "crossval": {"unimodal_epochs": 2, "multimodal_epochs": 2, "validate_every": 1},
    "sweep": {"checkpoint_every": 1},
    "register": {
        "minimum_auc_lower_bound": 0.0,
        "calibration_slope": [-1e9, 1e9],
        "minimum_group_accuracy": 0.0,
        "require_lineage": False,
    },
}


def project(folder: Path) -> Path:
    """A project folder with tiny settings, as a user's clone would be."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in TINY.items():
        raw[section] |= values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return folder


def environment() -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "RAY_ADDRESS")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}


def dgfnet(folder: Path, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        ["dgfnet", *arguments],
        cwd=folder,
        env=environment() | extra,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path, experiment: str) -> list:
    store = client(folder)
    found = store.get_experiment_by_name(experiment)
    return store.search_runs([found.experiment_id], max_results=1000)
