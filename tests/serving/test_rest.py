"""The registered model behind `mlflow models serve` and `dgfnet serve`: answers, and 4xx for the rest."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
import uvicorn
from made import case, disc, picture, png
from mlflow.pyfunc import scoring_server

from dgfnet.registry import scorer, serve, stage
from dgfnet.serving.answers import COLUMNS
from dgfnet.serving.served import Served

CASE = case()
WITHOUT_CT = {name: CASE[name] for name in ("us", "us_mask")}


@pytest.fixture(scope="module")
def model(bundle, tmp_path_factory):
    """The bundle as an MLflow model, as the stage `register` logs it."""
    path = tmp_path_factory.mktemp("model") / "m"
    mlflow.pyfunc.save_model(
        path,
        python_model=scorer.__file__,
        artifacts={"bundle": str(bundle)},
        signature=stage._signature(),
        pip_requirements=stage._requirements(),
    )
    return path


def free_port():
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(address):
    for _ in range(600):
        try:
            if requests.get(f"{address}/ping", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def plain(model):
    """Address of `mlflow models serve`."""
    port = free_port()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-p", str(port)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, 15)


@pytest.fixture(scope="module")
def guarded(model):
    """Address of the server of `dgfnet serve`."""
    port = free_port()
    app = serve.guarded(scoring_server.init(mlflow.pyfunc.load_model(str(model))))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}/invocations"
    server.should_exit = True
    thread.join()


def post(address, body, kind="application/json"):
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return requests.post(address, data=data, headers={"Content-Type": kind} if kind else {}, timeout=60)


@pytest.mark.parametrize("server", ["plain", "guarded"])
def test_cases_are_answered(request, server, bundle):
    address = request.getfixturevalue(server)
    rows = post(address, {"dataframe_records": [CASE, WITHOUT_CT, case(7)]}).json()["predictions"]
    assert [row["variant"] for row in rows] == ["dgf", "us_multitask", "dgf"]
    assert list(rows[0]) == [*COLUMNS, "model", "version"]
    assert rows[1]["ct_contribution"] is None
    assert isinstance(rows[0]["warnings"], list)
    from dgfnet.serving.answers import answer
    from dgfnet.serving.cases import decode_case

    served = Served.open(bundle)
    direct = answer(served, [decode_case(one, served.preprocess) for one in (CASE, WITHOUT_CT, case(7))])
    assert [row["probability"] for row in rows] == pytest.approx(
        [row["probability"] for row in direct], abs=1e-9
    )
    for form in (
        {"inputs": [CASE]},
        {"instances": [CASE]},
        {"dataframe_split": {"columns": list(CASE), "data": [list(CASE.values())]}},
        {"dataframe_records": [{**CASE, "us": picture(0).tolist(), "us_mask": disc(14).tolist()}]},
        {"dataframe_records": [{name: [value] for name, value in CASE.items()}]},
    ):
        assert post(address, form).json()["predictions"] == rows[:1]


def changed(**fields):
    return {"dataframe_records": [CASE | fields]}


MALFORMED = {
    "nothing": (b"", "JSON"),
    "no JSON": (b"{", "JSON"),
    "a list": (b"[]", "JSON dictionary"),
    "a number": (b"3", "JSON dictionary"),
    "no text": (b"\xff\xfe\x00\x81", "JSON"),
    "no known key": ({"data": [CASE]}, "dataframe_records"),
    "two keys": ({"dataframe_records": [CASE], "inputs": [CASE]}, "exactly one"),
    "no case": ({"dataframe_records": []}, "none of the fields us, us_mask, ct, ct_mask"),
    "an empty case": ({"dataframe_records": [{}]}, "none of the fields"),
    "a text for a case": ({"dataframe_records": ["x"]}, "none of the fields"),
    "a number for cases": ({"dataframe_records": 5}, "list of records"),
    "missing field": ({"dataframe_records": [{"us": CASE["us"]}]}, "1 image(s) in us but 0 in us_mask"),
    "nothing but null": ({"dataframe_records": [dict.fromkeys(CASE)]}, "no image in the case"),
    "wrong base64": (changed(us="%%%"), "us[0]: is not base64"),
    "no picture": (changed(ct=base64.b64encode(b"hello").decode()), "ct[0]: 5 bytes of no kind we read"),
    "half a picture": (changed(us=CASE["us"][:400]), "us[0].png: cannot be decoded"),
    "16 bit": (changed(us=png(np.zeros((20, 20), np.uint16))), "expected 8 bit"),
    "81 million pixels": (changed(us=png(np.zeros((9000, 9000), np.uint8))), "more than 50 million pixels"),
    "empty mask": (changed(us_mask=png(disc(0) * 0)), "the mask is empty"),
    "mask of another size": (changed(us_mask=png(disc(5, 50, 60))), "has 120x160 pixels"),
    "a picture for a mask": (changed(us_mask=png(picture(3))), "grey values all over"),
    "NaN": (changed(us=[[0.0, float("nan")], [1, 2]]), "us[0]: 1 values are no finite numbers"),
    "ragged": (changed(us=[[0, 1], [2]]), "us[0]: is no matrix of numbers"),
    "wrong shape": (changed(us=[[[[1, 2], [3, 4]]]]), "found shape (1, 2, 2); expected a matrix"),
    "out of range": (changed(us=[[-1, 2], [3, 4]]), "values from -1 to 4"),
    "a number for an image": (changed(us=5), "us: found int"),
    "an object for an image": (changed(us={"a": 1}), "us: found dict"),
    "images without masks": (changed(us=[CASE["us"]] * 2), "2 image(s) in us but 1 in us_mask"),
    "too many cases": ({"dataframe_records": [WITHOUT_CT] * 257}, "257 cases; expected at most 256"),
    "100 MB": (changed(us="A" * 100_000_000), "bytes; expected at most"),
}


@pytest.mark.parametrize("server", ["plain", "guarded"])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_a_4xx_with_a_reason(request, server, name):
    address = request.getfixturevalue(server)
    body, words = MALFORMED[name]
    found = post(address, body)
    assert 400 <= found.status_code < 500
    message = found.json()["message"]
    assert words in message or (server == "guarded" and name == "100 MB" and "the request has" in message)
    if server == "guarded":
        assert "\n" not in message
        assert len(message) <= 500
    assert post(address, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (json.dumps({"dataframe_records": [CASE]}), None, 415, "no Content-Type"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", 400, "nested too deeply"),
        (b"a,b\n1", "text/plain", 415, "content types"),
        (b"x" * 100_000_000, "text/csv", 413, "expected at most"),
        (iter([b"{}"]), "application/json", 411, "Content-Length"),
    ],
)
def test_the_guard_answers_where_mlflow_would_fall_over(guarded, body, kind, status, words):
    headers = {"Content-Type": kind} if kind else {}
    found = requests.post(guarded, data=body, headers=headers, timeout=60)
    assert (found.status_code, words in found.json()["message"]) == (status, True)
    assert post(guarded, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


def test_eight_clients_at_once_get_the_answers_of_one(guarded):
    expected = [post(guarded, {"dataframe_records": [case(seed)]}).json() for seed in range(8)]
    found = {}

    def ask(seed):
        found[seed] = [post(guarded, {"dataframe_records": [case(seed)]}).json() for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {seed: [expected[seed]] * 5 for seed in range(8)}


def test_the_model_file_holds_no_pickle_and_asks_for_no_training_library(model):
    names = {path.name for path in model.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))}
    asked = (model / "requirements.txt").read_text()
    for library in ("torch", "ray", "dvc", "captum", "albumentations", "scikit-learn", "optuna"):
        assert f"{library}==" not in asked
    assert "onnxruntime==" in asked
