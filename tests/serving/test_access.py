"""Tokens, TLS and the log of a server."""

import asyncio
import contextlib
import json
import threading
import time

import pytest
import requests
import uvicorn
from made import case

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.serve import configuration
from dgfnet.serving.access import OPEN, Access, Guard, check_tls, read_token
from dgfnet.serving.connection import Limits
from dgfnet.serving.server import listen, scoring_app
from own_certificate import write_certificate

TOKEN = "0123456789abcdef0123456789"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for localhost, and its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"))


@contextlib.contextmanager
def running(bundle, limits, access):
    """A server in a thread, and its port."""
    with listen("127.0.0.1", 0) as listening:
        app = scoring_app(ScoringModel.open(bundle), "dgfnet-central", "7", limits, access)
        server = uvicorn.Server(configuration(app, limits, tls=access.tls))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def port(bundle, certificate):
    with running(bundle, Limits(), Access(TOKEN, certificate, log=True)) as port:
        yield port


@pytest.fixture
def ask(port, certificate):
    def asked(method, path, token=None, **more):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        where = f"https://localhost:{port}{path}"
        return requests.request(method, where, headers=headers, verify=certificate[0], timeout=60, **more)

    return asked


def test_without_the_token_nothing_is_answered(ask):
    body = {"dataframe_records": [case()]}
    for path in ("/invocations", "/preview"):
        for token in (None, "", TOKEN[:-1], f"{TOKEN}0"):
            refused = ask("POST", path, token, json=body)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer TOKEN" in refused.json()["message"]
    assert ask("GET", "/openapi.json").status_code == 401
    assert ask("POST", "/invocations", TOKEN, json=body).status_code == 200
    assert ask("GET", "/openapi.json", TOKEN).status_code == 200


def test_health_and_page_are_open_and_have_heads(ask):
    for path in OPEN:
        got, head = ask("GET", path), ask("HEAD", path)
        assert (got.status_code, head.status_code) == (200, 200)
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
    assert ask("POST", "/ready").status_code == 405


def test_plain_http_is_no_answer_on_a_port_with_tls(port):
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://localhost:{port}/ping", timeout=10)


def test_the_log_tells_neither_who_nor_what(ask, capfd):
    capfd.readouterr()
    ask("POST", "/invocations", TOKEN, json={"dataframe_records": [case() | {"nodule": "MUSTERMANN"}]})
    ask("GET", "/invocations", TOKEN)
    end, lines = time.monotonic() + 10, ""
    while lines.count("\n") < 2 and time.monotonic() < end:
        lines += capfd.readouterr().err
        time.sleep(0.05)
    told = [json.loads(line) for line in lines.splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in told] == [
        ("POST", "/invocations", 200),
        ("GET", "/invocations", 405),
    ]
    assert all(line.keys() == {"time", "method", "path", "status", "ms"} for line in told)
    assert told[0]["ms"] > 0
    assert not any(word in lines for word in ("MUSTERMANN", TOKEN, "127.0.0.1"))


def test_a_server_that_is_full_is_not_ready(bundle):
    with running(bundle, Limits(pending=0), Access()) as port:
        assert requests.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code == 503
        assert requests.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 letters"),
        ("short\n", "5 letters"),
        ("a b" * 10, "30 letters"),
        ("ü" * 30, "no token can be read"),
    ],
)
def test_what_is_no_token_is_told(tmp_path, content, message):
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_token(path)
    with pytest.raises(InputError, match="no token can be read"):
        read_token(tmp_path / "absent")
    path.write_text(f"{TOKEN}\nmore\n")
    assert read_token(path) == TOKEN


def test_what_is_no_certificate_is_told_before_a_model_is_loaded(tmp_path, certificate):
    check_tls(*certificate)
    (tmp_path / "other.pem").write_text("no key")
    with pytest.raises(InputError, match="cannot be used for TLS"):
        check_tls(certificate[0], tmp_path / "other.pem")
    with pytest.raises(InputError, match="cannot be used for TLS"):
        check_tls(tmp_path / "absent.pem", certificate[1])


def test_a_fault_of_ours_is_a_500_in_the_log(capsys):
    async def fails(scope, receive, send):
        raise RuntimeError("a fault")

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    with pytest.raises(RuntimeError, match="a fault"):
        asyncio.run(Guard(fails, Access(log=True))(scope, None, None))
    assert json.loads(capsys.readouterr().err)["status"] == 500
