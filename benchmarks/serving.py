"""The scoring server: latency against eager PyTorch and MLflow's server, start, memory, eight clients.

    python benchmarks/serving.py                      # about 4 minutes
    python benchmarks/serving.py --seconds 10         # a shorter load test
    python benchmarks/serving.py --set base.profile=paper --only latency

Networks have the sizes of params.yaml and random weights: what they learnt does not matter here. A request
is one case: a US picture of 560 x 360 and a CT picture of 512 x 512 with masks, PNG in base64. An answer is
everything `dgfnet predict` says: probability, range over the folds, contributions, warnings. Decoding,
region of interest and checks are the same on all sides. `ours` is what `dgfnet serve` does with a request's
bytes: ONNX Runtime, one thread per network, networks beside each other. `eager` is the same with torch in
eager mode (its own threads), `mlflow` the same as `ours` through MLflow's scoring server. All answer in turns
in one process, without HTTP. Start and load are of servers in processes of their own: `ours` is the app of
`dgfnet serve` without the registry, `mlflow` is `mlflow models serve`. Writes
artifacts/benchmarks/serving.json.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import psutil
import requests
import torch
from machine import machine
from mlflow.models import Model
from mlflow.pyfunc import scoring_server
from rich.console import Console
from rich.table import Table

from dgfnet.bundle.crops import Crops
from dgfnet.bundle.export import ScoringPath
from dgfnet.bundle.graph import FoldGraph, Runner
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.write import Answers, Member, write_bundle
from dgfnet.files import write_json
from dgfnet.network.variants import DGFNet
from dgfnet.serving.forms import answer_body
from dgfnet.serving.pyfunc import save_model
from dgfnet.settings import Settings, load
from dgfnet.vocabulary import mask_of

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("latency", "start", "load")
CLIENTS = 8
NODULES = 90  # the bundle's training nodules
JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Measures what is asked for, prints it and writes artifacts/benchmarks/serving.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of the load test")
    parser.add_argument("--requests", type=int, default=200, help="of the latency test")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    options = parser.parse_args()
    settings = load(ROOT / "params.yaml", options.set)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        bundle, model = Path(place) / "bundle", Path(place) / "model"
        networks = write(bundle, settings)
        save_model(bundle, ("us", "ct"), model, Model())
        if "latency" in options.only:
            found["latency"] = measure_latency(bundle, model, networks, options.requests)
        if "start" in options.only:
            found["start"] = measure_start(bundle, model)
        if "load" in options.only:
            found["load"] = measure_load(bundle, model, options.seconds)
    for title, values in found.items():
        table = Table("what", "value", title=title)
        for name, value in values.items():
            table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
        Console().print(table)
    ratios = {k: v for values in found.values() for k, v in values.items() if "_over_" in k}
    content = {"machine": machine(), "versions": versions(), "conditions": conditions(settings)}
    path = ROOT / "artifacts" / "benchmarks" / "serving.json"
    write_json(path, {**content, "ratios": ratios, "details": found})
    Console().print({**content, "ratios": ratios})


def write(folder: Path, settings: Settings) -> list[DGFNet]:
    """A bundle of untrained networks; returns those of its fusion, the champion first."""
    folds = settings.cohort.folds
    noise = np.random.default_rng(0)
    sides = {name: settings.preprocess.size(name) for name in ("us", "ct")}
    album = {
        m: list(noise.integers(0, 256, (NODULES, 1, side, side), dtype=np.uint8)) for m, side in sides.items()
    } | {
        mask_of(m): list(noise.integers(0, 2, (NODULES, 1, side, side), dtype=np.uint8))
        for m, side in sides.items()
    }
    table = pd.DataFrame({"fold": np.arange(NODULES) % folds, "label": np.arange(NODULES) // folds % 2})
    made = {name: drawn(name, folds, settings) for name in ("dgf", "us_multitask", "ct_multitask")}
    alone = {name: made[f"{name}_multitask"] for name in ("us", "ct")}
    write_bundle(
        *(folder, made["dgf"], alone, Answers("ensemble", 0.9, 0.05), table, album, settings.preprocess),
        *("never trained", {}),
    )
    return [member.model for member in made["dgf"]]


def drawn(variant: Any, folds: int, settings: Settings) -> list[Member]:
    """Networks with random weights, normalised for noise: else values grow from layer to layer."""
    found = []
    for fold in range(folds):
        torch.manual_seed(fold)
        encoder = settings.network.encoder_of("central")
        model = DGFNet(variant, encoder, settings.network)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        sides = {name: settings.preprocess.size(name) for name in model.modalities}
        with torch.no_grad():
            noise = {n: torch.randint(256, (8, s, s), dtype=torch.uint8) for n, s in sides.items()}
            masks = {mask_of(n): values // 128 for n, values in noise.items()}
            model.features({**noise, **masks})
        model.eval()
        if model.nodule_level is not None:
            features = model.nodule_level.query.weight.shape[0]
            with torch.no_grad():
                entries = torch.randn(NODULES, features), torch.randn(NODULES, features)
                model.nodule_level.set_bank(*entries, torch.arange(NODULES))
        facts = {"variant": variant, "encoder": encoder}
        facts["network"] = settings.network.model_dump(mode="json")
        found.append(Member(model, fold, 0.0, 0.5, 0.5, str(fold), facts))
    return found


def request(seed: int = 0) -> bytes:
    """One case as a client sends it."""
    noise = np.random.default_rng(seed)
    fields = {"nodule": str(seed)}
    for name, (height, width), radius in (("us", (360, 560), 45), ("ct", (512, 512), 20)):
        grey = cv2.GaussianBlur(noise.integers(0, 256, (height, width), dtype=np.uint8), (5, 5), 0)
        mask = cv2.circle(np.zeros_like(grey), (width // 2, height // 2), radius, 255, -1)
        for field, pixels in ((name, grey), (f"{name}_mask", mask)):
            fields[field] = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    return json.dumps({"dataframe_records": [fields]}).encode()


def measure_latency(bundle: Path, folder: Path, networks: list[DGFNet], count: int) -> dict[str, Any]:
    """Times the sides in turns, one request at a time."""
    body, model = request(), ScoringModel.open(bundle)
    pyfunc = mlflow.pyfunc.load_model(str(folder))
    in_eager = eager(model, networks)
    schema, origin = pyfunc.metadata.get_input_schema(), {"model": "", "version": ""}
    before = format_8(model)
    sides: dict[str, Callable[[], str]] = {
        "ours": lambda: answer_body(body, model, origin),
        "format_8": lambda: answer_body(body, before, origin),
        "eager": lambda: answer_body(body, in_eager, origin),
        "mlflow": lambda: scoring_server.invocations(body, "application/json", pyfunc, schema).response,
    }
    if sides["ours"]() != sides["mlflow"]():
        raise SystemExit("dgfnet serve and mlflow models serve answer differently")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(5):
        for side in sides.values():
            side()
    for _ in range(count):
        for name, side in sides.items():
            seconds[name].append(timed(side))
    values = {
        f"{name}_{q}_ms": 1000 * quantile(times, q) for name, times in seconds.items() for q in ("p50", "p99")
    }
    return {
        **values,
        "ours_requests_per_s": 1 / statistics.mean(seconds["ours"]),
        "p50_eager_over_ours": values["eager_p50_ms"] / values["ours_p50_ms"],
        "p99_eager_over_ours": values["eager_p99_ms"] / values["ours_p99_ms"],
        "p50_format_8_over_ours": values["format_8_p50_ms"] / values["ours_p50_ms"],
        "p99_format_8_over_ours": values["format_8_p99_ms"] / values["ours_p99_ms"],
        "p50_mlflow_over_ours": values["mlflow_p50_ms"] / values["ours_p50_ms"],
        "request_bytes": len(body),
    }


def format_8(model: ScoringModel) -> ScoringModel:
    """Returns a copy of a model whose graphs are run once more for every modality that is left out."""

    def alone(run: Runner) -> Runner:
        return lambda crops: run(crops)[:1]

    members = tuple(dataclasses.replace(member, run=alone(member.run)) for member in model.members)
    return dataclasses.replace(model, members=members)


def eager(model: ScoringModel, networks: list[DGFNet]) -> ScoringModel:
    """Returns a copy of a model that runs the torch networks."""
    members = tuple(
        FoldGraph(in_torch(network, model.reference), member.shift)
        for network, member in zip(networks, model.members, strict=True)
    )
    return dataclasses.replace(model, members=members)


def in_torch(model: DGFNet, means: Crops) -> Runner:
    """A network in eager mode."""
    scoring = ScoringPath(model, means).eval()

    @torch.inference_mode()
    def run(crops: Crops) -> Any:
        log_odds = scoring(*(torch.from_numpy(crops[name]) for name in model.inputs))
        return torch.stack(log_odds).double().numpy()

    return run


def measure_start(bundle: Path, folder: Path) -> dict[str, Any]:
    """Times the way from nothing to the first answer: of servers, and of Python processes."""
    body, found = request(), {}
    for name, command in commands(bundle, folder).items():
        begin = time.perf_counter()
        with server(command) as (address, process):
            requests.post(address, data=body, headers=JSON, timeout=60).raise_for_status()
            found[f"{name}_first_answer_s"] = time.perf_counter() - begin
            found[f"{name}_first_answer_cpu_s"] = cpu_seconds(process)
            found[f"{name}_memory_mb"] = memory(process)
    found["cpu_mlflow_over_ours"] = found["mlflow_first_answer_cpu_s"] / found["ours_first_answer_cpu_s"]
    for name, code in (
        ("ours", "from dgfnet.bundle.model import ScoringModel; ScoringModel.open(Path(sys.argv[1]))"),
        ("torch", "from dgfnet.bundle.network import BundledNetwork; BundledNetwork.open(Path(sys.argv[1]))"),
    ):
        command = [sys.executable, "-c", f"import sys; from pathlib import Path; {code}", str(bundle)]
        times = [timed(lambda command=command: subprocess.run(command, check=True)) for _ in range(3)]  # type: ignore[misc]
        found[f"import_and_open_{name}_s"] = statistics.median(times)
    found["start_torch_over_ours"] = found["import_and_open_torch_s"] / found["import_and_open_ours_s"]
    return found


def measure_load(bundle: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Times eight clients, each with the next request as soon as it has an answer, for both servers."""
    loads = {name: load_of(command, seconds) for name, command in commands(bundle, folder).items()}
    return {f"{name}_{key}": value for name, values in loads.items() for key, value in values.items()}


