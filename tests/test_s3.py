"""push and pull against a real S3 server: right, resumed, and whole when things go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dgfnet import s3 as store
from dgfnet.cli import main
from dgfnet.errors import InputError
from s3_server import S3Server, free_ports

BIN = Path(sys.executable).parent
CONTENT = {
    "nodules.csv": b"patient_id,nodule_id\n",
    "us/a picture with \N{LATIN SMALL LETTER A WITH DIAERESIS}.png": bytes(range(256)) * 40,
    "us/deep/er/b.png": b"b",
    "us/.b.png.part": b"named as if half done",
    "us/b.png": b"B",
    "us/ends a line\N{LINE SEPARATOR}elsewhere": b"c",
    "empty": b"",
    "ct/large.nii": os.urandom(17 * 1024 * 1024),  # in parts
}
SMALL = {path: data for path, data in CONTENT.items() if path != "ct/large.nii"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with a bucket `hospital`."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    server.client().create_bucket(Bucket="hospital")
    yield server
    server.kill()


@pytest.fixture
def s3(server, monkeypatch):
    """The server, as the environment of this process names it."""
    if server.process is None:
        server.start()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def cohort(tmp_path):
    return fill(tmp_path / "cohort", CONTENT)


def fill(folder, content):
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def fault(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


class Proxy:
    """A line to the server that cuts every connection after `limit` bytes one way.

    With `then`, that is done once instead, and such connections go on slowly.
    """

    def __init__(self, s3, way, then=None, limit=4 * 1024 * 1024):
        self.target, self.slow = int(s3.endpoint.rpartition(":")[2]), then is not None
        self.todo = [then] if then else []  # popped by whichever thread comes first
        self.limits = {way: limit}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._pass, args=(near, far, "push"), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, "pull"), daemon=True).start()

    def _pass(self, source, sink, way):
        passed, limit = 0, self.limits.get(way, float("inf"))
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if passed > limit:
                    if not self.slow:
                        break
                    with contextlib.suppress(IndexError):
                        self.todo.pop()()
                    time.sleep(0.1)  # half a MB a second: the rest of the large file would take 20 s
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def press_ctrl_c():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def keys(s3, prefix):
    """Keys below a prefix, without it, with the time of their last change."""
    listed = s3.client().list_objects_v2(Bucket="hospital", Prefix=f"{prefix}/").get("Contents", [])
    return {item["Key"].removeprefix(f"{prefix}/"): item["LastModified"] for item in listed}


def test_what_was_pushed_is_pulled_byte_for_byte(s3, cohort, tmp_path, capsys):
    main(["push", str(cohort), "s3://hospital/round/trip"])
    assert capsys.readouterr().out == "8 files, 8 transferred; checked by sha256\n"
    main(["pull", "s3://hospital/round/trip", str(tmp_path / "out")])
    assert contents(tmp_path / "out") == CONTENT
    sums = s3.client().get_object(Bucket="hospital", Key="round/trip/SHA256SUMS")["Body"].read().decode()
    (tmp_path / "out" / "SHA256SUMS").write_text(sums)
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=False)
    assert done.returncode == 0
    assert sums.count("\n") == len(CONTENT)


def test_only_what_is_new_or_changed_is_moved_again(s3, cohort, tmp_path):
    assert store.push(cohort, "s3://hospital/again").moved == 8
    assert store.push(cohort, "s3://hospital/again").moved == 0
    before = keys(s3, "again")
    (cohort / "us/deep/er/b.png").write_bytes(b"c")
    (cohort / "empty").unlink()
    assert store.push(cohort, "s3://hospital/again") == store.Moved(7, 1, "sha256")
    after = keys(s3, "again")
    changed = {key for key in after if after[key] != before[key]}
    assert changed <= {"us/deep/er/b.png", "SHA256SUMS"}
    assert "empty" in after  # nothing is deleted on S3
    left = {"nodules.csv": b"half", "left/over": b"of another pull", "us/deep": b"where a folder belongs"}
    leftover = {"us/.b.png.part": CONTENT["us/.b.png.part"], "us/b.png": b"not B"}
    fill(tmp_path / ".out.part", left | leftover)
    assert store.pull("s3://hospital/again", tmp_path / "out").moved == 6
    expected = CONTENT | {"us/deep/er/b.png": b"c"}
    del expected["empty"]
    assert contents(tmp_path / "out") == expected
    assert not (tmp_path / "out/left").exists()


def test_a_bucket_that_other_tools_filled_is_checked_as_far_as_it_allows(s3, tmp_path):
    s3.client().put_object(Bucket="hospital", Key="plain/a/b.png", Body=b"pixels")
    assert store.pull("s3://hospital/plain", tmp_path / "out").checked.startswith("size, and MD5")
    assert contents(tmp_path / "out") == {"a/b.png": b"pixels"}


def test_bytes_that_are_not_those_that_were_pushed_are_refused(s3, cohort, tmp_path):
    store.push(cohort, "s3://hospital/rot")
    s3.client().put_object(Bucket="hospital", Key="rot/us/deep/er/b.png", Body=b"x")
    assert "rot/us/deep/er/b.png: its bytes are not those" in fault(
        store.pull, "s3://hospital/rot", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
    assert "us/deep/er/b.png" not in contents(tmp_path / ".out.part")
    s3.client().delete_object(Bucket="hospital", Key="rot/us/deep/er/b.png")
    assert "SHA256SUMS names is missing" in fault(store.pull, "s3://hospital/rot", tmp_path / "out")


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b", "a\\b", ".", "", "a/", "a\0b"])
def test_names_that_lead_out_of_the_folder_write_nothing(s3, tmp_path, path):
    line = f"{hashlib.sha256(b'').hexdigest()}  {path}\n"
    s3.client().put_object(Bucket="hospital", Key="evil/SHA256SUMS", Body=line.encode())
    said = fault(store.pull, "s3://hospital/evil", tmp_path / "inner" / "out")
    assert "expected paths inside it; nothing was written" in said
    assert not (tmp_path / "inner").exists()


@pytest.mark.parametrize("text", [b"\xff\xfe", b"<html>", b"0123  a.png\n"])
def test_a_list_that_is_none_is_refused(s3, tmp_path, text):
    s3.client().put_object(Bucket="hospital", Key="list/SHA256SUMS", Body=text)
    assert "not lines of sha256 and path" in fault(store.pull, "s3://hospital/list", tmp_path / "out")
    assert not (tmp_path / ".out.part").exists()


def test_refusals_are_told_in_one_line(s3, cohort, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert "expected s3://bucket/prefix" in fault(store.pull, "hospital/x", out)
    assert "expected s3://bucket/prefix" in fault(store.pull, "s3://hos pital/x", out)
    assert "no such bucket" in fault(store.pull, "s3://nowhere/x", out)
    assert "no such bucket" in fault(store.push, cohort, "s3://nowhere/x")
    assert "nothing there; check bucket and prefix" in fault(store.pull, "s3://hospital/nothing", out)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:8333")
    assert "localhost:8333; expected http:// or https:// in AWS_ENDPOINT_URL" in fault(
        store.push, cohort, "s3://hospital/x"
    )
    port = free_ports(1)[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert f"the connection to 127.0.0.1:{port} failed" in fault(store.push, cohort, "s3://hospital/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "refused (SignatureDoesNotMatch); check the credentials" in fault(
        store.push, cohort, "s3://hospital/x"
    )
    with pytest.raises(SystemExit) as caught:
        main(["pull", "s3://hospital/again", str(out)])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dgfnet pull: s3://hospital/again: refused")
    assert said.count("\n") == 1
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials; set AWS_ACCESS_KEY_ID" in fault(store.push, cohort, "s3://hospital/x")
    assert not out.exists()
    assert not (tmp_path / ".out.part").exists()


def test_folders_that_cannot_be_moved_are_told(s3, cohort, tmp_path):
    assert "no such folder" in fault(store.push, tmp_path / "nowhere", "s3://hospital/x")
    (tmp_path / "void").mkdir()
    assert "holds no file" in fault(store.push, tmp_path / "void", "s3://hospital/x")
    assert "exists and is not empty" in fault(store.pull, "s3://hospital/x", cohort)
    (cohort / "out").symlink_to("/etc/hostname")
    assert "links leading out" in fault(store.push, cohort, "s3://hospital/x")
    (cohort / "out").unlink()
    (cohort / "folder").symlink_to(cohort / "us")
    assert "folder: expected a file inside the folder" in fault(store.push, cohort, "s3://hospital/x")
    (cohort / "folder").unlink()
    for name in (b"in\xff.png", b"a\nb", b"a\\b"):
        path = os.path.join(os.fsencode(cohort), name)  # not pathlib: the first is no text
        with open(path, "wb"):
            pass
        assert "rename the file" in fault(store.push, cohort, "s3://hospital/x")
        os.unlink(path)
    assert keys(s3, "x") == {}


def test_a_place_that_cannot_be_written_is_told(s3, tmp_path):
    s3.client().put_object(Bucket="hospital", Key="small/a.png", Body=b"pixels")
    (tmp_path / "file").write_bytes(b"")
    assert "Not a directory" in fault(store.pull, "s3://hospital/small", tmp_path / "file" / "out")
    assert "name too long" in fault(store.pull, "s3://hospital/small", tmp_path / ("n" * 300))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_pull_that_is_cut_is_told_and_the_rest_comes_next_time(s3, cohort, tmp_path, monkeypatch):
    store.push(cohort, "s3://hospital/cut")
    with Proxy(s3, "pull") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        said = fault(store.pull, "s3://hospital/cut", tmp_path / "out")
    assert "failed (" in said
    assert "run it again" in said
    assert not (tmp_path / "out").exists()
    kept = contents(tmp_path / ".out.part")
    assert kept.items() <= SMALL.items()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert store.pull("s3://hospital/cut", tmp_path / "out").moved == 8 - len(kept)
    assert contents(tmp_path / "out") == CONTENT


def test_a_push_that_is_cut_is_no_push_until_it_is_repeated(s3, cohort, tmp_path, monkeypatch):
    with Proxy(s3, "push") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        said = fault(store.push, cohort, "s3://hospital/cut push")
    assert "failed (" in said
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    stored = keys(s3, "cut push")
    assert not {"ct/large.nii", "SHA256SUMS"} & stored.keys()
    said = fault(store.pull, "s3://hospital/cut push", tmp_path / "out")
    assert "no SHA256SUMS, its push broke off; push the folder again" in said
    assert not (tmp_path / "out").exists()
    assert store.push(cohort, "s3://hospital/cut push").moved == len(CONTENT.keys() - stored.keys())
    store.pull("s3://hospital/cut push", tmp_path / "out")
    assert contents(tmp_path / "out") == CONTENT


def test_ctrl_c_waits_for_no_large_file_and_leaves_no_half_one(s3, cohort, tmp_path, monkeypatch, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with Proxy(s3, "push", press_ctrl_c) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(KeyboardInterrupt):
            store.push(cohort, "s3://hospital/stopped")
    assert not {"ct/large.nii", "SHA256SUMS"} & keys(s3, "stopped").keys()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    store.push(cohort, "s3://hospital/stopped")
    with Proxy(s3, "pull", press_ctrl_c) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(KeyboardInterrupt):
            store.pull("s3://hospital/stopped", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # a thread that was just starting when Ctrl-C came is not waited for, and takes its own file away
    deadline = time.monotonic() + 20
    while not contents(tmp_path / ".out.part").items() <= SMALL.items():
        assert time.monotonic() < deadline, sorted(contents(tmp_path / ".out.part"))
        time.sleep(0.05)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    store.pull("s3://hospital/stopped", tmp_path / "out")
    assert contents(tmp_path / "out") == CONTENT


def test_dvc_gives_a_fresh_clone_the_same_cohort(s3, cohort, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    shutil.move(cohort, here / "data")
    environment = os.environ | {"DVC_NO_ANALYTICS": "true", "PATH": f"{BIN}:{os.environ['PATH']}"}

    def run(folder, *command):
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=120)

    run(here, "git", "init", "-q")
    run(here, "dvc", "init", "-q")
    run(here, "dvc", "remote", "add", "-d", "s3", "s3://hospital/dvc")
    run(here, "dvc", "remote", "modify", "s3", "endpointurl", s3.endpoint)
    run(here, "dvc", "add", "-q", "data")
    run(here, "git", "add", ".")
    run(here, "git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "cohort")
    run(here, "dvc", "push", "-q")
    run(tmp_path, "git", "clone", "-q", str(here), str(there))
    run(there, "dvc", "pull", "-q")
    assert contents(there / "data") == CONTENT


def test_a_server_killed_in_the_middle_and_started_again_loses_nothing(s3, cohort, tmp_path, monkeypatch):
    with Proxy(s3, "push", s3.kill) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert "failed" in fault(store.push, cohort, "s3://hospital/killed")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert s3.process is None
    assert "the connection to 127.0.0.1" in fault(store.pull, "s3://hospital/killed", tmp_path / "out")
    s3.start()
    stored = keys(s3, "killed")
    assert not {"ct/large.nii", "SHA256SUMS"} & stored.keys()
    assert store.push(cohort, "s3://hospital/killed").moved == 8 - len(stored)
    store.pull("s3://hospital/killed", tmp_path / "out")
    assert contents(tmp_path / "out") == CONTENT
