"""The servers of a bundle, `dgfnet serve` and `mlflow models serve`: answers, and 4xx for the rest."""

import base64
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import requests
from made import case, disc, picture, png, tiff
from server_process import running, wait_for

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.serving.answers import COLUMNS, answer, explain
from dgfnet.serving.cases import Reading
from dgfnet.serving.connection import Limits
from dgfnet.serving.decode import decode_case
from dgfnet.serving.server import listen, scoring_app

CASE = case()
WITHOUT_CT = {name: CASE[name] for name in ("nodule", "us", "us_mask")}


@pytest.fixture(scope="module")
def plain(model):
    """Address of `mlflow models serve`."""
    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-p", str(port)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, 15)


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


@pytest.fixture(scope="module")
def own(scoring):
    """Address of the server of `dgfnet serve`."""
    with running(scoring_app(scoring, "dgfnet-central", "3", Limits())) as address:
        yield address


def post(address, body, kind="application/json"):
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return requests.post(address, data=data, headers={"Content-Type": kind} if kind else {}, timeout=60)


@pytest.mark.parametrize("server", ["plain", "own"])
def test_cases_are_answered(request, server, scoring):
    address = request.getfixturevalue(server)
    sent = [CASE, WITHOUT_CT, case(7)]
    rows = post(address, {"dataframe_records": sent}).json()["predictions"]
    assert [row["variant"] for row in rows] == ["dgf", "us_multitask", "dgf"]
    assert [row["nodule"] for row in rows] == ["n0", "n0", "n7"]
    assert list(rows[0]) == ["nodule", *COLUMNS, "model", "version"]
    origin = ("dgfnet-central", "3") if server == "own" else ("", "")
    assert {(row["model"], row["version"]) for row in rows} == {origin}
    assert rows[1]["ct_contribution"] is None
    assert isinstance(rows[0]["warnings"], list)
    direct = answer(scoring, [decode_case(record, Reading.of(scoring)) for record in sent])
    added = ("nodule", "model", "version")
    assert [{name: row[name] for name in row if name not in added} for row in rows] == direct
    assert post(address, {"inputs": sent}).json()["predictions"] == rows
    for form in (
        {"inputs": [CASE]},
        {"dataframe_split": {"columns": list(CASE), "data": [list(CASE.values())]}},
        {"dataframe_split": {"columns": list(CASE), "data": [list(CASE.values())], "index": [7]}},
        {"dataframe_records": [{**CASE, "us": picture(0).tolist(), "us_mask": disc(14).tolist()}]},
        {"dataframe_records": [{n: value if n == "nodule" else [value] for n, value in CASE.items()}]},
        {"dataframe_records": [CASE | {"age": 51, "note": {"a": [1]}}], "params": {"a": 1}, "more": 1},
    ):
        assert post(address, form).json()["predictions"] == rows[:1]


def test_cases_are_explained(own, scoring):
    """The map is of the largest picture: the second of three."""
    several = case(3)
    several["us"] = [several["us"], case(4)["us"], case(5)["us"]]
    several["us_mask"] = [png(disc(10)), png(disc(15)), png(disc(12))]
    address = own.replace("invocations", "explain")
    both, alone = post(address, {"dataframe_records": [several, WITHOUT_CT]}).json()["explanations"]
    assert list(both) == ["nodule", "us", "ct", "model", "version"]
    assert (both["nodule"], both["model"], both["version"]) == ("n3", "dgfnet-central", "3")
    assert (both["us"]["picture"], both["ct"]["picture"]) == (1, 0)
    direct = explain(scoring, decode_case(several, Reading.of(scoring)))
    for name in ("us", "ct"):
        np.testing.assert_allclose(both[name]["log_odds"], direct[name], atol=1e-6)
        assert direct[name].shape == (8, 8)
    assert alone["ct"] is None
    assert np.shape(alone["us"]["log_odds"]) == (8, 8)
    refused = post(address, {"dataframe_records": [CASE | {"us_mask": png(disc(0) * 0)}]})
    assert refused.status_code == 400
    assert "us_mask[0]" in refused.json()["message"]


