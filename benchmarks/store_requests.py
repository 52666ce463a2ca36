"""Counts what every command asks of an MLflow server, on a tiny phantom.

    python benchmarks/store_requests.py [--delay 0.1]

The server and the counting proxy are those of the tests (tests/mlflow_between.py). For another build, run it
with that build's package on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "end_to_end")]
from whole import dgfnet, project  # noqa: E402

from mlflow_between import between, mlflow_server  # noqa: E402

COMMANDS = (
    *("phantom", "cohort", "audit", "preprocess", "outline", "pretrain", "tune", "crossval", "crossval"),
    *("compare", "register", "register", "external", "promote central 1", "history central"),
    "predict central data --out answers.csv",
)


def main() -> None:
    """Prints a line per command: requests, seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each request is passed on")
    delay = parser.parse_args().delay
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        folder = project(Path(place) / "project")
        (Path(place) / "server").mkdir()
        with mlflow_server(Path(place) / "server") as server, between(server) as proxy:
            proxy.delay = delay
            for command in COMMANDS:
                proxy.counted.clear()
                begin = time.monotonic()
                dgfnet(folder, *command.split(), MLFLOW_TRACKING_URI=proxy.uri)
                print(f"{command:40} {proxy.total:5} requests {time.monotonic() - begin:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
