"""What stands before MLflow's server, a proxy or a certificate, is told in a sentence that helps."""

from __future__ import annotations

import contextlib
import datetime
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.cli import SERVER
from dgfnet.errors import explained

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
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def certificate(path, days=1):
    """Writes a certificate of its own for localhost, valid for so many days, and its key to one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(built.public_bytes(pem) + key.private_bytes(pem, *form))
    return path


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
    ("status", "location", "said"),
    [
        (301, "https://elsewhere.invalid/", "set MLFLOW_TRACKING_URI to the address at which MLflow itself"),
        (302, "/login", "to a page where people sign in"),
        (200, "", "to a page where people sign in"),
        (404, "", "look at MLFLOW_TRACKING_URI, is a part such as /mlflow"),
        (413, "", "takes no files of this size (413)"),
    ],
)
def test_a_proxy_is_told_by_what_it_answers(status, location, said):
    with answering(status, location) as port:
        assert said in told(f"http://127.0.0.1:{port}")


def test_an_unknown_authority_and_its_file(tmp_path, monkeypatch):
    file = certificate(tmp_path / "c.pem")
    with answering(404, certificate=file) as port:
        assert "name the file with that authority's certificate" in told(f"https://localhost:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "none.pem"))
        assert "names a file that is not there" in told(f"https://localhost:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(file))
        assert "has no MLflow at this address" in told(f"https://localhost:{port}")  # the door is open
        assert "a certificate of another name" in told(f"https://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        assert "not both" in told(f"https://localhost:{port}")


def test_a_certificate_that_has_expired(tmp_path, monkeypatch):
    file = certificate(tmp_path / "c.pem", days=-1)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(file))
    with answering(404, certificate=file) as port:
        assert "not valid today" in told(f"https://localhost:{port}")


def test_tls_where_there_is_none():
    with answering(404) as port:
        assert "MLFLOW_TRACKING_URI must begin with http://" in told(f"https://127.0.0.1:{port}")


def test_no_tls_where_there_is():
    said = "The plain HTTP request was sent to HTTPS port"  # nginx 1.22.1
    text = f"API request to endpoint /x failed with error code 400 != 200. Response body: '<html>\n{said}'"
    assert "MLFLOW_TRACKING_URI must begin with https://" in explained(MlflowException(text))