def test_what_is_not_answered_is_not_explained(scoring):
    typical = {
        name: dataclasses.replace(own, caution=1e-9, refusal=1e-9) for name, own in scoring.typical.items()
    }
    model = dataclasses.replace(scoring, typical=typical)
    assert explain(model, decode_case(CASE, Reading.of(model))) == {}
    with running(scoring_app(model, "dgfnet-central", "3", Limits())) as address:
        (row,) = post(address, {"dataframe_records": [CASE]}).json()["predictions"]
        (shown,) = post(address.replace("invocations", "explain"), {"inputs": [CASE]}).json()["explanations"]
    assert (row["level"], row["probability"], row["nodule"]) == ("no answer", None, "n0")
    assert row["statement"].startswith("no answer: ")
    assert shown["us"] is shown["ct"] is None


def test_both_servers_write_the_same_bytes(plain, own):
    """But for name and version, of which a model that is in no registry has none."""
    matrix = CASE | {"us": np.full((120, 160), 255).tolist(), "nodule": "Kn\u00f6tchen \u2603 \n"}
    for body in (
        {"dataframe_records": [CASE, WITHOUT_CT, case(7)]},
        {"inputs": [matrix, case(5)]},
        {"dataframe_split": {"columns": list(CASE), "data": [list(case(8).values())]}},
    ):
        of_mlflow, ours = post(plain, body), post(own, body)
        origin = b'"model": "dgfnet-central", "version": "3"'
        assert origin in ours.content
        assert ours.content.replace(origin, b'"model": "", "version": ""') == of_mlflow.content
        assert ours.headers["content-type"] == of_mlflow.headers["content-type"]
    for path in ("ping", "health", "version"):
        of_mlflow, ours = (requests.get(server.replace("invocations", path)) for server in (plain, own))
        assert (ours.status_code, ours.content) == (of_mlflow.status_code, of_mlflow.content)
        assert ours.headers["content-type"] == of_mlflow.headers["content-type"]
    assert requests.get(own.replace("invocations", "version")).text == version("mlflow")


def us_of_one_and_ct_of_another():
    """Two patients, of whom the first has ultrasound and the second CT."""
    other = case(9)
    return [WITHOUT_CT, {name: other[name] for name in ("nodule", "ct", "ct_mask")}]


