"""Ray's local cluster as the sweep starts it: where it listens, and what is said when it does not start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, RayTaskError

from dgfnet.errors import InputError
from dgfnet.sweep.cluster import (
    _compare,
    _tell_gpus,
    check_room,
    cluster,
    resources,
    tell_idle_gpu,
)
from dgfnet.sweep.crash import cause

PARAMS = Path(__file__).parents[2] / "params.yaml"

SWEEP = """
import json, os, signal, subprocess, sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from dgfnet.errors import InputError
from dgfnet.settings import load
from dgfnet.sweep.cluster import cluster, run_trials

def list_sockets(path):
    import psutil
    driver, listening = psutil.Process().parent().parent(), []
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("inet")
            listening += [[process.name(), s.laddr.ip] for s in sockets if s.status == "LISTEN"]
    path.write_text(json.dumps(listening))

class Trial:
    # a worker asks for the number of threads first of all, and then it happens
    def __init__(self, name, folder):
        self.task, self.folder = SimpleNamespace(name=name, epochs=1, key=name), folder
    def is_done(self):
        return False
    def failure(self):
        return None
    @property
    def threads(self):
        if self.task.name == "full":
            list_sockets(self.folder / "full.json")
            raise OSError(28, "No space left on device", "/work/fits/1/checkpoint.pt")
        if self.task.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("first line\\nlast line.")

