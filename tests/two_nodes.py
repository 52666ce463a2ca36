"""Two Ray nodes on one machine that share no disk, in network and mount namespaces; needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NET = "10.77.3"  # .1 is the bridge, .10 the head, .11 the worker
PORT = 6379
UNSHARE = ("unshare", "-m", "-n", "-u", "--propagation", "private")


def missing() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed (Debian: apt install iproute2 util-linux)" if absent else ""


class Nodes:
    """The nodes 0, with Ray's head, and 1; each has a folder of its own at the same path."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        self.here = folder / "project"  # as both see it
        self.holders: list[subprocess.Popen[bytes]] = []
        self.ray: dict[int, subprocess.Popen[bytes]] = {}

    def inside(self, number: int, *command: str) -> list[str]:
        """A command line that runs in a node."""
        return ["nsenter", "-t", str(self.holders[number].pid), "-m", "-n", "-u", "--", *command]

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "RAY_"))}
        ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0"}
        path = {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
        return kept | ours | path | {"RAY_ADDRESS": f"{NET}.10:{PORT}", "RAY_NUM_REDIS_GET_RETRIES": "1"}

    def own(self, number: int) -> Path:
        """The folder of a node as this machine sees it."""
        return self.folder / f"node{number}" / "project"

    def start(self) -> None:
        self._run("ip", "link", "add", "dgfbr", "type", "bridge")
        self._run("ip", "addr", "add", f"{NET}.1/24", "dev", "dgfbr")
        self._run("ip", "link", "set", "dgfbr", "up")
        self.here.mkdir()
        for number in (0, 1):
            holder = subprocess.Popen(
                ["unshare", "-m", "-n", "-u", "--propagation", "private", "sleep", "infinity"]
            )
            self.holders.append(holder)
            time.sleep(0.5)
            outer, inner, address = f"dgfv{number}", f"dgfi{number}", f"{NET}.1{number}"
            self._run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
            self._run("ip", "link", "set", outer, "master", "dgfbr", "up")
            self._run("ip", "link", "set", inner, "netns", str(holder.pid))
            places = {self.own(number): self.here}
            for name in ("tmp", "home"):
                (self.folder / f"node{number}" / name).mkdir(parents=True, exist_ok=True)
            self.own(number).mkdir(parents=True, exist_ok=True)
            script = f"ip link set lo up; ip addr add {address}/24 dev {inner}; ip link set {inner} up; "
            script += f"ip route add default via {NET}.1; hostname dgfnode{number}; "
            script += "".join(f"mount --bind {own} {seen}; " for own, seen in places.items())
            self._run(*self.inside(number, "bash", "-ec", script))
            self.start_ray(number)
        self.wait(2)

    def start_ray(self, number: int) -> None:
        """Starts Ray on a node, or starts it again."""
        role = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        role = role if number == 0 else [f"--address={NET}.10:{PORT}"]
        tmp = self.folder / f"node{number}" / "tmp"
        command = ["ray", "start", *role, "--num-cpus=1", "--object-store-memory=200000000"]
        command += [f"--node-ip-address={NET}.1{number}", "--disable-usage-stats", "--block"]
        command += [f"--temp-dir={tmp}"] if number == 0 else []
        log = (self.folder / f"ray{number}.log").open("ab")
        environment = {key: value for key, value in self.environment().items() if key != "RAY_ADDRESS"}
        self.ray[number] = subprocess.Popen(
            self.inside(number, *command),
            cwd="/tmp",
            env=environment | {"TMPDIR": str(tmp)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        if number == 0:
            self.wait(1)

    def wait(self, count: int) -> None:
        """Waits until so many nodes are there."""
        asked = "import ray; ray.init(logging_level='ERROR', log_to_driver=False); "
        asked += "print('alive', sum(node['Alive'] for node in ray.nodes()))"
        for _ in range(40):
            done = self.run(0, sys.executable, "-c", asked)
            if f"alive {count}" in done.stdout:
                return
            time.sleep(1)
        raise AssertionError(done.stdout + done.stderr + (self.folder / "ray0.log").read_text()[-2000:])

    def run(self, number: int, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in a node, in the project's folder there."""
        return subprocess.run(
            self.inside(number, "env", "-C", str(self.here), *command),
            env=self.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )

    def begin(self, number: int, *command: str, **variables: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            self.inside(number, "env", "-C", str(self.here), *command),
            env=self.environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, number: int, words: str) -> int:
        """Kills the processes of a node whose command line holds these words; returns how many."""
        killed = 0
        for pid in self._pids(number):
            with contextlib.suppress(OSError):
                line = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in line:
                    os.kill(int(pid), signal.SIGKILL)
                    killed += 1
        return killed

    def cut(self, number: int, seconds: float) -> None:
        """Takes a node's link away for a while."""
        self._run("ip", "link", "set", f"dgfv{number}", "down")
        time.sleep(seconds)
        self._run("ip", "link", "set", f"dgfv{number}", "up")

    def stop(self) -> None:
        for number, holder in enumerate(self.holders):
            for pid in self._pids(number):
                if pid != str(holder.pid):
                    with contextlib.suppress(OSError):
                        os.kill(int(pid), signal.SIGKILL)
            holder.kill()
            holder.wait()
            self._run("ip", "link", "del", f"dgfv{number}", check=False)
        self._run("ip", "link", "del", "dgfbr", check=False)

    def _pids(self, number: int) -> list[str]:
        """Only processes of this node's network namespace."""
        with contextlib.suppress(OSError):
            own = os.readlink(f"/proc/{self.holders[number].pid}/ns/net")
            return [path.name for path in Path("/proc").glob("[0-9]*") if self._namespace(path) == own]
        return []

    @staticmethod
    def _namespace(path: Path) -> str:
        with contextlib.suppress(OSError):
            return os.readlink(path / "ns" / "net")
        return ""

    def _run(self, *command: str, check: bool = True) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """Two nodes that ask for a token, until the block ends."""
    nodes = Nodes(folder, os.urandom(24).hex())
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()
