"""push and pull against a real S3 server: right, resumed, and whole when things go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from s3_server import S3Server, free_ports

from dgfnet.cli import main
from dgfnet.cohort import store
from dgfnet.errors import InputError

BIN = Path(sys.executable).parent
CONTENT = {
    "nodules.csv": b"patient_id,nodule_id\n",
    "us/a picture with \N{LATIN SMALL LETTER A WITH DIAERESIS}.png": bytes(range(256)) * 40,
    "us/deep/er/b.png": b"b",
    "empty": b"",
    "ct/large.nii": os.urandom(17 * 1024 * 1024),  # in parts
}


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


class Cut:
    """A proxy that closes every connection after it has passed on so many bytes from the server."""

    def __init__(self, target, limit):
        self.target, self.limit = target, limit
        self.port = free_ports(1)[0]
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, self.limit), daemon=True).start()

    def _pass(self, source, sink, limit):
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None and passed > limit:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self):
        self.listener.close()


def test_what_was_pushed_is_pulled_byte_for_byte(s3, cohort, tmp_path, capsys):
    main(["push", str(cohort), "s3://hospital/round/trip"])
    assert capsys.readouterr().out == "5 files, 5 transferred; checked by sha256\n"
    main(["pull", "s3://hospital/round/trip", str(tmp_path / "out")])
    assert contents(tmp_path / "out") == CONTENT
    sums = s3.client().get_object(Bucket="hospital", Key="round/trip/SHA256SUMS")["Body"].read().decode()
    (tmp_path / "out" / "SHA256SUMS").write_text(sums)
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=False)
    assert done.returncode == 0
    assert len(sums.splitlines()) == len(CONTENT)


def test_only_what_is_new_or_changed_is_moved_again(s3, cohort, tmp_path):
    assert store.push(cohort, "s3://hospital/again").moved == 5
    assert store.push(cohort, "s3://hospital/again").moved == 0
    (cohort / "us/deep/er/b.png").write_bytes(b"c")
    assert store.push(cohort, "s3://hospital/again") == store.Moved(5, 1, "sha256")
    fill(tmp_path / ".out.part", {"empty": b"", "nodules.csv": b"half", "left/over": b"from another pull"})
    assert store.pull("s3://hospital/again", tmp_path / "out").moved == 4
    assert contents(tmp_path / "out") == CONTENT | {"us/deep/er/b.png": b"c"}
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


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b", "a\\b", "."])
def test_names_that_lead_out_of_the_folder_write_nothing(s3, tmp_path, path):
    line = f"{hashlib.sha256(b'').hexdigest()}  {path}\n"
    s3.client().put_object(Bucket="hospital", Key="evil/SHA256SUMS", Body=line.encode())
    said = fault(store.pull, "s3://hospital/evil", tmp_path / "inner" / "out")
    assert "expected paths inside it; nothing was written" in said
    assert not (tmp_path / "inner").exists()


def test_refusals_are_told_in_one_line(s3, cohort, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert "expected s3://bucket/prefix" in fault(store.pull, "hospital/x", out)
    assert "no such bucket" in fault(store.pull, "s3://nowhere/x", out)
    assert "no such bucket" in fault(store.push, cohort, "s3://nowhere/x")
    assert "nothing there; check bucket and prefix" in fault(store.pull, "s3://hospital/nothing", out)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "refused (SignatureDoesNotMatch); check the credentials" in fault(
        store.push, cohort, "s3://hospital/x"
    )
    with pytest.raises(SystemExit) as caught:
        main(["pull", "s3://hospital/again", str(out)])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("dgfnet pull: s3://hospital/again: refused")
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


def test_a_connection_cut_in_the_middle_is_told_and_the_rest_comes_next_time(
    s3, cohort, tmp_path, monkeypatch
):
    store.push(cohort, "s3://hospital/cut")
    proxy = Cut(int(s3.endpoint.rpartition(":")[2]), 4 * 1024 * 1024)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    said = fault(store.pull, "s3://hospital/cut", tmp_path / "out")
    proxy.close()
    assert "the connection failed" in said
    assert "run it again" in said
    assert not (tmp_path / "out").exists()
    assert "ct/large.nii" not in contents(tmp_path / ".out.part")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert store.pull("s3://hospital/cut", tmp_path / "out").moved < 5
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


def test_a_server_that_dies_and_comes_back_loses_nothing(s3, cohort, tmp_path):
    store.push(cohort, "s3://hospital/killed")
    s3.kill()
    assert "the connection failed" in fault(store.pull, "s3://hospital/killed", tmp_path / "out")
    (cohort / "new.png").write_bytes(b"new")
    assert "the connection failed" in fault(store.push, cohort, "s3://hospital/killed")
    s3.start()
    assert store.push(cohort, "s3://hospital/killed").moved == 1
    store.pull("s3://hospital/killed", tmp_path / "out")
    assert contents(tmp_path / "out") == CONTENT | {"new.png": b"new"}