@pytest.mark.parametrize("server", ["plain", "own"])
def test_images_of_two_patients_never_meet_in_one_case(request, server):
    """MLflow turns some forms into columns, in which US of one and CT of another would meet."""
    address, both = request.getfixturevalue(server), [CASE, case(9)]
    for form in ("dataframe_records", "inputs"):
        rows = post(address, {form: us_of_one_and_ct_of_another()}).json()["predictions"]
        assert [(row["nodule"], row["variant"]) for row in rows] == [
            ("n0", "us_multitask"),
            ("n9", "ct_multitask"),
        ]
    columns = {name: [record[name] for record in both] for name in CASE}
    for cases, body in (
        (us_of_one_and_ct_of_another(), {"instances": us_of_one_and_ct_of_another()}),
        (both, {"instances": both}),
        (both, {"inputs": columns}),
        ([CASE, WITHOUT_CT], {"instances": [CASE, WITHOUT_CT]}),
    ):
        response = post(address, body)
        if server == "plain" and response.status_code == 200:  # cases of the same fields are kept apart
            assert response.json() == post(address, {"dataframe_records": cases}).json()
        else:
            assert response.status_code == 400
        assert server == "plain" or CASE["us"][:20] not in response.text


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
    "a text for a case": ({"dataframe_records": ["x"]}, "case 0: found str; expected a dictionary"),
    "a text after a case": ({"inputs": [WITHOUT_CT, "x"]}, "case 1: found str; expected a dictionary"),
    "a case of null": ({"inputs": [None]}, "case 0: found NoneType; expected a dictionary"),
    "a case for a list": ({"dataframe_records": CASE}, "dataframe_records: expected a list of cases"),
    "columns for a list": ({"inputs": {"us": [CASE["us"]]}}, "inputs: expected a list of cases"),
    "a list for a table": ({"dataframe_split": [CASE]}, "dataframe_split: expected a dictionary of columns"),
    "a table without data": ({"dataframe_split": {"columns": ["us"]}}, "expected a dictionary of columns"),
    "more than a table": (
        {"dataframe_split": {"columns": ["us"], "data": [], "x": 1}},
        "expected a dictionary of columns",
    ),
    "numbers for columns": (
        {"dataframe_split": {"columns": [1], "data": [["x"]]}},
        "columns: expected a list of texts",
    ),
    "a list for a column": (
        {"dataframe_split": {"columns": [["us"]], "data": [["x"]]}},
        "columns: expected a list of texts",
    ),
    "a column twice": (
        {"dataframe_split": {"columns": ["us", "us"], "data": [["x", "y"]]}},
        "columns: a name stands there twice",
    ),
    "cases for rows": (
        {"dataframe_split": {"columns": list(CASE), "data": [CASE]}},
        "data: expected a list of rows, each a list",
    ),
    "a short row": (
        {"dataframe_split": {"columns": list(CASE), "data": [list(CASE.values()), ["n", CASE["us"]]]}},
        "row 1 has 2 values; expected 5, one per column",
    ),
    "half a character": (b'{"dataframe_records": [{"nodule": "\\ud800", "us": "%%%"}]}', "1 image(s) in us"),
    "a number for a name": (changed(nodule=5), "found int in nodule; expected a text"),
    "an empty name": (changed(nodule=""), "in nodule; expected a text"),
    "no name": ({"dataframe_records": [{"us": CASE["us"]}]}, "in nodule; expected a text"),
    "a number for cases": ({"dataframe_records": 5}, "expected a list of cases"),
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
    "an object for an image": (changed(us={"a": 1}), "us[0]: found a reference"),
    "images without masks": (changed(us=[CASE["us"]] * 2), "2 image(s) in us but 1 in us_mask"),
    "too many cases": ({"dataframe_records": [WITHOUT_CT] * 65}, "65 cases; expected at most 64"),
}


