"""Stages are interrupted at random moments, run again, and must end with the tables of an undisturbed run.

    make test-faults                             # 20 rounds; moments follow from a seed, which is printed
    DGFNET_FAULTS="seed=7 rounds=40 stopped=60" make test-faults

Every kind of interruption comes at least once in 20 rounds. A full disk is a small file system of its own,
which only root can mount; without that these rounds say that they were skipped.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "end_to_end"))
from whole import client, copy_of, dgfnet, environment, project, put_under_git_and_dvc

pytestmark = pytest.mark.faults

GIVEN = {"rounds": "20", "stopped": "60"} | dict(
    pair.split("=") for pair in os.environ.get("DGFNET_FAULTS", "").split()
)
SEED = int(GIVEN.get("seed", time.time_ns() % 10**6))
ROUNDS, STOPPED = int(GIVEN["rounds"]), float(GIVEN["stopped"])
STAGES = ("pretrain", "tune", "crossval", "register", "attribute")
TABLES = (
    *("artifacts/pretrain/fits.json", "artifacts/crossval/*/*/out_of_fold.csv"),
    *("artifacts/attribution/*/contributions.csv", "artifacts/attribution/*/masses.csv"),
)
SETTINGS = {"sites": ["central"], "unimodal": 4, "multimodal": 3}
TRIES = 3  # of the same command after an interruption
CLOCK = """import os, time
for name in ("time", "time_ns"):
    def jumping(true=getattr(time, name), unit=10**9 if name.endswith("ns") else 1):
        now = true()
        return now + unit * 86400 * (-1 if int(now / unit) // 3 % 2 else 1)
    setattr(time, name, jumping)
"""


@dataclass(frozen=True)
class Undisturbed:
    """The project before each stage, and the tables and seconds of that stage when nothing interrupts it."""

    before: dict[str, Path]
    tables: dict[str, dict[str, str]]
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def undisturbed(drawn, tmp_path_factory) -> Undisturbed:
    """Runs every stage once."""
    folder = project(tmp_path_factory.mktemp("undisturbed") / "project", drawn)
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    settings["base"]["sites"] = SETTINGS["sites"]
    settings["crossval"] |= {
        "unimodal_epochs": SETTINGS["unimodal"],
        "multimodal_epochs": SETTINGS["multimodal"],
    }
    settings["tune"] |= {"trials": 2, "variants": ["us_multitask"], "grace_epochs": 1, "inner_folds": 2}
    settings["attribute"] |= {"random_labels": False, "checks": 2, "subset": 2, "cases": 1, "repeat": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    put_under_git_and_dvc(folder)
    for stage in ("cohort", "audit", "preprocess"):
        dgfnet(folder, stage)
    before, found, seconds = {}, {}, {}
    for stage in STAGES:
        before[stage] = copy_of(folder, folder.parent / f"before-{stage}")
        start = time.monotonic()
        dgfnet(folder, stage)
        seconds[stage] = time.monotonic() - start
        found[stage] = tables(folder)
    return Undisturbed(before, found, seconds)


def tables(folder: Path) -> dict[str, str]:
    """sha256 of every table there is."""
    paths = sorted(path for name in TABLES for path in folder.glob(name))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@dataclass(frozen=True)
class Round:
    """One interruption: the project, the stage, seconds from its start, and chance."""

    folder: Path
    stage: str
    after: float
    rng: random.Random

    def start(self, **extra: str) -> subprocess.Popen[str]:
        """Starts the stage in a process group of its own."""
        return subprocess.Popen(
            ["dgfnet", self.stage],
            cwd=self.folder,
            env=environment() | extra,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def family(running: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and everything it started."""
    try:
        top = psutil.Process(running.pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: list[psutil.Process], sign: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(sign)
        except psutil.NoSuchProcess:
            continue


def ended(running: subprocess.Popen[str]) -> str:
    """Waits for the end, and returns what was said on the way."""
    return running.communicate(timeout=900)[1]


def killed(each: Round) -> str:
    """SIGKILL of the command and everything it started."""
    running = each.start()
    time.sleep(each.after)
    send(family(running), signal.SIGKILL)
    ended(running)  # whatever it said, it said in the middle of something
    return ""


def worker_killed(each: Round) -> str:
    """SIGKILL of one process below the command: a Ray worker, where there is one."""
    running = each.start()
    time.sleep(each.after)
    below = family(running)[1:]
    workers = [process for process in below if name_of(process).startswith("ray::")] or below
    if workers:
        send([each.rng.choice(workers)], signal.SIGKILL)
    return ended(running)


def name_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def stopped(each: Round) -> str:
    """SIGSTOP of everything for a minute, as when a machine sleeps."""
    running = each.start()
    time.sleep(each.after)
    everything = family(running)
    send(everything, signal.SIGSTOP)
    time.sleep(STOPPED)
    send(everything, signal.SIGCONT)
    return ended(running)


def worker_stopped(each: Round) -> str:
    """SIGSTOP of one process below the command for a minute."""
    running = each.start()
    time.sleep(each.after)
    one = [each.rng.choice(below)] if (below := family(running)[1:]) else []
    send(one, signal.SIGSTOP)
    time.sleep(STOPPED)
    send(one, signal.SIGCONT)
    return ended(running)


def full(name: str) -> Callable[[Round], str]:
    """A disk that fills up while the stage runs: a small file system in place of a folder."""

    def fill(each: Round) -> str:
        folder = each.folder / name
        folder.mkdir(exist_ok=True)
        aside = folder.with_name(f"{name}-aside")
        folder.rename(aside)
        folder.mkdir()
        with mounted(folder, aside, each.rng.randrange(8, 200)):
            said = ended(each.start())
        return said

    fill.__name__ = f"full_{name}"
    fill.__doc__ = f"No space left in {name}."
    return fill


@contextmanager
def mounted(folder: Path, content: Path, spare_kb: int) -> Iterator[None]:
    """A file system with `content` and some kilobytes to spare; afterwards the folder is one of the disk."""
    used = sum(-(-path.stat().st_size // 4096) * 4 + 4 for path in content.rglob("*"))
    size = ["mount", "-t", "tmpfs", "-o", f"size={used + spare_kb}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(size, capture_output=True).returncode:
        folder.rmdir()
        content.rename(folder)
        pytest.skip("a full disk needs the right to mount a file system")
    try:
        shutil.copytree(content, folder, dirs_exist_ok=True)
        yield
        saved = folder.with_name(f"{folder.name}-saved")
        shutil.copytree(folder, saved)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    saved.rename(folder)
    shutil.rmtree(content)


def locked_store(each: Round) -> str:
    """Another process writes to MLflow's database for half a minute."""
    running = each.start()
    time.sleep(each.after)
    with closing(sqlite3.connect(each.folder / "mlflow.db", timeout=60)) as store:
        store.execute("BEGIN EXCLUSIVE")
        time.sleep(min(30, STOPPED))
        store.rollback()
    return ended(running)


def rolled_back_store(each: Round) -> str:
    """MLflow's database is brought back as it was before an interrupted run."""
    copy = shutil.copy(each.folder / "mlflow.db", each.folder / "mlflow.db.before")
    said = killed(each)
    shutil.copy(copy, each.folder / "mlflow.db")
    return said


def twice(each: Round) -> str:
    """The same command twice at once."""
    first = each.start()
    time.sleep(each.rng.uniform(0, 5))
    second = each.start()
    return ended(first) + ended(second)


def beside_dvc(each: Round) -> str:
    """`dvc repro` of the stage, and the command beside it."""
    stages = {each.stage: {"cmd": f"dgfnet {each.stage}", "deps": ["data"]}}
    (each.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dvc = subprocess.Popen(
        ["dvc", "repro", "-q"],
        cwd=each.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return ended(each.start()) + ended(dvc)


def jumping_clock(each: Round) -> str:
    """The clock of every Python process jumps by two days, back and forth."""
    place = each.folder / "clock"
    place.mkdir()
    (place / "sitecustomize.py").write_text(CLOCK)
    paths = f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return ended(each.start(PYTHONPATH=paths.rstrip(os.pathsep)))


KINDS = (
    *(killed, worker_killed, stopped, worker_stopped, full("work"), full("artifacts"), full("mlruns")),
    *(locked_store, rolled_back_store, twice, beside_dvc, jumping_clock),
)


def drawn_rounds() -> list[tuple[int, Callable[[Round], str], str, float]]:
    """Kind, stage and moment of every round: all kinds in turn, the rest by chance."""
    rng = random.Random(SEED)
    print(f"\nDGFNET_FAULTS='seed={SEED} rounds={ROUNDS} stopped={STOPPED:g}'", file=sys.stderr)
    kinds = [*rng.sample(KINDS, len(KINDS)), *(killed for _ in STAGES), *rng.choices(KINDS, k=ROUNDS)][
        :ROUNDS
    ]
    weights = [1, 1, 4, 2, 1]  # most of the time is crossval's
    return [
        (number, kind, rng.choices(STAGES, weights)[0], rng.uniform(0.05, 0.95))
        for number, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("number", "kind", "stage", "moment"),
    drawn_rounds(),
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_interrupted_and_run_again_gives_the_undisturbed_tables(
    undisturbed, tmp_path, number, kind, stage, moment
):
    folder = copy_of(undisturbed.before[stage], tmp_path / "project")
    rng = random.Random(f"{SEED} {number}")
    said = kind(Round(folder, stage, undisturbed.seconds[stage] * moment, rng))
    assert "Traceback" not in said, said[-5000:]
    for _ in range(TRIES):
        done = dgfnet(folder, stage, check=False)
        assert "Traceback" not in done.stderr, done.stderr[-5000:]
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert tables(folder) == undisturbed.tables[stage]
    store = client(folder)
    left = [
        (experiment.name, run.info.run_name)
        for experiment in store.search_experiments()
        for run in store.search_runs([experiment.experiment_id], max_results=1000)
        if run.info.status == "RUNNING"
    ]
    assert left == []
    if stage == "tune":  # what Optuna suggests depends on which result comes first: only that all is there
        assert len((folder / "artifacts/tune/trials.csv").read_text().splitlines()) == 1 + 2 * 2
        chosen = yaml.safe_load((folder / "artifacts/tune/chosen.yaml").read_text())
        assert len(chosen["central"]["us_multitask"]["chosen"]) == 2
    if stage == "register":
        assert store.get_registered_model("dgfnet-central").aliases.keys() == {"champion"}
