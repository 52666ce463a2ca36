"""Every stage on a team's server that refuses, fails or hangs in the middle: `make test-team`.

Tables are byte for byte those of a project that was left in peace, and no run is left RUNNING.
"""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_team_server import ann, missing, place  # noqa: F401  a server with users
from whole import environment, project

from mlflow_between import between

pytestmark = [
    pytest.mark.team,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is there"),
]
SEED = int(os.environ.get("DGFNET_FAULTS_SEED", random.SystemRandom().randrange(10**6)))
FAULTS = ({"status": 500}, {"status": 401}, {"status": 503}, {"hangs": True})
STAGES = ("pretrain", "crossval", "register", "external", "holdout", "report")
BEFORE = ("cohort", "audit", "preprocess", "outline")
TABLES = ("artifacts/crossval/*/*/out_of_fold.csv", "artifacts/external/*/predictions.csv")


def run(folder, stage, variables, during=None):
    """The command, and what is done while it runs; returns status, what it said, and seconds."""
    begin = time.monotonic()
    process = subprocess.Popen(
        ["dgfnet", stage],
        cwd=folder,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if during:
        during(process)
    _, said = process.communicate(timeout=900)
    return process.returncode, said, time.monotonic() - begin


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, drawn):
    """A project up to the first stage that asks the server, and its tables without any fault."""
    folder = project(tmp_path_factory.mktemp("peace") / "project", drawn)
    for stage in BEFORE:
        assert run(folder, stage, {})[0] == 0
    disturbed = shutil.copytree(folder, folder.parent / "disturbed")
    for stage in ("tune", "pretrain", "crossval", "compare", "register", "external"):
        code, said, _ = run(folder, stage, {})
        assert code == 0, said
    return folder, disturbed


def test_no_fault_of_the_server_costs_a_fit_a_table_or_a_run(prepared, place, ann, capsys):  # noqa: F811
    peace, folder = prepared
    generator = random.Random(SEED)
    with capsys.disabled():
        print(f"\nDGFNET_FAULTS_SEED={SEED}")
    with between(place.inside) as proxy:
        variables = ann | {"MLFLOW_TRACKING_URI": proxy.uri}
        assert run(folder, "tune", variables)[0] == 0
        for stage in STAGES:
            if stage == "report":
                assert run(folder, "compare", variables)[0] == 0
            for fault in generator.sample(FAULTS, 2):
                after, lasting = generator.uniform(3, 25), generator.uniform(5, 25)

                def during(process, fault=fault, after=after, lasting=lasting):
                    wait(process, after)
                    vars(proxy).update(fault)
                    wait(process, lasting)
                    vars(proxy).update(status=None, hangs=False)

                code, said, seconds = run(folder, stage, variables, during)
                vars(proxy).update(status=None, hangs=False)
                with capsys.disabled():
                    words = said.strip().splitlines()[-1:] if code else ""
                    print(
                        stage,
                        fault,
                        f"after {after:.0f} s for {lasting:.0f}:",
                        code,
                        f"{seconds:.0f} s",
                        words,
                    )
                assert code in (0, 2), said
                assert "Traceback" not in said
            code, said, _ = run(folder, stage, variables)
            assert code == 0, said
    client = MlflowClient(place.address)
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert client.search_runs(experiments, "attributes.status = 'RUNNING'") == []
    for pattern in TABLES:
        names = sorted(path.relative_to(peace) for path in peace.glob(pattern))
        assert names
        for name in names:
            assert (folder / name).read_bytes() == (peace / name).read_bytes(), name
    check_curves(client, folder)


def wait(process, seconds):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)


def check_curves(client, folder):
    """Every fit's run has each of its epochs once."""
    experiment = client.get_experiment_by_name("dgfnet-central")
    fits = client.search_runs([experiment.experiment_id], "tags.stage = 'crossval' and tags.fold != ''")
    assert len(fits) == 8  # four variants, two folds
    for found in fits:
        (name,) = [name for name in found.data.metrics if name == "loss_label"] or [None]
        history = client.get_metric_history(found.info.run_id, name)
        steps = [metric.step for metric in history]
        assert sorted(steps) == list(range(1, max(steps) + 1)), found.data.tags
    assert Path(folder / "id.key").is_file()
