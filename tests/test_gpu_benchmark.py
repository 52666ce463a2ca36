"""benchmarks/gpu.py: its arithmetic by hand, what it needs, and a rehearsal on a CPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
HEAD = (ROOT / "benchmarks" / "gpu.sh").read_text(encoding="utf-8")
WHEELS = dict(re.findall(r"^# wheel: (\S+)==(\S+)$", HEAD, re.MULTILINE))
THERE = [name for line in re.findall(r"^#     there: (.*)$", HEAD, re.MULTILINE) for name in line.split()]
# what these bring themselves, torch's above all
BROUGHT = {"packaging", "six", "python-dateutil", "requests", "urllib3", "certifi", "idna", "setuptools"}
BROUGHT |= {"charset-normalizer", "cloudpickle", "joblib", "threadpoolctl", "psutil"}
BLOCKED = """
import sys
from importlib.machinery import PathFinder
class Filter(PathFinder):  # what is blocked is not there, also for who only asks
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else super().find_spec(name, path, target)
sys.meta_path[:] = [*(finder for finder in sys.meta_path if finder is not PathFinder), Filter]
sys.path[:0] = [{benchmarks!r}, {project!r}]
"""


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import gpu
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return gpu


def test_jobs_start_when_their_parents_are_done(gpu):
    """A chain of 1 + 2 + 4 and two lone jobs of 3: on two workers the chain is never kept waiting."""
    seconds = {"a": 1.0, "b": 2.0, "c": 4.0, "x": 3.0, "y": 3.0}
    parents = {"a": (), "b": ("a",), "c": ("b",), "x": (), "y": ()}
    assert gpu.makespan(seconds, parents, 1) == 13
    assert gpu.makespan(seconds, parents, 2) == 7
    assert gpu.makespan(seconds, parents, 64) == 7
    assert gpu.critical_path(seconds, parents) == ["a", "b", "c"]


def test_a_job_waits_for_the_slower_of_two_parents(gpu):
    seconds, parents = {"us": 5.0, "ct": 2.0, "both": 1.0}, {"us": (), "ct": (), "both": ("us", "ct")}
    assert gpu.makespan(seconds, parents, 2) == 6
    assert gpu.critical_path(seconds, parents) == ["us", "both"]


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.sets(st.integers(0, 7))), min_size=1, max_size=8),
    st.integers(1, 5),
)
def test_no_schedule_beats_its_bounds(gpu, drawn, workers):
    """Neither the critical path nor the work shared by all; and Graham's bound holds."""
    seconds = {str(place): length for place, (length, _) in enumerate(drawn)}
    parents = {
        str(place): tuple(str(parent) for parent in own if parent < place)
        for place, (_, own) in enumerate(drawn)
    }
    path = sum(seconds[key] for key in gpu.critical_path(seconds, parents))
    work = sum(seconds.values())
    found = gpu.makespan(seconds, parents, workers)
    assert found >= max(path, work / workers) - 1e-9
    assert found <= work / workers + path + 1e-9
    assert gpu.makespan(seconds, parents, 1) == pytest.approx(work)


def test_the_union_of_spans(gpu):
    assert gpu.covered([(0, 2), (1, 3), (5, 6), (5.5, 5.6)]) == 4
    assert gpu.covered([]) == 0


def test_the_wheels_are_those_of_the_lock():
    lock = dict(re.findall(r"^([\w.-]+)==([\w.+-]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    lock = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    own = {name: version for name, version in WHEELS.items() if name != "segmentation-models-pytorch"}
    assert own == {name: lock[name] for name in own}
    assert len(own) == 10


def blocked():
    """Top-level modules of everything installed here that the head of gpu.sh does not name."""
    plain = {name.lower().replace("_", "-") for name in [*WHEELS, *THERE, *BROUGHT]}
    return {
        module
        for module, owners in packages_distributions().items()
        if not any(
            owner.lower().replace("_", "-") in plain or re.match(r"nvidia|cuda|triton|sympy|mpmath", owner)
            for owner in owners
        )
        and not any(
            owner.startswith(("networkx", "jinja2", "markupsafe", "filelock", "fsspec")) for owner in owners
        )
        and module not in sys.stdlib_module_names
        and module != "dgfnet"
    } | {"mlflow", "ray", "dvc"}


def under_blocker(code, *arguments):
    head = BLOCKED.format(names=blocked(), benchmarks=str(ROOT / "benchmarks"), project=str(ROOT / "project"))
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_trains_needs_no_more_than_a_bare_machine_has():
    assert {"mlflow", "ray", "dvc", "optuna", "captum", "boto3", "fastapi"} <= blocked()
    code = "import dgfnet.training.fit, dgfnet.dataset.augment, dgfnet.sweep.plan, gpu; print('all there')"
    done = under_blocker(code)
    assert done.stdout.splitlines()[-1:] == ["all there"], done.stderr


@pytest.mark.slow
def test_a_rehearsal_measures_every_part(tmp_path):
    code = "import gpu; sys.argv = ['gpu.py', '--dry-run', '--out', sys.argv[1]]; sys.exit(gpu.main())"
    done = under_blocker(code, tmp_path / "gpu.json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["dry_run"] is True
    assert found["resume"]["interrupted"] == found["resume"]["twice"] == 0  # on a CPU, to the bit
    assert found["same"]["largest_difference"] < 1e-5
    assert found["matrix"]["fits"] == 2 * 2 * 8 + 2 * 9 * 8
    assert found["matrix"]["hours_on_1"] == pytest.approx(found["matrix"]["gpu_hours"])
    assert found["matrix"]["hours_on_64"] >= found["matrix"]["critical_path_hours"] * 0.999
    assert 0 < found["busy"]["busy"] <= 1


def test_without_a_gpu_it_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(tmp_path / "no.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "torch sees no GPU; --dry-run rehearses on a CPU\n")
