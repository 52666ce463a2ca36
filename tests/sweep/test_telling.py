"""What a fit has to say reaches the store in a few messages, and training does not wait for it."""

import shutil
import sys
import threading
import time
from functools import partial

import pytest
from mlflow import MlflowClient

from dgfnet import tracking
from dgfnet.sweep import telling as messages
from dgfnet.sweep.telling import kept_alive, telling
from mlflow_between import between, mlflow_server


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "server.db")
    with mlflow_server(folder) as address:
        yield address


@pytest.fixture
def proxy(server, monkeypatch):
    for name, value in (("TIMEOUT", "1"), ("MAX_RETRIES", "0"), ("BACKOFF_FACTOR", "0")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    with between(server) as state:
        yield state


@pytest.fixture
def opened(proxy, request):
    """Opens the run of this test, as the worker of a fit does."""
    experiment = tracking.prepare(proxy.uri, request.node.name)
    proxy.counted.clear()
    return partial(tracking.open_run, proxy.uri, experiment, "fold0", "key", {})


def told(server, opened):
    """The run, as the server itself has it, and the history of a metric."""
    client = MlflowClient(server)
    (run,) = client.search_runs([opened.args[1]])
    return run, client.get_metric_history(run.info.run_id, "loss_label")


def test_a_fit_of_two_hundred_epochs_takes_few_requests(server, proxy, opened):
    with telling(opened) as teller:
        for epoch in range(1, 201):
            teller.epoch(epoch, {"loss_label": 1 / epoch, "val_auc": 0.5})
        teller.conclude({"auc": 0.75, "nothing": float("nan")}, {"fold": 0})
    assert proxy.total <= 8
    run, history = told(server, opened)
    assert [(m.step, m.value) for m in history] == [(step, 1 / step) for step in range(1, 201)]
    assert (run.info.status, run.data.params["fold"], run.data.metrics["auc"]) == ("FINISHED", "0", 0.75)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401}, {"hangs": True}])
def test_an_outage_leaves_no_gap_and_training_does_not_wait(server, proxy, opened, monkeypatch, fault):
    monkeypatch.setattr(messages, "PAUSE", 0.2)
    with telling(opened) as teller:
        for epoch in range(1, 31):
            if epoch == 10:
                time.sleep(0.5)
                vars(proxy).update(fault)
            if epoch == 25:
                time.sleep(0.5)
                vars(proxy).update(status=None, hangs=False)
            begin = time.monotonic()
            teller.epoch(epoch, {"loss_label": float(epoch)})
            assert time.monotonic() - begin < 0.1
            teller.epoch(epoch, {"loss_label": -1.0})  # said twice: the first counts
    run, history = told(server, opened)
    assert [(m.step, m.value) for m in history] == [(step, float(step)) for step in range(1, 31)]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 403}, {"hangs": True}])
def test_a_store_that_is_gone_to_the_end_costs_a_bounded_time(proxy, opened, monkeypatch, fault):
    monkeypatch.setattr(messages, "LAST", 2.0)
    vars(proxy).update(fault)
    begin = time.monotonic()
    with telling(opened) as teller:
        teller.epoch(1, {"loss_label": 1.0})
    assert time.monotonic() - begin < 4.0


def test_a_run_ends_as_its_fit_does(server, proxy, opened):
    with pytest.raises(ZeroDivisionError), telling(opened) as teller:
        teller.epoch(1, {"loss_label": 1 / 0})
    run, history = told(server, opened)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "ZeroDivisionError, see the terminal")
    assert history == []
    with pytest.raises(SystemExit), telling(opened):
        sys.exit()
    run, _ = told(server, opened)
    assert (run.info.status, run.data.tags[tracking.STOPPED]) == ("FINISHED", "by the scheduler")


def test_a_fit_that_goes_on_tells_what_an_earlier_process_could_not(server, proxy, opened):
    with telling(opened) as teller:
        teller.epoch(1, {"loss_label": 1.0})
    with telling(opened) as teller:
        teller.epoch(3, {"loss_label": 3.0})
        for epoch in (1, 2, 3):  # the record of the whole fit
            teller.epoch(epoch, {"loss_label": float(epoch)})
    _, history = told(server, opened)
    assert sorted((m.step, m.value) for m in history) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_long_run_says_that_it_lives(server, proxy, opened, monkeypatch):
    monkeypatch.setattr(messages, "PAUSE", 0.1)
    run = opened()
    run.tags({tracking.ALIVE: "0"})
    with kept_alive(run):
        for _ in range(100):
            time.sleep(0.1)
            if told(server, opened)[0].data.tags[tracking.ALIVE] != "0":
                break
        proxy.status = 500  # a server that fails does not end the block
        time.sleep(0.5)
        proxy.status = None
    assert time.time() - float(told(server, opened)[0].data.tags[tracking.ALIVE]) < 60
    time.sleep(1)
    assert "alive" not in {thread.name for thread in threading.enumerate()}