def check_refused(response, words):
    assert response.status_code == 400
    message = response.json()["message"]
    assert words in message
    return message


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_a_400_with_one_sentence(own, name):
    body, words = MALFORMED[name]
    response = post(own, body)
    message = check_refused(response, words)
    assert response.json() == {"error_code": "BAD_REQUEST", "message": message}
    assert CASE["us"][:20] not in message
    assert "\n" not in message
    assert len(message) <= 500
    assert post(own, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


@pytest.mark.parametrize("name", ["no name", "empty mask", "too many cases", "an object for an image"])
def test_plain_mlflow_refuses_with_the_same_words(plain, name):
    body, words = MALFORMED[name]
    check_refused(post(plain, body), words)
    assert post(plain, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (json.dumps({"dataframe_records": [CASE]}), None, 415, "found Content-Type none"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", 400, "nested too deeply"),
        (b"a,b\n1", "text/plain", 415, "expected application/json"),
        (b"{}", "application/json; charset=latin-1", 415, "in UTF-8"),
        (b"{}", "application/json; a=b", 415, "without parameters"),
        (b"x" * 100_000_000, "application/json", 413, "100000000 bytes; expected at most 67108864"),
        (b"PAR1", "application/vnd.apache.parquet", 415, "expected application/json"),
        (b'{"dataframe_records": [{"us": ' + b"9" * 5000 + b"}]}", "application/json", 400, "no JSON"),
        (iter([b"{}"]), "application/json", 411, "Content-Length"),
        (b"{}", "APPLICATION/JSON; Charset=UTF-8", 400, "exactly one of"),
        (b"{}", 'application/json;charset="utf-8"', 400, "exactly one of"),
    ],
)
def test_headers_and_json_that_cannot_be_read_are_a_4xx(own, body, kind, status, words):
    headers = {"Content-Type": kind} if kind else {}
    response = requests.post(own, data=body, headers=headers, timeout=60)
    assert (response.status_code, words in response.json()["message"]) == (status, True)
    assert post(own, {"dataframe_records": [WITHOUT_CT]}).status_code == 200


def together(count, work):
    """Runs work(place) in so many threads and returns what they returned, in order."""
    results = [None] * count

    def run(place):
        results[place] = work(place)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_eight_clients_at_once_get_the_answers_of_a_single_client(own):
    def ask(seed):
        return post(own, {"dataframe_records": [case(seed)]}).json()

    expected = [ask(seed) for seed in range(8)]
    assert together(8, lambda seed: [ask(seed) for _ in range(5)]) == [[row] * 5 for row in expected]


def waiting(scoring, event):
    """The model, which does not answer before an event; its unimodal models answer at once."""

    class Waiting(type(scoring)):
        def answer(self, crops):
            event.wait(60)
            return super().answer(crops)

    return Waiting(**vars(scoring))


def test_requests_beyond_the_limit_are_sent_away_and_all_others_answered(scoring):
    event, refused = threading.Event(), threading.Semaphore(0)

    def ask(address):
        response = post(address, {"inputs": [CASE]})
        if response.status_code == 429:
            assert "64 requests are waiting; try again later" in response.json()["message"]
            refused.release()
        return response.status_code

    with running(scoring_app(waiting(scoring, event), "m", "1", Limits())) as address:
        statuses = []
        thread = threading.Thread(
            target=lambda: statuses.extend(together(Limits.pending + 5, lambda place: ask(address)))
        )
        thread.start()
        for _ in range(5):  # nothing is answered before all five are refused
            assert refused.acquire(timeout=60)
        event.set()
        thread.join()
        assert sorted(statuses) == [200] * Limits.pending + [429] * 5
        assert ask(address) == 200


def test_work_beyond_the_time_limit_is_a_504_and_the_next_request_is_answered(scoring):
    event = threading.Event()
    with running(scoring_app(waiting(scoring, event), "m", "1", Limits(work_s=2))) as address:
        response = post(address, {"inputs": [CASE]})
        assert response.status_code == 504
        assert response.json()["message"] == "Request processing time exceeded limit"
        assert post(address, {"inputs": [WITHOUT_CT]}).status_code == 200
        event.set()
        assert post(address, {"inputs": [CASE]}).status_code == 200


def test_an_error_of_ours_is_a_500_without_data(scoring):
    class Broken(type(scoring)):
        def answer(self, crops):
            raise KeyError("secret")

    with running(scoring_app(Broken(**vars(scoring)), "m", "1", Limits())) as address:
        response = post(address, {"inputs": [CASE]})
        assert (response.status_code, response.json()["error_code"]) == (500, "INTERNAL_ERROR")
        assert "secret" not in response.text
        assert post(address, {"inputs": [WITHOUT_CT]}).status_code == 200


def test_a_client_that_hangs_up_takes_no_place(own):
    host, port = own.removeprefix("http://").removesuffix("/invocations").split(":")
    fields = ("Host: x", "Content-Type: application/json", "Content-Length: 999")
    head = "\r\n".join(["POST /invocations HTTP/1.1", *fields, "", "{"])
    for _ in range(Limits.pending + 1):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
    for _ in range(50):
        status = post(own, {"inputs": [WITHOUT_CT]}).status_code
        if status == 200:
            return
        time.sleep(0.1)
    pytest.fail(f"still {status}")


def test_the_model_holds_no_pickle(model):
    names = {path.name for path in model.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))}


def test_a_port_that_is_taken_is_one_message_before_an_address_is_printed():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="is in use by another program"):
            listen("127.0.0.1", other.getsockname()[1])
    with pytest.raises(InputError, match="port 99999"):
        listen("127.0.0.1", 99999)
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockname()[1] > 0
