"""Raw sockets against a server process: slow, silent, too large and too many clients, and the end of it."""

import contextlib
import json
import signal
import socket
import time

import pytest
import requests
from made import case
from server_process import server

from dgfnet.bundle.model import ScoringModel
from dgfnet.serving.connection import Limits
from dgfnet.serving.forms import answer_body

SHORT = {
    **{"head_s": 1, "silence_s": 1, "body_s": 2.5, "rest_s": 1, "stop_s": 5, "work_s": 60},
    **{"body": 200_000, "held": 500_000, "pending": 4, "connections": 24},
}
BODY = json.dumps({"inputs": [case()]}).encode()
FIELDS = "Host: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def port(bundle):
    with server(bundle, SHORT) as (_, port):
        assert ask(port).status_code == 200
        yield port


def ask(port, body=BODY):
    headers = {"Content-Type": "application/json"}
    return requests.post(f"http://127.0.0.1:{port}/invocations", data=body, headers=headers, timeout=60)


@contextlib.contextmanager
def talk(port, *pieces, pause=0.0):
    """A connection to which pieces were sent, with a pause after each; what it says is read with `hear`."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for piece in pieces:
            with contextlib.suppress(ConnectionError):
                connection.sendall(piece)
            time.sleep(pause)
        yield connection


def hear(connection):
    """All that comes till the server closes: status (0 when nothing came) and message."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            said += more
    if not said:
        return 0, ""
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["message"]


def post(length, extra=""):
    return f"POST /invocations HTTP/1.1\r\n{FIELDS}{extra}Content-Length: {length}\r\n\r\n".encode()


def test_half_sent_bodies_take_no_place_from_others(port):
    with contextlib.ExitStack() as stack:
        half = [stack.enter_context(talk(port, post(999), b"{")) for _ in range(16)]
        assert ask(port).status_code == 200
        assert [hear(connection) for connection in half] == [(408, "no byte of the body in 1 s")] * 16
    assert ask(port).status_code == 200


def test_a_body_that_trickles_is_a_408(port):
    with talk(port, post(999), *[b" "] * 8, pause=0.4) as connection:
        assert hear(connection) == (408, "the body was not complete in 2.5 s")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", (0, "")),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\n", (408, "no complete header within 1 s")),
    ],
)
def test_a_connection_without_a_whole_header_is_closed(port, sent, said):
    with talk(port, sent) as connection:
        begun = time.monotonic()
        assert hear(connection) == said
        assert time.monotonic() - begun < 5


def test_a_header_that_trickles_is_closed(port):
    with talk(port, b"GET /ping HTTP/1.1\r\n", *[b"X-A: 1\r\n"] * 6, pause=0.4) as connection:
        assert hear(connection) == (408, "no complete header within 1 s")


def test_the_rest_of_a_refused_body_is_read_for_a_while_only(port):
    with talk(port, post(300_000), *[b" "] * 6, pause=0.4) as connection:
        assert hear(connection) == (413, "the request has 300000 bytes; expected at most 200000")


def test_what_arrives_counts_and_not_what_was_said(port):
    chunks = b"".join(b"%x\r\n%s\r\n" % (60_000, b" " * 60_000) for _ in range(10)) + b"0\r\n\r\n"
    with talk(port, post(3, "Transfer-Encoding: chunked\r\n"), chunks) as connection:
        assert hear(connection) == (
            400,
            "found Content-Length and Transfer-Encoding; send Content-Length alone",
        )
    head = f"POST /invocations HTTP/1.1\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n".encode()
    with talk(port, head, chunks) as connection:
        assert hear(connection)[0] == 411


def test_bodies_hold_no_more_bytes_together_than_they_may(port):
    """Three of 150,000 bytes are 450,000; the fourth would be beyond 500,000."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(talk(port, post(190_000), b" " * 150_000))
        time.sleep(0.3)
        with talk(port, post(190_000), b" " * 150_000) as connection:
            assert hear(connection) == (429, "the server holds as many bytes as it may; try again later")
    time.sleep(0.3)
    assert ask(port).status_code == 200


def test_connections_beyond_the_limit_are_sent_away(port):
    with contextlib.ExitStack() as stack:
        for _ in range(SHORT["connections"]):
            stack.enter_context(talk(port, b"GET "))
        with talk(port) as connection:
            assert hear(connection) == (429, "24 connections are open; try again later")
    time.sleep(0.3)
    assert ask(port).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",  # without Host
        b"GET /ping HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 20_000,
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        post("3", "Transfer-Encoding: gzip\r\n"),
    ],
)
def test_what_is_no_http_is_a_400_in_json(port, sent):
    with talk(port, sent) as connection:
        assert (
            hear(connection)
            == (
                400,
                "this is no HTTP/1.1 request, or its header has more than 16384 bytes",
            )
            or b"gzip" in sent
        )


def test_answers_that_nobody_reads_are_let_go(port):
    """Pipelined requests whose answers fill every buffer between client and server."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.settimeout(0.2)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert time.monotonic() < end


def test_a_path_that_is_not_there_is_an_error_of_the_same_form(port):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/invocations", 405),
        ("PUT", "/ping", 405),
    ):
        response = requests.request(method, f"http://127.0.0.1:{port}{path}", timeout=60)
        assert response.status_code == status
        assert response.json().keys() == {"error_code", "message"}
        assert "server" not in response.headers


def test_sigterm_answers_what_was_asked_and_ends(bundle):
    with server(bundle, SHORT, seconds=1.5) as (process, port):
        with talk(port, post(len(BODY)), BODY) as asked, talk(port, post(999), b"{") as half:
            time.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(ConnectionError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            assert asked.recv(65536).startswith(b"HTTP/1.1 200 OK")
            assert hear(half)[0] == 408
        assert process.wait(10) == -signal.SIGTERM
        assert "Traceback" not in process.stderr.read()


def test_sigterm_does_not_wait_for_ever(bundle):
    limits = SHORT | {"stop_s": 1, "silence_s": 60, "body_s": 60}
    with server(bundle, limits) as (process, port), talk(port, post(999), b"{") as half:
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(10) == -signal.SIGTERM
        assert time.monotonic() - begun < 6
        assert half.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert "Traceback" not in process.stderr.read()


def test_a_request_of_many_large_pictures_is_no_longer_read_when_nobody_waits(bundle):
    """A small file may hold a large picture, and a small request many of them."""
    model = ScoringModel.open(bundle)
    for end, ends in ((time.monotonic() + 60, True), (time.monotonic() - 1, False)):
        with contextlib.nullcontext() if ends else pytest.raises(TimeoutError):
            answer_body(BODY, model, {}, end)


def test_the_defaults_let_a_full_request_through():
    """64 MB in 60 s are 9 Mbit/s; 16 such bodies are held at once."""
    limits = Limits()
    assert limits.body * 8 / limits.body_s / 1e6 < 10
    assert limits.held // limits.body == 16
