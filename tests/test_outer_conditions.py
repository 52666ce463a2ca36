"""What is wrong around the program is one sentence: an old Python, no git, no DVC, a read-only folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dgfnet import provenance, tracking
from dgfnet.errors import InputError
from dgfnet.reproduce.checkout import check_commit
from dgfnet.settings import Settings, load

ROOT = Path(__file__).parents[1]
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")  # root may write everywhere
OLD = """#!/bin/sh
case "$1" in --version) echo Python 3.9.2;; -c) exit 1;; *) mkdir "$3";; esac
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow leaves there where others looked
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return load(tmp_path / "params.yaml")


@pytest.fixture
def no_programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


@pytest.mark.parametrize(
    ("script", "found"), [(OLD, "Python 3.9.2"), (None, "not found")], ids=["too old", "not there"]
)
def test_an_old_python_is_told_before_an_environment_is_made(
    tmp_path: Path, script: str | None, found: str
) -> None:
    python, folder = tmp_path / "bin" / "python3.9", tmp_path / "checkout"
    python.parent.mkdir()
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    said = done.stderr.splitlines()[0]
    assert said.startswith(f"DGFNet needs Python 3.11 or newer, and {python} is: ")
    assert found in said
    assert said.endswith("name another, for example: make demo PYTHON=/usr/bin/python3.12")
    assert not (folder / ".venv").exists()


@pytest.mark.usefixtures("no_programs")
def test_without_git_results_say_unknown_and_a_sentence_says_why(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    provenance._say_no_git.cache_clear()
    assert [provenance.git_commit(settings.root) for _ in range(2)] == ["unknown"] * 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("git is not installed, or not on PATH: results will not tell which code made them")


@pytest.mark.usefixtures("no_programs")
def test_without_git_nothing_is_reproduced(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"^git is not installed, or not on PATH; install it and try again$"):
        check_commit(settings.root, "a" * 40)


def test_without_dvc_a_cohort_under_dvc_is_not_taken_for_a_changed_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.root / "data.dvc").write_text("outs:\n- md5: abc.dir\n  path: data\n")
    monkeypatch.setitem(sys.modules, "dvc", None)
    with pytest.raises(InputError, match="the cohort is under DVC, and DVC is not installed in"):
        provenance.checked_md5(settings)


@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="needs setpriv, which takes root's privileges away"
)
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("serve central", "the registry has no dgfnet-central@champion; run the stage register"),
        ("history central", "there is no MLflow store in"),
        ("phantom", "may not be written or read (Permission denied); change that and run it again"),
        ("report", "may not be written or read (Permission denied); change that and run it again"),
    ],
)
def test_a_read_only_project_folder_is_one_sentence_at_once(
    settings: Settings, command: str, said: str
) -> None:
    settings.root.chmod(0o555)
    try:
        begin = time.monotonic()
        done = subprocess.run(
            [*UNPRIVILEGED, sys.executable, "-m", "dgfnet.cli", *command.split()],
            cwd=settings.root,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT / "project")},
        )
    finally:
        settings.root.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dgfnet {command.split()[0]}: ")
    assert said in line
    assert time.monotonic() - begin < 60  # MLflow alone tries for almost two minutes


def test_a_store_elsewhere_may_be_named_for_a_read_only_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="or name a store elsewhere with MLFLOW_TRACKING_URI"):
        tracking.store(settings)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking.store(settings) == "http://server:5000"
