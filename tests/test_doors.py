"""What stands before MLflow's server, a proxy or a certificate, is told in a sentence that helps."""

from __future__ import annotations

import contextlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.cli import SERVER
from dgfnet.errors import explained
from own_certificate import write_certificate

PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@contextlib.contextmanager
def answering(status, location="", certificate=None):
    """Yields the port of a server that answers each request alike, by TLS if it has a certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(PAGE)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # handshakes that fail are what is tested
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _as_the_command(monkeypatch):
    for name, value in SERVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def told(address):
    with pytest.raises(MlflowException) as caught:
        MlflowClient(address).search_experiments()
    sentence = explained(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "answers with a page for people, perhaps to sign in"),
        (404, "look at MLFLOW_TRACKING_URI, is a part such as /mlflow"),
        (413, "takes no files of this size (413)"),
    ],
)
def test_a_proxy_is_told_by_what_it_answers(status, said):
    with answering(status) as port:
        assert said in told(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("status", [401, 403, 405, 200])
def test_who_is_sent_on_is_told_where_whatever_is_answered_there(monkeypatch, status):
    with answering(status) as there, answering(301, f"http://127.0.0.1:{there}/health") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret@127.0.0.1:{port}/")
        assert told(f"http://127.0.0.1:{port}") == (
            f"MLflow's server http://127.0.0.1:{port} sends callers on to http://127.0.0.1:{there}; set "
            "MLFLOW_TRACKING_URI to the address at which MLflow itself answers"
        )
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{there}")
        assert "sends callers on" not in told(f"http://127.0.0.1:{there}")


def test_who_is_sent_to_a_page_to_sign_in_is_told_so(monkeypatch):
    with answering(302, "/login?next=health") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert "sends callers on to /login; set MLFLOW_TRACKING_URI" in explained(MlflowException("x"))


def test_an_unknown_authority_and_its_file(tmp_path, monkeypatch):
    files = write_certificate(tmp_path)
    with answering(404, certificate=files) as port:
        assert "name the file with that authority's certificate" in told(f"https://localhost:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "none.pem"))
        assert "names a file that is not there" in told(f"https://localhost:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(files[0]))
        assert "has no MLflow at this address" in told(f"https://localhost:{port}")  # the door is open
        assert "a certificate of another name" in told(f"https://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        assert "not both" in told(f"https://localhost:{port}")


def test_a_certificate_that_has_expired(tmp_path, monkeypatch):
    files = write_certificate(tmp_path, days=-1)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(files[0]))
    with answering(404, certificate=files) as port:
        assert "not valid today" in told(f"https://localhost:{port}")


def test_tls_where_there_is_none():
    with answering(404) as port:
        assert "MLFLOW_TRACKING_URI must begin with http://" in told(f"https://127.0.0.1:{port}")


def test_no_tls_where_there_is():
    said = "The plain HTTP request was sent to HTTPS port"  # nginx 1.22.1
    text = f"API request to endpoint /x failed with error code 400 != 200. Response body: '<html>\n{said}'"
    assert "MLFLOW_TRACKING_URI must begin with https://" in explained(MlflowException(text))
