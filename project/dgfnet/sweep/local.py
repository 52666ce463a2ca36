"""A Ray cluster on this machine for the time of a command: it asks for a token, on the loopback interface."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dgfnet.errors import InputError
from dgfnet.sweep.crash import last_line

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
PATIENCE = {  # seconds; Ray's 30 are too short on a busy machine
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_start_wait_time_s": "120",
}
MODE = "RAY_AUTH_MODE"
STARTS = 2
PRIVATE = "dgfnet-ray-"  # folders of ours; the number of the process follows
LONGEST_PLACE = 20  # letters; with Ray's own the path of a socket must have fewer than 108
OBJECT_STORE = 100 * 2**20  # bytes; trials read the archive from disk


def start(ray: Any, folder: Path, options: Mapping[str, Any]) -> None:
    """Starts a cluster on this machine's CPUs and GPUs, with a token and on the loopback interface alone.

    Raises:
        InputError: when no start came up in time, or something is missing; no process of it is left.
    """
    _shut(ray)
    cpus = len(os.sched_getaffinity(0))
    for attempt in range(1, STARTS + 1):
        own = _children()
        try:
            ray.init(
                "local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                _temp_dir=str(folder),
                **options,
            )
            _check_shut(ray)
            return
        except BaseException as error:  # Ray raises a plain Exception when its processes are late
            started = _children() - own
            with suppress(Exception):
                ray.shutdown()
            _end(started | (_children() - own))
            if isinstance(error, InputError) or not isinstance(error, Exception):
                raise
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise InputError(
                    f"Ray did not start on this machine: {last_line(error)}; put that right and run the "
                    "same command again"
                ) from None
            if attempt == STARTS:
                raise InputError(
                    f"Ray did not start on this machine in {STARTS} tries ({last_line(error)}); run the "
                    "same command again when the machine is less busy, or raise "
                    "RAY_raylet_start_wait_time_s and RAY_gcs_server_port_wait_time_s (seconds)"
                ) from None


def _shut(ray: Any) -> None:
    """Sets, whatever the user's environment says, that Ray asks for a token and listens on loopback alone."""
    # Unset, Ray switches its token on for a cluster that it starts. It would write one to ~/.ray/auth_token,
    # where others may read it (findings/ray-token-file-mode.sh): ours is in the processes' environment.
    os.environ.pop(MODE, None)
    os.environ["RAY_AUTH_TOKEN"] = _token()
    # The node's address becomes 127.0.0.1, and Ray then binds every socket there, on Linux too: it replaces
    # ray.init(_node_ip_address="127.0.0.1") by the outer address (findings/ray-loopback-replaced.sh).
    os.environ[LOOPBACK] = "0"
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False  # as read from there, if Ray was imported before


def _check_shut(ray: Any) -> None:
    """Raises InputError when the cluster that was started is open after all, as other releases may be."""
    address = str(ray.util.get_node_ip_address())
    if os.environ.get(MODE) != "token" or not ip_address(address).is_loopback:
        raise InputError(
            f"Ray {ray.__version__} listens on {address}, authentication {os.environ.get(MODE, 'off')}; "
            "expected a token and the loopback interface alone; install the release of requirements.lock"
        )


@contextmanager
def private_folder() -> Iterator[Path]:
    """Makes a folder for Ray's logs and sockets that no other user can enter, and removes it at the end.

    Ray lets everybody write to the folders that it makes, and who replaces a socket there is trusted.

    Raises:
        InputError: when it cannot be made.
    """
    place = tempfile.gettempdir()
    try:
        if len(place) > LONGEST_PLACE:
            place = "/tmp"
        _remove_orphans(Path(place))
        outer = tempfile.mkdtemp(prefix=f"{PRIVATE}{os.getpid()}-", dir=place)
    except OSError as error:
        raise InputError(
            f"Ray did not start on this machine: {error}; free space or name another TMPDIR"
        ) from None
    try:
        yield Path(outer) / "r"  # Ray opens this one to everybody, behind one that stays shut
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _remove_orphans(place: Path) -> None:
    """Removes the folders of commands that were killed."""
    for folder in place.glob(f"{PRIVATE}*"):
        pid = folder.name.removeprefix(PRIVATE).partition("-")[0]
        with suppress(OSError):  # another command removes it too
            if folder.stat().st_uid == os.getuid() and pid.isdigit() and not Path("/proc", pid).exists():
                shutil.rmtree(folder)


@cache
def _token() -> str:
    """Makes the token of this process's clusters; it lies in the environment of their processes alone."""
    return secrets.token_hex(32)


def _children() -> set[Any]:
    """Processes that descend from this one; Ray brings psutil along."""
    import psutil

    return set(psutil.Process().children(recursive=True))


def _end(processes: set[Any]) -> None:
    """Ends what a failed start left behind: Ray forgets it, and it would take the next start's time."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
