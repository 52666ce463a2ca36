"""Two PACS to test against: Debian's Orthanc in a temporary folder, and a small one in the process."""

from __future__ import annotations

import contextlib
import email
import email.policy
import io
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
import requests

PLUGINS = ("/usr/lib/orthanc", "/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")


@contextlib.contextmanager
def orthanc(folder: Path, **options):
    """Starts Orthanc on the loopback interface and yields the address of its DICOMweb; skips without it."""
    program = shutil.which("Orthanc")
    plugin = next((path for place in PLUGINS for path in Path(place).glob("libOrthancDicomWeb.so*")), None)
    if program is None or plugin is None:
        pytest.skip("needs Orthanc with DICOMweb: make test-pacs, or apt install orthanc orthanc-dicomweb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        **{"StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port},
        **{"DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": False},
        **{"Plugins": [str(plugin)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}},
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(f"{address}/system", process)
            yield f"{address}/dicom-web"
        finally:
            process.terminate()
            process.wait(20)


def _wait(address, process):
    for _ in range(200):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(address, timeout=5).status_code in (200, 401):
                return
        assert process.poll() is None, "Orthanc ended"
        time.sleep(0.1)
    raise AssertionError("Orthanc does not answer")


class Double:
    """A PACS in the process: what it holds, what it was asked, and how it misbehaves.

    Attributes:
        held: data sets by SOPInstanceUID.
        asked: method, path with query, and headers of each request.
        answer: replaces the next answers: a function of the handler, unless that returns False, or None.
    """

    def __init__(self, *held):
        self.held = {str(data.SOPInstanceUID): data for data in held}
        self.asked = []
        self.answer = None

    def found(self, path, query):
        """Returns the data sets that a search or a retrieval means."""
        names = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
        parts = [part for part in path.split("/") if part]
        level = names[parts[-1]] if len(parts) % 2 else None
        wanted = {names[kind]: uid for kind, uid in zip(parts[::2], parts[1::2], strict=False)}
        for keyword in ("PatientID", "AccessionNumber", "StudyDate"):
            if keyword in query:
                wanted[keyword] = query[keyword][0]
        rows = {}
        for data in self.held.values():
            if all(_matches(value, str(data.get(keyword, ""))) for keyword, value in wanted.items()):
                rows.setdefault(str(data[level].value) if level else str(data.SOPInstanceUID), data)
        return level, list(rows.values())


def _matches(asked, value):
    """Says that a value is the one asked for, in which ? is any letter, or in a range of dates."""
    if re.fullmatch(r"(\d{8})?-(\d{8})?", asked):
        first, last = asked.split("-")
        return bool(value) and first <= value <= (last or "9")
    return len(asked) == len(value) and all(a in ("?", b) for a, b in zip(asked, value, strict=True))


ROW = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID", "PatientName"),
    *("PatientAge", "PatientSex", "AccessionNumber", "StudyDate", "StudyDescription"),
    *("Modality", "SeriesNumber", "SeriesDescription"),
    *("InstanceNumber", "NumberOfFrames", "Rows", "Columns"),
)


class Handler(BaseHTTPRequestHandler):
    """Answers of a `Double`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def handle_any(self):
        double = self.server.double
        double.asked.append((self.command, self.path, dict(self.headers)))
        body = self.body()
        if double.answer is not None and double.answer(self) is not False:
            return
        parts = urlsplit(self.path)
        if self.command == "POST":
            self.store(double, body)
            return
        level, found = double.found(parts.path.removeprefix("/dicom-web"), parse_qs(parts.query))
        if level is None:
            if not found:
                self.say(404, b"{}", "application/json")
                return
            file = io.BytesIO()
            found[0].save_as(file, enforce_file_format=True)
            kind = 'multipart/related; type="application/dicom"; boundary=edge'
            head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
            self.say(200, head + file.getvalue() + b"\r\n--edge--\r\n", kind)
            return
        rows = []
        for data in found:
            row = pydicom.Dataset()
            for keyword in ROW:
                if keyword in data:
                    row.add(data[keyword])
            rows.append(row.to_json_dict())
        self.say(200, json.dumps(rows).encode(), "application/dicom+json")

    do_GET = do_POST = handle_any

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def store(self, double, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        for part in message.iter_parts():
            data = pydicom.dcmread(io.BytesIO(part.get_payload(decode=True)))
            double.held.setdefault(str(data.SOPInstanceUID), data)
        self.say(200, b"{}", "application/dicom+json")

    def say(self, status, body, kind, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def served(double, context=None):
    """Address of a `Double` on the loopback interface; by https with an ssl context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads, server.double = True, double
    server.handle_error = lambda *request: None  # of a client that hung up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        host = "http://127.0.0.1" if context is None else "https://localhost"
        yield f"{host}:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
