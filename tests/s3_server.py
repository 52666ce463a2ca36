"""A real S3 server (SeaweedFS) on free ports of this machine, which tests can kill and start again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ACCESS, SECRET = "dgfnet-test", "dgfnet-test-secret"
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
START = 60  # seconds; it took one to five here


class S3Server:
    """One server with one identity; its files survive a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "store").mkdir(parents=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": actions,
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        self.ports = free_ports(2 * len(PORTS))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[PORTS.index('s3.port')]}"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> object:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
        )

    def start(self) -> None:
        ports = [f"-{name}={port}" for name, port in zip(PORTS, self.ports, strict=False)]
        ports += [f"-{name}.grpc={port}" for name, port in zip(PORTS, self.ports[len(PORTS) :], strict=True)]
        command = [
            str(Path(sys.executable).parent / "weed"),
            f"-logdir={self.folder}",  # else in /tmp
            "server",
            f"-dir={self.folder / 'store'}",
            "-s3",
            *ports,
        ]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20", "-master.volumeSizeLimitMB=64"]
        command += ["-master.telemetry=false", f"-s3.config={self.folder / 'identities.json'}"]
        command += ["-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false", "-s3.port.iceberg=0"]
        # after a kill a master waits one or two such times, ten seconds each unless told
        command += ["-s3.port.lance=0", "-master.electionTimeout=1s"]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START
        client = self.client()
        while time.monotonic() < end:
            try:
                client.put_object(Bucket="ready", Key="probe", Body=b"1")
                return
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchBucket":
                    client.create_bucket(Bucket="ready")
            except BotoCoreError:
                pass
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"weed did not start:\n{(self.folder / 'log').read_text()[-3000:]}")

    def kill(self) -> None:
        """As when the machine loses power."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
        for port in self.ports:  # weed puts its sockets there and a killed one cannot remove them
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
