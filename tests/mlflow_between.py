"""An MLflow server on loopback, and a proxy before it that counts, refuses or delays requests."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import requests

HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass
class Between:
    """A proxy; what it does may be changed at any time.

    Attributes:
        uri: address for clients.
        status: None passes requests on; a number answers each with that status.
        hangs: True lets every request wait until it is False again.
        delay: seconds before a request is passed on.
        only: requests whose method and path hold this text are meant by status and hangs; "" means all.
        counted: requests by method and path.
    """

    uri: str = ""
    status: int | None = None
    hangs: bool = False
    delay: float = 0.0
    only: str = ""
    counted: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.counted.values())


@contextlib.contextmanager
def between(server: str, host: str = "127.0.0.1") -> Iterator[Between]:
    """A proxy before a server until the block ends."""
    state, there = Between(), urlsplit(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self._body()
            asked = f"{self.command} {urlsplit(self.path).path}"
            state.counted[asked] += 1
            time.sleep(state.delay)
            while state.hangs and state.only in asked:
                time.sleep(0.05)
            if state.status is not None and state.only in asked:
                self._answer(state.status, {}, b"refused by the test")
                return
            upstream = http.client.HTTPConnection(there.hostname, there.port, timeout=300)
            try:
                headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())
            except OSError:
                self.close_connection = True
            finally:
                upstream.close()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                if key.lower() not in HOP:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = pass_on

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that gave up

    with Server((host, 0), Handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        state.uri = f"http://{host}:{proxy.server_address[1]}"
        try:
            yield state
        finally:
            state.hangs = False
            proxy.shutdown()


@contextlib.contextmanager
def mlflow_server(folder: Path, backend: str | None = None, destination: str | None = None) -> Iterator[str]:
    """The address of an MLflow server with proxied artifacts, in a process of its own."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", backend or f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", destination or str(folder / "artifacts"), "--workers", "1"),
    ]
    extra = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""}
    log = (folder / "server.log").open("w")
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | extra, stdout=log, stderr=log, start_new_session=True
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{address}/health", timeout=5).ok:
                        break
                time.sleep(0.1)
            else:
                raise AssertionError((folder / "server.log").read_text()[-2000:])
            yield address
        finally:
            os.killpg(process.pid, 9)
