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
from made import case, disc, picture, png, tiff
from mlflow.pyfunc import scoring_server

from dgfnet.errors import InputError
from dgfnet.registry import serve
from dgfnet.registry.pyfunc import described
from dgfnet.serving.answers import COLUMNS
from dgfnet.serving.served import Served

CASE = case()
WITHOUT_CT = {name: CASE[name] for name in ("nodule", "us", "us_mask")}


@pytest.fixture(scope="module")
def model(bundle, tmp_path_factory):
    """The bundle as an MLflow model, as the stage `register` logs it."""
    path = tmp_path_factory.mktemp("model") / "m"
    mlflow.pyfunc.save_model(path, **described(bundle, ("us", "ct")))
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
    assert [row["nodule"] for row in rows] == ["n0", "n0", "n7"]
    assert list(rows[0]) == ["nodule", *COLUMNS, "model", "version"]
    assert rows[1]["ct_contribution"] is None
    assert isinstance(rows[0]["warnings"], list)
    from dgfnet.serving.answers import answer
    from dgfnet.serving.cases import decode_case

    served = Served.open(bundle)
    sent = [CASE, WITHOUT_CT, case(7)]
    direct = answer(served, [decode_case(one, served.preprocess, served.usable) for one in sent])
    added = ("nodule", "model", "version")
    assert [{name: row[name] for name in row if name not in added} for row in rows] == direct
    assert post(address, {"inputs": sent}).json()["predictions"] == rows
    for form in (
        {"inputs": [CASE]},
        {"dataframe_split": {"columns": list(CASE), "data": [list(CASE.values())]}},
        {"dataframe_records": [{**CASE, "us": picture(0).tolist(), "us_mask": disc(14).tolist()}]},
        {"dataframe_records": [{n: value if n == "nodule" else [value] for n, value in CASE.items()}]},
    ):
        assert post(address, form).json()["predictions"] == rows[:1]


def one_of_us_one_of_ct():
    """Two patients, of whom the first has ultrasound and the second CT."""
    other = case(9)
    return [WITHOUT_CT, {name: other[name] for name in ("nodule", "ct", "ct_mask")}]


@pytest.mark.parametrize("server", ["plain", "guarded"])
def test_two_patients_are_never_made_one(request, server):
    """MLflow turns some forms into columns, in which US of one and CT of another would meet."""
    address, both = request.getfixturevalue(server), [CASE, case(9)]
    for form in ("dataframe_records", "inputs"):
        rows = post(address, {form: one_of_us_one_of_ct()}).json()["predictions"]
        assert [(row["nodule"], row["variant"]) for row in rows] == [
            ("n0", "us_multitask"),
            ("n9", "ct_multitask"),
        ]
    columns = {name: [one[name] for one in both] for name in CASE}
    for cases, body in (
        (one_of_us_one_of_ct(), {"instances": one_of_us_one_of_ct()}),
        (both, {"instances": both}),
        (both, {"inputs": columns}),
        ([CASE, WITHOUT_CT], {"instances": [CASE, WITHOUT_CT]}),
    ):
        found = post(address, body)
        if server == "plain" and found.status_code == 200:  # cases that show the same are kept apart
            assert found.json() == post(address, {"dataframe_records": cases}).json()
        else:
            assert found.status_code == 400
        assert server == "plain" or CASE["us"][:20] not in found.text


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
    "no name": ({"dataframe_records": [{"us": CASE["us"]}]}, "in nodule; expected a text"),
    "a number for cases": ({"dataframe_records": 5}, "list of records"),
    "missing field": (
        {"dataframe_records": [{"nodule": "n", "us": CASE["us"]}]},
        "1 image(s) in us but 0 in us_mask",
    ),
    "nothing but null": (
        {"dataframe_records": [dict.fromkeys(CASE) | {"nodule": "n"}]},
        "no image in the case",
    ),
    "long whole numbers": (changed(us=[[10**400, 1], [2, 3]]), "us[0]: is no matrix of numbers"),
    "pages": (changed(us=tiff(3)), "3 pages; expected one picture"),
    "wrong base64": (changed(us="%%%"), "us[0]: is not base64"),
    "no picture": (changed(ct=base64.b64encode(b"hello").decode()), "ct[0]: 5 bytes of no kind we read"),
    "half a picture": (changed(us=CASE["us"][:400]), "us[0].png: cannot be decoded"),
    "16 bit": (changed(us=png(np.zeros((20, 20), np.uint16))), "expected 8 bit"),
    "25 million pixels": (changed(us=png(np.zeros((5000, 5000), np.uint8))), "expected at most 16000000"),
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
    "too many cases": ({"dataframe_records": [WITHOUT_CT] * 65}, "65 cases; expected at most 64"),
    "100 MB": (changed(us="A" * 100_000_000), "bytes; expected at most"),
}


PLAIN = ("no JSON", "no name", "half a picture")  # refused by MLflow's parser, its signature, and our model


def requests_of(server):
    """Every malformed request; those that take long or tell what others tell are for the slow tests."""
    quick = MALFORMED.keys() - {"100 MB"} if server == "guarded" else PLAIN
    return [pytest.param(server, name, marks=() if name in quick else pytest.mark.slow) for name in MALFORMED]


@pytest.mark.parametrize(("server", "name"), [*requests_of("plain"), *requests_of("guarded")])
def test_what_is_malformed_is_a_4xx_with_a_reason(request, server, name):
    address = request.getfixturevalue(server)
    body, words = MALFORMED[name]
    found = post(address, body)
    assert 400 <= found.status_code < 500
    message = found.json()["message"]
    assert words in message or (server == "guarded" and name == "100 MB" and "the request has" in message)
    if server == "guarded":
        assert CASE["us"][:20] not in message
        assert "\n" not in message
        assert len(message) <= 500
    assert post(address, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (json.dumps({"dataframe_records": [CASE]}), None, 415, "found Content-Type none"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", 400, "nested too deeply"),
        (b"a,b\n1", "text/plain", 415, "expected application/json"),
        (b"x" * 100_000_000, "application/json", 413, "expected at most"),
        (b"PAR1", "application/vnd.apache.parquet", 415, "expected application/json"),
        (b'{"dataframe_records": [{"us": ' + b"9" * 5000 + b"}]}", "application/json", 400, "no JSON"),
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


def test_the_model_holds_no_pickle(model):
    names = {path.name for path in model.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))}


def test_a_port_that_is_taken_is_one_message_before_anybody_is_told():
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="cannot answer at"):
            serve._bound("127.0.0.1", other.getsockname()[1])
    with pytest.raises(InputError, match="port 99999"):
        serve._bound("127.0.0.1", 99999)
    with serve._bound("127.0.0.1", 0) as found:
        assert found.getsockname()[1] > 0
