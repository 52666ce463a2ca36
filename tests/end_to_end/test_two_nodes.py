"""A Ray cluster of two machines that share no disk, and a server with users: `make test-team`."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_team_server import ann, place  # noqa: F401  a server with users
from test_team_server import missing as no_server
from whole import dgfnet, project

from mlflow_between import between
from two_nodes import NET, missing, two_nodes

WHY = missing() or no_server()
pytestmark = [pytest.mark.team, pytest.mark.skipif(bool(WHY), reason=WHY or "all is there")]
TABLES = "artifacts/crossval/*/*/out_of_fold.csv"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, drawn):
    """A project before its first fit, and one in which this machine alone has trained."""
    folder = project(tmp_path_factory.mktemp("alone") / "project", drawn)
    for stage in ("cohort", "audit", "preprocess", "outline", "tune"):
        dgfnet(folder, stage)
    before = shutil.copytree(folder, folder.parent / "before")
    for stage in ("pretrain", "crossval"):
        dgfnet(folder, stage)
    return before, folder


@pytest.fixture
def nodes(prepared):
    """Two nodes; the first has the project."""
    folder = Path(tempfile.mkdtemp(prefix="dgfnet-two-", dir="/tmp"))  # Ray's sockets need a short path
    try:
        with two_nodes(folder) as made:
            shutil.copytree(prepared[0], made.own(0), dirs_exist_ok=True)
            yield made
    finally:
        shutil.rmtree(folder)


def same_tables(alone, folder):
    names = sorted(path.relative_to(alone) for path in alone.glob(TABLES))
    assert len(names) > 10
    for name in names:
        assert (folder / name).read_bytes() == (alone / name).read_bytes(), name


def test_two_machines_make_the_tables_of_one(prepared, nodes, place, ann):  # noqa: F811
    with between(place.inside, f"{NET}.1") as proxy:
        variables = ann | {"MLFLOW_TRACKING_URI": proxy.uri}
        for stage in ("pretrain", "crossval"):
            done = nodes.run(0, "dgfnet", stage, **variables)
            assert done.returncode == 0, done.stderr
    same_tables(prepared[1], nodes.own(0))
    # the pictures, and nothing of the project, stay on the other machine
    assert list(nodes.own(1).iterdir()) == []
    (kept,) = (nodes.folder / "node1" / "tmp").glob("dgfnet-node-*/[0-9a-f]*[0-9a-f]")
    assert (kept / "us.npy").is_file()
    client = MlflowClient(place.address)
    names = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(names, max_results=1000)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert "dgfnode1" in {run.data.tags.get("dgfnet.process", "").partition(":")[0] for run in found}
    secret = place.password("ann")
    for path in (nodes.folder / "node0" / "tmp", nodes.folder / "node1" / "tmp"):
        for file in path.rglob("*"):
            if file.is_file() and not file.is_symlink():
                assert secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("fault", ["worker", "raylet", "driver", "link"])
def test_what_is_killed_or_cut_off_is_made_up_for(prepared, nodes, fault):
    alone = prepared[1]
    assert nodes.run(0, "dgfnet", "pretrain").returncode == 0
    process = nodes.begin(0, "dgfnet", "crossval")
    wait_for(lambda: list((nodes.own(0) / "work/fits").glob("*/checkpoint.pt")), process)
    if fault == "worker":
        assert nodes.kill(1, "ray::") > 0
    elif fault == "raylet":
        assert nodes.kill(1, "raylet") > 0
        time.sleep(5)
        nodes.start_ray(1)
    elif fault == "driver":
        assert nodes.kill(0, "dgfnet crossval") > 0
    else:
        nodes.cut(1, 100)  # shorter ones Ray does not notice, and may lose a message by
    _, said = process.communicate(timeout=900)
    if fault == "driver" or process.returncode == 2:
        done = nodes.run(0, "dgfnet", "crossval")
        assert done.returncode == 0, done.stderr
    else:
        assert process.returncode == 0, said
    assert "Traceback" not in said
    same_tables(alone, nodes.own(0))
    assert not list((nodes.own(0) / "work").rglob(".carried-*"))


def wait_for(there, process):
    for _ in range(1200):
        if there():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_a_wrong_token_is_one_sentence(nodes):
    begin = time.monotonic()
    done = nodes.run(0, "dgfnet", "pretrain", RAY_AUTH_TOKEN="0" * 48)
    assert done.returncode == 2
    assert "no Ray cluster can be joined" in done.stderr
    assert "name its token in RAY_AUTH_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
    own = [line for line in done.stderr.splitlines() if "gcs_client.cc" not in line]  # Ray's own word
    assert len(own) == 1
    assert time.monotonic() - begin < 90