def load_of(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Times eight clients of one server."""
    bodies = [request(seed) for seed in range(CLIENTS)]
    times: list[list[float]] = [[] for _ in bodies]
    wrong: list[str] = []
    with server(command) as (address, process):
        expected = [requests.post(address, data=body, headers=JSON, timeout=60).text for body in bodies]
        end = time.monotonic() + seconds

        def client(place: int) -> None:
            session = requests.Session()
            while time.monotonic() < end:
                begin = time.perf_counter()
                found = session.post(address, data=bodies[place], headers=JSON, timeout=60)
                times[place].append(time.perf_counter() - begin)
                if found.status_code != 200 or found.text != expected[place]:
                    wrong.append(f"{found.status_code} {found.text[:200]}")

        threads = [threading.Thread(target=client, args=(place,)) for place in range(CLIENTS)]
        for thread in threads:
            thread.start()
        sizes = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(min(1.0, seconds / 20))
            sizes.append(memory(process))
        for thread in threads:
            thread.join()
    all_times = [one for found in times for one in found]
    early, late = sizes[: len(sizes) // 5], sizes[-len(sizes) // 5 :]
    return {
        "clients": CLIENTS,
        "seconds": seconds,
        "answers": len(all_times),
        "wrong": len(wrong),
        "first_wrong": wrong[0] if wrong else "",
        "requests_per_s": len(all_times) / seconds,
        "p50_ms": 1000 * quantile(all_times, "p50"),
        "p99_ms": 1000 * quantile(all_times, "p99"),
        "memory_mb_first_fifth": statistics.median(early),
        "memory_mb_last_fifth": statistics.median(late),
        "memory_mb_most": max(sizes),
    }


def commands(bundle: Path, folder: Path) -> dict[str, list[str]]:
    """Returns the commands that serve a bundle and its MLflow model, without the port."""
    code = (
        "import sys; from pathlib import Path; import uvicorn; from dgfnet.bundle.model import ScoringModel; "
        "from dgfnet.serve import configuration; "
        "from dgfnet.serving.connection import Limits; "
        "from dgfnet.serving.server import listen, scoring_app; "
        "app = scoring_app(ScoringModel.open(Path(sys.argv[1])), 'model', '1', Limits()); "
        "listening = listen('127.0.0.1', int(sys.argv[-1])); "
        "uvicorn.Server(configuration(app, Limits())).run(sockets=[listening])"
    )
    return {
        "ours": [sys.executable, "-c", code, str(bundle)],
        "mlflow": ["mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local", "-p"],
    }


@contextmanager
def server(command: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """Runs a server on a free port: address and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, str(port)], env=environment, start_new_session=True, stdout=quiet, stderr=quiet
    )
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)[:80]} ended by itself, status {process.returncode}")
            try:
                if requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/invocations", psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def memory(process: psutil.Process) -> float:
    """Resident memory of a process and its children, MB."""
    family = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / 1e6


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and its children, those that ended included, s."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(member.cpu_times()[:4]) for member in family)


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def quantile(seconds: list[float], name: str) -> float:
    """p50 or p99."""
    return float(np.quantile(seconds, int(name[1:]) / 100))


def versions() -> dict[str, str]:
    """Of what decides the speed."""
    return {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "mlflow": mlflow.__version__}


def conditions(settings: Settings) -> str:
    """In words."""
    return (
        f"{settings.network.encoder_of('central')}, width {settings.network.width:g}, "
        f"{settings.preprocess.us_size}/{settings.preprocess.ct_size} px, {settings.cohort.folds} folds, dgf"
    )


if __name__ == "__main__":
    main()
