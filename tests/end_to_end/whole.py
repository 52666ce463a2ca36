"""A tiny project folder, the real command line in it, and what MLflow then holds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import cv2
import pandas as pd
import pydicom
import pytest
import requests
import yaml
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from dgfnet.cli import main
from dgfnet.errors import InputError
from dgfnet.sweep import group
from dgfnet.sweep.trial import run_trial, tell_restarts, unfinished

ROOT = Path(__file__).parents[2]
PLANTED = "MUSTERMANN"
TINY = {
    "phantom": {"patients": 40, "external_patients": 12},
    "cohort": {"folds": 2, "minimum_per_class": 2},
    "preprocess": {"us_size": 32, "ct_size": 32},
    "network": {"width": 0.125},
    "outline": {"steps": 2, "batch": 4, "width": 2},
    "pretrain": {"epochs": 1},
    "crossval": {"unimodal_epochs": 2, "multimodal_epochs": 2, "validate_every": 1},
    "sweep": {"checkpoint_every": 1},
    "register": {
        "minimum_auc_lower_bound": 0.0,
        "minimum_gain_over_unimodal": -1.0,
        "minimum_gain_over_simpler": -1.0,
        "calibration_slope": [-1e9, 1e9],
        "minimum_group_accuracy": 0.0,
        "smallest_group": 2,
        "require_lineage": False,
    },
}


def project(folder: Path, drawn: Path | None = None) -> Path:
    """A project folder with tiny settings, as a user's clone would be, with a phantom drawn before."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in TINY.items():
        raw[section] |= values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    for name in ("data", "data-truth") if drawn else ():
        shutil.copytree(drawn / name, folder / name)
    return folder


DROPPED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "RAY_ADDRESS")


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in DROPPED}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}


def dgfnet(folder: Path, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    """The command as a user starts it, in a process of its own."""
    done = subprocess.run(
        ["dgfnet", *arguments],
        cwd=folder,
        env=environment() | extra,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def called(
    folder: Path, *arguments: str, check: bool = True, ray: bool = False, **extra: str
) -> subprocess.CompletedProcess:
    """The same command in this process, which starts no interpreter: 5 s of imports less.

    It is done on one core, so that no pool of processes starts either, and without `ray` fits are made
    one after the other here, where Ray would import everything again in each of its workers.
    """
    said, complained = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, extra),  # what the command sets goes with it
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        patch.chdir(folder)
        for name in DROPPED:
            os.environ.pop(name, None)
        # by run, whatever the store: what is logged to a copy would lie in the project it was copied from
        utils._artifact_repos_cache.clear()
        if not ray:
            patch.setattr(os, "sched_getaffinity", lambda _: {0})
            patch.setattr(group, "run_trials", one_by_one)
        try:
            status = main(arguments) or 0
        except SystemExit as stopped:
            status = stopped.code
    done = subprocess.CompletedProcess(arguments, status, said.getvalue(), complained.getvalue())
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def one_by_one(label: str, trials: list, *_: object) -> None:
    """In place of `run_trials`: the same trials, without Ray."""
    for trial in (waiting := unfinished(label, trials)):
        run_trial(trial, lambda _: None)
    tell_restarts(label, waiting)
    if failed := [f"{trial.task.name}: {trial.failure()}" for trial in trials if not trial.is_done()]:
        raise InputError("\n".join(failed))


def copy_of(project: Path, folder: Path) -> Path:
    """A copy of a project in which MLflow's store names its artifacts there and not in the original."""
    shutil.copytree(project, folder, symlinks=True)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        texts = [
            (table, column)
            for table in tables
            for _, column, kind, *_ in store.execute(f"PRAGMA table_info('{table}')").fetchall()
            if kind.startswith(("VARCHAR", "TEXT"))
        ]
        for table, column in texts:
            store.execute(
                f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)', (f"{project}/", f"{folder}/")
            )
    return folder


def client(folder: Path) -> MlflowClient:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowClient(uri, registry_uri=uri)  # not that of a test before


def runs(folder: Path, experiment: str) -> list:
    store = client(folder)
    found = store.get_experiment_by_name(experiment)
    return store.search_runs([found.experiment_id], max_results=1000)


def external_cohort(project: Path, folder: Path) -> Path:
    """A project's external nodules in a folder of their own, as another hospital brings them."""
    shutil.copytree(project / "data", folder)
    nodules = pd.read_csv(folder / "nodules.csv", dtype=str)
    nodules[nodules["cohort"] == "external"].to_csv(folder / "nodules.csv", index=False)
    images = pd.read_csv(folder / "images.csv", dtype=str)
    kept = images["nodule_id"].isin(nodules.loc[nodules["cohort"] == "external", "nodule_id"])
    images[kept].to_csv(folder / "images.csv", index=False)
    return folder


def predicted(project: Path, cohort: Path, out: Path) -> pd.DataFrame:
    """The answers of `dgfnet predict central` to a cohort; cells that are empty are empty texts."""
    called(project, "predict", "central", str(cohort), "--out", str(out))
    return pd.read_csv(out, dtype={"nodule_id": str}, keep_default_na=False)


@contextlib.contextmanager
def served(project: Path) -> Iterator[tuple[str, requests.Session]]:
    """`dgfnet serve central` in a process of its own: its first line, and a session that waits for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["dgfnet", "serve", "central", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            session = requests.Session()
            session.mount("http://", HTTPAdapter(max_retries=Retry(connect=20, backoff_factor=0.1)))
            yield process.stdout.readline(), session
        finally:
            process.terminate()


def put_under_git_and_dvc(folder: Path) -> None:
    """Commits settings, cohort and, where it is there, the package."""
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@x")
    for command in (
        ("git", "init", "-q"),
        ("dvc", "init", "-q"),
        ("dvc", "add", "-q", "data"),
        ("git", "add", "params.yaml", "data.dvc", ".gitignore", ".dvc", ".dvcignore"),
        *((("git", "add", "project", "dvc.yaml"),) if (folder / "project").is_dir() else ()),
        (*git, "commit", "-q", "-m", "settings and cohort"),
    ):
        subprocess.run(command, cwd=folder, env=environment(), check=True, timeout=300)


def plant_identities(data: Path) -> None:
    """A name in every id, file name and further column, and in the tags of one picture stored as DICOM."""
    for name in ("nodules.csv", "images.csv"):
        text = (data / name).read_text()
        text = re.sub(r"\b([PE]\d{4})", rf"{PLANTED}-\1", text)
        header, rows = text.split("\n", 1)
        rows = "".join(f"{row},{PLANTED} Erika\n" for row in rows.splitlines())
        (data / name).write_text(f"{header},family\n{rows}")
    for path in [*data.glob("us/*"), *data.glob("ct/*")]:
        path.rename(path.with_name(f"{PLANTED}-{path.name}"))
    images = pd.read_csv(data / "images.csv")
    picture = data / images.loc[images["modality"] == "us", "image"].iloc[0]
    write_dicom(picture, picture.with_suffix(".dcm"))
    images["image"] = images["image"].replace(f"us/{picture.name}", f"us/{picture.stem}.dcm")
    images.to_csv(data / "images.csv", index=False)


def write_dicom(picture: Path, path: Path) -> None:
    """The picture as DICOM, declared clean, with the name where the standard's short list does not look."""
    pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.UltrasoundImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientID, data.PatientIdentityRemoved = PLANTED, "YES"
    data.StudyDescription = data.SeriesDescription = data.StationName = PLANTED
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
