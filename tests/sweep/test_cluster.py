"""Ray's local cluster as the sweep starts it: where it listens, and what is said when it does not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import ip_address

LISTENING = """
import json
from dgfnet.sweep.cluster import cluster
with cluster():
    import ray, psutil
    ray.get(ray.remote(lambda: None).remote())  # workers listen too
    me = psutil.Process()
    print(json.dumps([
        [process.name(), socket.laddr.ip]
        for process in [me, *me.children(recursive=True)]
        for socket in process.net_connections("inet")
        if socket.status == "LISTEN"
    ]))
"""
FAILING = """
import os, sys
from pathlib import Path
from dgfnet.errors import InputError
from dgfnet.sweep.cluster import cluster
from ray._private import services
started = Path(sys.argv[1]) / "gcs"
started.write_text(f"#!/bin/sh\\necho start >> {started}.log\\nexec sleep 600\\n")
started.chmod(0o755)
services.GCS_SERVER_EXECUTABLE = str(started)  # a server that never answers
try:
    with cluster():
        print("it started")
except InputError as error:
    import psutil
    print(error)
    print(Path(f"{started}.log").read_text().split())
    print([process.name() for process in psutil.Process().children(recursive=True)])
"""


def python(code, *arguments, **environment):
    """Runs code in a process of its own, for Ray reads its environment when it is imported."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def loopback(address):
    """An IPv4 address may be written as an IPv6 one, ::ffff:127.0.0.1."""
    plain = ip_address(address)
    return (getattr(plain, "ipv4_mapped", None) or plain).is_loopback


def test_a_local_cluster_listens_on_the_loopback_interface_only():
    sockets = json.loads(python(LISTENING)[-1])
    assert {"gcs_server", "raylet"} <= {name for name, _ in sockets}
    assert any(name.startswith("ray::") for name, _ in sockets)
    assert [(name, address) for name, address in sockets if not loopback(address)] == []


def test_a_start_that_fails_is_tried_once_more_and_said_in_one_sentence(tmp_path):
    seconds = {"RAY_gcs_server_port_wait_time_s": "1"}
    said, starts, left = python(FAILING, str(tmp_path), **seconds)
    assert said.startswith("Ray did not start on this machine in 2 tries (Timed out waiting for file ")
    assert "run the same command again when the machine is less busy" in said
    assert starts == "['start', 'start']"
    assert left == "[]"
