"""MLflow runs are found again by identity, end with the right status, and survive their process."""

import multiprocessing
import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy import event
from sqlalchemy.orm import Session

from dgfnet import pseudonyms, tracking
from dgfnet.errors import InputError, explained
from dgfnet.settings import load


@pytest.fixture
def uri(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def experiment(uri):
    return tracking.prepare(uri, "dgfnet-test")


def status(run):
    return run.client.get_run(run.run_id).info.status


def test_prepare_gives_the_same_experiment_again(uri, experiment):
    assert tracking.prepare(uri, "dgfnet-test") == experiment


def test_a_run_with_a_known_identity_is_continued(uri, experiment):
    first = tracking.open_run(uri, experiment, "a", "identity", {"site": "central"})
    with tracking.running(first):
        pass
    again = tracking.open_run(uri, experiment, "a", "identity", {})
    assert again.run_id == first.run_id
    assert status(again) == "RUNNING"
    assert tracking.open_run(uri, experiment, "a", "another", {}).run_id != first.run_id


def test_a_run_opened_again_knows_the_results_it_has(uri, experiment):
    first = tracking.open_run(uri, experiment, "a", "identity", {})
    assert first.results == ""
    first.tags({tracking.RESULTS: "abc"})
    assert tracking.open_run(uri, experiment, "a", "identity", {}).results == "abc"
    assert tracking.open_run(uri, experiment, "a", "another", {}).results == ""


def test_an_identity_below_another_parent_is_another_run(uri, experiment):
    parents = [tracking.open_run(uri, experiment, name, name, {}).run_id for name in ("p", "q")]
    children = [tracking.open_run(uri, experiment, "c", "child", {}, parent).run_id for parent in parents]
    assert len(set(children)) == 2
    assert tracking.open_run(uri, experiment, "c", "child", {}, parents[0]).run_id == children[0]


def test_an_epoch_repeated_after_a_restart_is_logged_once(uri, experiment):
    run = tracking.open_run(uri, experiment, "a", "identity", {})
    run.epochs([(1, 10, {"loss_label": 0.5})], {})
    again = tracking.open_run(uri, experiment, "a", "identity", {})
    again.epochs([(1, 20, {"loss_label": 0.5}), (2, 30, {"loss_label": 0.4})], {"a": "b"})
    again.epochs([(2, 40, {"loss_label": 0.4})], {})
    history = again.client.get_metric_history(again.run_id, "loss_label")
    assert [(m.step, m.timestamp, m.value) for m in history] == [(1, 10, 0.5), (2, 30, 0.4)]
    assert again.client.get_run(again.run_id).data.tags["a"] == "b"
    # an answer was lost, and it is sent again
    tracking.Run(again.client, again.run_id, experiment).epochs([(2, 30, {"loss_label": 0.4})], {})
    assert len(again.client.get_metric_history(again.run_id, "loss_label")) == 2


def test_many_epochs_are_logged_in_parts(uri, experiment):
    run = tracking.open_run(uri, experiment, "a", "identity", {})
    epochs = [(step, step, {f"m{k}": float(step) for k in range(9)}) for step in range(1, 251)]
    run.epochs(epochs, {"a": "b"})
    assert [m.step for m in run.client.get_metric_history(run.run_id, "m8")] == list(range(1, 251))


def test_the_children_of_a_run_are_found_in_pages(uri, experiment, monkeypatch):
    monkeypatch.setattr(tracking, "PAGE", 2)
    parents = [tracking.open_run(uri, experiment, name, name, {}).run_id for name in ("p", "q")]
    made = {
        f"{parent}{k}": tracking.open_run(uri, experiment, "c", f"{parent}{k}", {}, parent).run_id
        for parent in parents
        for k in range(5)
    }
    found = tracking.children(tracking.client(uri), experiment, parents[0])
    assert {name: run.info.run_id for name, run in found.items()} == {
        name: run for name, run in made.items() if name.startswith(parents[0])
    }


def test_two_projects_on_one_server_have_runs_of_their_own(tmp_path, params, monkeypatch):
    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    names = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(params, tmp_path / name / "params.yaml")
        settings = load(tmp_path / name / "params.yaml")
        names += [tracking.identity_of(settings, "fits"), tracking.identity_of(settings, "fits")]
    assert names[0] == names[1] != names[2] == names[3]


def test_a_run_ends_as_its_block_does(uri, experiment):
    good, bad = (tracking.open_run(uri, experiment, name, name, {}) for name in ("good", "bad"))
    with tracking.running(good):
        pass
    with pytest.raises(ZeroDivisionError), tracking.running(bad):
        raise ZeroDivisionError("why")
    assert (status(good), status(bad)) == ("FINISHED", "FAILED")
    assert bad.client.get_run(bad.run_id).data.tags["error"] == "ZeroDivisionError, see the terminal"


def test_a_stopped_trial_may_say_so_while_the_driver_does(uri, experiment):
    parent = tracking.open_run(uri, experiment, "p", "p", {})
    trial = tracking.open_run(uri, experiment, "c", "child", {}, parent.run_id)
    database = Path(uri.removeprefix("sqlite:///"))

    said = []

    def the_trial_is_faster(session, *_):  # between the driver's look at the tags and its insertion
        if not said and any(getattr(row, "key", None) == tracking.STOPPED for row in session.new):
            with closing(sqlite3.connect(database)) as other, other:
                said.append((tracking.STOPPED, "by the scheduler", trial.run_id))
                other.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", said[0])

    event.listen(Session, "before_flush", the_trial_is_faster)
    try:
        tracking.end_children(parent)
    finally:
        event.remove(Session, "before_flush", the_trial_is_faster)
    assert said
    assert status(trial) == "FINISHED"
    assert trial.client.get_run(trial.run_id).data.tags[tracking.STOPPED] == "by the scheduler"


def test_runs_of_a_dead_process_on_this_machine_are_ended_and_no_others(uri, experiment):
    dead, alive, remote, silent = (tracking.open_run(uri, experiment, name, name, {}) for name in "abcd")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    dead.tags({tracking.PROCESS: f"{socket.gethostname()}:{pid}"})
    remote.tags({tracking.PROCESS: f"another-host:{pid}"})
    then = f"{time.time() - tracking.DEAD - 1:.0f}"
    silent.tags({tracking.PROCESS: f"another-host:{pid}", tracking.ALIVE: then})
    tracking.prepare(uri, "dgfnet-test")
    runs = (dead, alive, remote, silent)
    assert [status(run) for run in runs] == ["KILLED", "RUNNING", "RUNNING", "KILLED"]


def test_nan_metrics_are_left_out_and_params_can_be_logged_twice(uri, experiment):
    run = tracking.open_run(uri, experiment, "a", "identity", {})
    run.metrics({"auc": float("nan"), "accuracy": 0.75})
    run.params({"folds": 4})
    run.params({"folds": 4, "width": 0.25})
    run.params({"folds": 5, "depth": 2})  # of a run that goes on with other settings: the first counts
    data = run.client.get_run(run.run_id).data
    assert data.metrics == {"accuracy": 0.75}
    assert data.params == {"folds": "4", "width": "0.25", "depth": "2"}


def test_the_run_of_mlflow_run_is_taken_out_of_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.delenv(tracking.PROJECT_RUN, raising=False)
    assert tracking.leave_project_run() == "abc"
    assert "MLFLOW_RUN_ID" not in os.environ
    assert tracking.leave_project_run() == "abc"
    monkeypatch.delenv(tracking.PROJECT_RUN)


def test_flat_settings():
    assert tracking.flat({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}


def first_use(params, ready, keys):
    settings = load(params)
    ready.wait()
    keys.put(pseudonyms.identity_key(settings))


def test_several_first_users_get_one_key(tmp_path, params, monkeypatch):
    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    shutil.copy(params, tmp_path / "params.yaml")
    context = multiprocessing.get_context("fork")  # eight interpreters would take half a minute to start
    ready, keys = context.Barrier(8), context.Queue()
    users = [
        context.Process(target=first_use, args=(tmp_path / "params.yaml", ready, keys)) for _ in range(8)
    ]
    for user in users:
        user.start()
    found = {keys.get(timeout=60) for _ in users}
    for user in users:
        user.join()
    assert found == {(tmp_path / "id.key").read_bytes()}
    assert (tmp_path / "id.key").stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "id.key"}


@pytest.mark.parametrize("content", [b"", b"\n", b"secret", b"x" * 15])
def test_a_key_that_is_no_secret_is_refused(tmp_path, params, monkeypatch, content):
    shutil.copy(params, tmp_path / "params.yaml")
    settings = load(tmp_path / "params.yaml")
    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    (tmp_path / "id.key").write_bytes(content)
    with pytest.raises(InputError, match=r"id\.key: \d+ characters are no secret"):
        pseudonyms.identity_key(settings)
    assert (tmp_path / "id.key").read_bytes() == content
    if content.strip():
        monkeypatch.setenv(pseudonyms.KEY, content.decode())
        with pytest.raises(InputError, match=r"DGFNET_ID_KEY: \d+ characters"):
            pseudonyms.identity_key(settings)


def test_without_hard_links_there_is_a_key_too(tmp_path, params, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    monkeypatch.setattr(os, "link", no_links)
    shutil.copy(params, tmp_path / "params.yaml")
    settings = load(tmp_path / "params.yaml")
    key = pseudonyms.identity_key(settings)
    assert len(key) == 64
    assert pseudonyms.identity_key(settings) == key
    assert (tmp_path / "id.key").stat().st_mode & 0o077 == 0


def test_a_fault_of_the_store_prints_no_traceback_of_its_own(uri, experiment, tmp_path, capsys):
    run = tracking.open_run(uri, experiment, "a", "identity", {})
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("DROP TABLE metrics")
    with pytest.raises(MlflowException, match="no such table") as caught:
        run.epochs([(1, 1, {"loss_label": 0.5})], {})
    assert capsys.readouterr().err == ""
    assert explained(caught.value).startswith("MLflow's store does not answer as it should: ")


def test_a_cross_validation_is_found_by_its_fits_in_the_store_that_has_it(
    tmp_path, params, empty_store, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        shutil.copy(params, tmp_path / name)
        shutil.copy(empty_store, tmp_path / name / "mlflow.db")
    here, there = (load(tmp_path / name / "params.yaml") for name in ("here", "there"))
    metrics = {"variant": "dgf", "folds": [{"key": "a"}, {"key": "b"}]}
    experiment = tracking.prepare(tracking.store(here), "dgfnet-central")
    identity = tracking.identity_of(here, tracking.crossval_identity(metrics))
    run = tracking.open_run(tracking.store(here), experiment, "dgf", identity, {})
    assert tracking.crossval_run(here, "central", metrics).info.run_id == run.run_id
    with pytest.raises(
        InputError, match=r"no run of the cross-validation of central dgf.*MLFLOW_TRACKING_URI"
    ):
        tracking.crossval_run(there, "central", metrics)
    other = metrics | {"folds": [{"key": "a"}, {"key": "c"}]}
    with pytest.raises(InputError, match="no run"):
        tracking.crossval_run(here, "central", other)


def test_two_baselines_of_the_same_regressions_have_runs_of_their_own():
    folds = [{"key": "a"}]
    names = [tracking.crossval_identity({"variant": name, "folds": folds}) for name in ("size", "clinical")]
    assert names[0] != names[1]


def test_what_an_ablation_is_and_what_dgf_is_are_two_runs_though_their_fits_are_the_same():
    folds = [{"key": "a"}, {"key": "b"}]
    identities = {
        name: tracking.crossval_identity({"variant": name, "folds": folds})
        for name in ("dgf", "dgf-by_sum", "dgf-another", "size", "radiomics")
    }
    assert len(set(identities.values())) == 5