def ask(address, **environment):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    plain |= {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    code = "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR'); print(len(ray.nodes()))"
    command = [sys.executable, "-c", code, address]
    done = subprocess.run(command, env=plain | environment, capture_output=True, text=True)
    return [done.returncode, (done.stdout + done.stderr)]

import ray  # before the rules are set: they hold all the same
folder = Path(sys.argv[1])
settings = load(Path(sys.argv[2]), ["sweep.retries=0"])
with cluster():
    address = ray.get_runtime_context().gcs_address
    try:
        trials = [Trial(name, folder) for name in ("full", "killed", "other")]
        run_trials("fits", trials, settings.sweep, folder)
    except InputError as error:
        said = str(error)
    own, = Path(ray._private.worker._global_node.get_session_dir_path()).parents[1:2]
    print(json.dumps({
        "said": said,
        "listening": json.loads((folder / "full.json").read_text()),
        "none": ask(address),
        "wrong": ask(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
        "right": ask(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"]),
        "mode": oct(own.stat().st_mode & 0o777),
        "own": str(own),
    }))
"""
FAILING = """
import sys, tempfile
from pathlib import Path
import psutil
from dgfnet.errors import InputError
from dgfnet.sweep.cluster import cluster
from ray._private import services
started = Path(sys.argv[1]) / "started"
if sys.argv[3]:
    started.write_text(f"#!/bin/sh\\necho start >> {started}.log\\n{sys.argv[3]}\\n")
    started.chmod(0o755)
setattr(services, sys.argv[2], str(started))  # in place of a program of Ray
tempfile.tempdir = sys.argv[1]
try:
    with cluster():
        print("it started")
except InputError as error:
    print(error)
    log = Path(f"{started}.log")
    print(log.read_text().split() if log.exists() else [])
    print([process.name() for process in psutil.Process().children(recursive=True)])
    print([path.name for path in Path(sys.argv[1]).glob("dgfnet-ray-*")])
"""
SHUT = """
from dgfnet.errors import InputError
from dgfnet.sweep.cluster import cluster
import tempfile
tempfile.tempdir = "/proc"
try:
    with cluster():
        print("it started")
except InputError as error:
    print(error)
"""


def python(code, *arguments, **environment):
    """Runs code in a process of its own, for Ray reads its environment when it is imported."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def loopback(address):
    """An IPv4 address may be written as an IPv6 one, ::ffff:127.0.0.1."""
    plain = ip_address(address)
    return (getattr(plain, "ipv4_mapped", None) or plain).is_loopback


@pytest.mark.parametrize(
    ("cpus", "threads", "taken"), [(1.0, 1, 1.0), (0.5, 1, 0.5), (1.0, 4, 4), (8.0, 4, 8.0)]
)
def test_a_trial_gets_a_core_for_each_of_its_threads(tiny, cpus, threads, taken):
    sweep = tiny.sweep.model_copy(update={"cpus_per_trial": cpus, "gpus_per_trial": 0.5})
    assert resources(sweep, threads) == {"cpu": taken, "gpu": 0.5}


@pytest.mark.parametrize(
    ("needed", "there", "said"),
    [
        (
            {"cpu": 1, "gpu": 1},
            {"CPU": 2.0},
            "takes 1 GPU(s), and this machine has 0; lower sweep.gpus",
        ),
        ({"cpu": 1, "gpu": 2}, {"CPU": 2.0, "GPU": 1.0}, "takes 2 GPU(s), and this machine has 1;"),
        (
            {"cpu": 4, "gpu": 0},
            {"CPU": 2.0},
            "takes 4 CPU(s), and this machine has 2; lower sweep.cpus",
        ),
        ({"cpu": 2, "gpu": 0.5}, {"CPU": 2.0, "GPU": 1.0}, None),
    ],
)
def test_trials_that_do_not_fit_the_machine_are_refused(needed, there, said):
    if said is None:
        _compare(needed, there)
    else:
        with pytest.raises(InputError, match=re.escape(said)):
            _compare(needed, there)


@pytest.mark.parametrize(
    ("there", "seen", "wanted", "told"),
    [
        ({"CPU": 2.0, "GPU": 1.0}, True, 0.0, True),
        ({"CPU": 2.0, "GPU": 1.0}, True, 0.5, False),
        ({"CPU": 2.0, "GPU": 1.0}, False, 0.0, False),  # a torch without CUDA
        ({"CPU": 2.0}, True, 0.0, False),  # hidden from Ray by the user
    ],
)
def test_a_gpu_that_trials_leave_idle_is_told_once(there, seen, wanted, told, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    tell_idle_gpu.cache_clear()
    for _ in range(2):
        check_room({"cpu": 1.0, "gpu": wanted})
    said = capsys.readouterr().err
    assert said.count("there are GPUs, and sweep.gpus_per_trial is 0: fits are trained on the CPU;") == told
    assert len(said.splitlines()) == told


@pytest.mark.parametrize(
    ("there", "torch_sees", "cluster_named", "taken", "words"),
    [
        ({"CPU": 2.0}, False, False, 0.0, ""),
        ({"CPU": 2.0, "GPU": 2.0}, True, False, 1.0, "Ray sees 2 GPU(s): a trial is given one"),
        ({"CPU": 2.0, "GPU": 0.5}, True, False, 0.0, ""),  # less than one
        ({"CPU": 2.0, "GPU": 1.0}, False, False, 0.0, "Ray sees 1 GPU(s): this torch cannot use them"),
        ({"CPU": 2.0, "GPU": 8.0}, False, True, 1.0, "Ray sees 8 GPU(s): a trial is given one"),
    ],
)
def test_gpus_are_taken_where_there_are_any_and_it_is_told_once(
    there, torch_sees, cluster_named, taken, words, tiny, monkeypatch, capsys
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if cluster_named:
        monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_sees)
    _tell_gpus.cache_clear()
    for _ in range(2):
        assert resources(tiny.sweep.model_copy(update={"gpus_per_trial": "auto"}), 1)["gpu"] == taken
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert len(said.splitlines()) == bool(words)


def test_a_trial_that_is_given_no_gpu_sees_none(monkeypatch):
    """Ray's own default will be to leave all of them visible: every trial would go to the first."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with cluster():
        asked = ray.remote(num_gpus=0)(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
        assert ray.get(asked.remote()) == ""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """What is seen while three fits run and crash, with an environment that weakens."""
    folder = tmp_path_factory.mktemp("swept")
    home = folder / "home"
    home.mkdir()
    weak = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "HOME": str(home)}
    seen = json.loads(python(SWEEP, str(folder), str(PARAMS), **weak)[-1])
    return seen | {"home": sorted(path.name for path in home.rglob("*"))}


@pytest.mark.slow
def test_a_local_cluster_listens_on_the_loopback_interface_only_while_it_trains(swept):
    assert {"gcs_server", "raylet"} <= {name for name, _ in swept["listening"]}
    assert any(name.startswith("ray::") for name, _ in swept["listening"])
    assert [(name, address) for name, address in swept["listening"] if not loopback(address)] == []


@pytest.mark.slow
def test_a_local_cluster_answers_who_has_its_token_and_nobody_else(swept):
    for refused in ("none", "wrong"):
        status, text = swept[refused]
        assert status == 1
        assert "Authentication token is missing or incorrect" in text
    assert swept["right"] == [0, "1\n"]


@pytest.mark.slow
def test_the_token_and_the_sockets_are_the_users_alone(swept):
    assert swept["home"] == []
    assert swept["mode"] == "0o700"
    assert not Path(swept["own"]).exists()


@pytest.mark.slow
def test_what_crashed_is_said_in_one_line_per_fit(swept):
    assert swept["said"].splitlines() == [
        "3 fit(s) failed: full, killed, other",
        "full: OSError: [Errno 28] No space left on device: '/work/fits/1/checkpoint.pt'",
        "killed: its process died (killed, or out of memory)",
        "other: ValueError: last line",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first line\nlast line.\n"), "ValueError: last line"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError: it gives no reason"),
        (ValueError("x" * 5000), f"ValueError: {'x' * 288}"),
    ],
)
def test_a_cause_is_kind_and_last_line(error, said):
    assert cause(error) == said


def test_a_cause_of_ray_is_what_happened_to_the_process():
    assert cause(ActorDiedError()) == "its process died (killed, or out of memory)"
    assert cause(RayTaskError("f", "Traceback...", OSError(28, "No space left on device"))) == (
        "OSError: [Errno 28] No space left on device"
    )


@pytest.mark.parametrize(
    ("program", "does", "seconds", "why", "starts"),
    [
        ("GCS_SERVER_EXECUTABLE", "exec sleep 600", "1", "Timed out waiting for file ", 2),
        ("GCS_SERVER_EXECUTABLE", "exit 1", "1", "Timed out waiting for file ", 2),
        pytest.param(
            *("RAYLET_EXECUTABLE", "exit 1", "60", "The current node timed out during startup", 2),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_start_that_fails_is_tried_once_more_and_said_in_one_sentence(
    tmp_path, program, does, seconds, why, starts
):
    limits = {"RAY_gcs_server_port_wait_time_s": seconds, "RAY_raylet_start_wait_time_s": "5"}
    said, tried, left, folders = python(FAILING, str(tmp_path), program, does, **limits)
    assert said.startswith(f"Ray did not start on this machine in 2 tries ({why}")
    assert "run the same command again when the machine is less busy" in said
    assert tried == str(["start"] * starts)
    assert left == folders == "[]"


def test_a_start_for_which_something_is_missing_is_not_tried_again(tmp_path):
    said, _, left, folders = python(FAILING, str(tmp_path), "RAYLET_EXECUTABLE", "")
    assert said == (
        f"Ray did not start on this machine: [Errno 2] No such file or directory: '{tmp_path}/started'; put "
        "that right and run the same command again"
    )
    assert left == folders == "[]"


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence():
    (said,) = python(SHUT)
    assert said.startswith(
        "Ray did not start on this machine: [Errno 2] No such file or directory: '/proc/dgf"
    )
    assert said.endswith("; free space or name another TMPDIR")


def test_a_named_cluster_that_cannot_be_joined_is_one_sentence():
    (said,) = python(SHUT, RAY_ADDRESS="nonsense", RAY_NUM_REDIS_GET_RETRIES="1")
    assert said == (
        "RAY_ADDRESS: no Ray cluster can be joined at nonsense (Invalid address format: nonsense); start it, "
        "or name its token in RAY_AUTH_TOKEN, or unset RAY_ADDRESS to use this machine"
    )
