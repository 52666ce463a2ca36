"""Training on one GPU: rates, memory, sharing, sameness, and the paper's whole matrix from them.

    bash benchmarks/gpu.sh                        # on the GPU machine, with the wheels that its header names
    python benchmarks/gpu.py [--only step fit] [--out gpu.json] [--seconds 3]
    python benchmarks/gpu.py --dry-run            # all of it on a CPU, tiny: the figures mean nothing

Needs torch and what trains: no MLflow, Ray or DVC. Every part that ends is written at once, with the time it
took; one that fails is written with its error, and the exit status is 1. The size is that of `base.profile:
paper_size`, batch 30, on pictures drawn here.

device: GPU, driver's memory, versions
step: pairs/s of the bare step (tensors in memory) of `dgf` and `concat`, in float32, half precision, compiled
fit: pairs/s of whole fits; `fit_over_bare_step`; over a loop as a competent user would write it
    (segmentation-models-pytorch, DataLoader with a worker per core, albumentations' own transforms, float32)
busy: share of an epoch in which the GPU computes, by torch's profiler; whether a step waits for the device
memory: most memory of a step by batch, beside what the check before a fit counts at the least
shares: fits at once on one GPU, each with its share of the memory
same: one small fit on GPU and CPU from one seed, float32, without dropout
resume: a fit interrupted in the middle, and one that was not; the same fit twice
explain: integrated gradients of nodules on GPU and CPU
onnx: ONNX Runtime's providers
matrix: GPU hours of the paper's nine variants, two sites and eight folds, on 1, 4 and 64 GPUs by simulation
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "project"))

import numpy as np  # noqa: E402 - the package need not be installed
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from fits import CPU, NODULES, Reference, cohort, random_batch, stepper, versions  # noqa: E402
from machine import machine  # noqa: E402

from dgfnet.metrics.discrimination import scores  # noqa: E402
from dgfnet.network.tlr import TransferNet  # noqa: E402
from dgfnet.network.variants import DGFNet  # noqa: E402
from dgfnet.preprocess.archive import Archive  # noqa: E402
from dgfnet.settings import Settings, load  # noqa: E402
from dgfnet.sweep.plan import classification, segmentations  # noqa: E402
from dgfnet.training import fit as training_fit  # noqa: E402
from dgfnet.training.annealing import PLAIN  # noqa: E402
from dgfnet.training.checkpoint import load_weights_file  # noqa: E402
from dgfnet.training.hardware import Hardware, choose  # noqa: E402
from dgfnet.training.memory import kept_for_backward  # noqa: E402
from dgfnet.training.partition import split  # noqa: E402
from dgfnet.training.task import Places, Task  # noqa: E402
from dgfnet.vocabulary import SITES, Site, Variant  # noqa: E402

PARTS = ("device", "step", "fit", "busy", "memory", "shares", "same", "resume", "explain", "onnx", "matrix")
FUSED: tuple[Variant, ...] = ("dgf", "concat")
DRY = (
    *("preprocess.us_size=32", "preprocess.ct_size=32", "network.width=0.0625", "network.tlr.size=75"),
    "training.batch=4",
)
NOTHING_READ = ("network.pretrained=off", "pretrain.measured_weight=0")  # no weights, no measured features


class Rehearsal(Hardware):
    """The path of a GPU, computed on a CPU."""

    on_gpu = True


@dataclass(frozen=True)
class Bench:
    """The sizes of a run.

    Attributes:
        dry: on a CPU, tiny.
        seconds: of one rate.
        folder: for cohorts and fits.
    """

    dry: bool
    seconds: float
    folder: Path

    def settings(self, *more: str) -> Settings:
        """Returns the paper's sizes, or tiny ones."""
        sizes = DRY if self.dry else ("base.profile=paper_size",)
        return load(ROOT / "params.yaml", [*sizes, *NOTHING_READ, *more])

    def hardware(self, precision: str = "auto", share: float = 1.0) -> Hardware:
        """Returns the GPU, or the CPU that stands for it."""
        if self.dry:
            return Rehearsal(torch.device("cpu"), torch.bfloat16 if precision == "auto" else None, 2**34)
        return choose(precision, share)

    def cohort(self, name: str, settings: Settings, nodules: int, folds: int = 2) -> tuple[Places, Any]:
        """Returns a drawn cohort: of few nodules in a dry run."""
        return cohort(self.folder / name, settings, 24 if self.dry else nodules, folds)


def main() -> int:
    """Measures the parts asked for; writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "artifacts" / "benchmarks" / "gpu.json")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one rate")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        print("torch sees no GPU; --dry-run rehearses on a CPU", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.dry_run, 0.1 if options.dry_run else options.seconds, Path(folder))
        if bench.dry:
            torch.set_num_threads(1)
            training_fit.choose = lambda precision, share=1.0: bench.hardware(precision, share)
        if options.worker:
            print(json.dumps(fit_rates(bench, bench.settings(), "dgf", options.worker, options.share)))
            return 0
        found: dict[str, Any] = {"dry_run": bench.dry}
        for part in options.only:
            begin = time.perf_counter()
            try:
                found[part] = globals()[f"measure_{part}"](bench, found)
            except Exception as error:
                found[part] = {"error": f"{type(error).__name__}: {error}"}
            found[part]["part_s"] = round(time.perf_counter() - begin, 1)
            print(part, json.dumps(found[part], indent=2), flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(any("error" in found[part] for part in options.only))


def measure_device(bench: Bench, _: Any) -> dict[str, Any]:
    """Names what is measured on."""
    facts = {"machine": machine(), "versions": {**versions(), "numpy": np.__version__}}
    if bench.dry:
        return facts
    properties = torch.cuda.get_device_properties(0)
    return {
        **facts,
        "name": properties.name,
        "memory_gib": properties.total_memory / 2**30,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def settle() -> None:
    """Waits until the GPU has done everything it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(step: Callable[[], Any], seconds: float, warm_up: int = 3) -> float:
    """Returns calls/s over so many seconds; the GPU is waited for at both ends alone."""
    for _ in range(warm_up):
        step()
    settle()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(4):
            step()
        done += 4
        settle()
    return done / (time.perf_counter() - begin)


def bare(
    settings: Settings, variant: Variant, hardware: Hardware, wrap: Any = None, site: Site = "lateral"
) -> Callable[[], None]:
    """Returns the step of a fresh network on one batch that lies on the device."""
    torch.manual_seed(0)
    transfer = variant == "us_tlr"
    model: Any = (
        TransferNet(PLAIN, settings.network.tlr)
        if transfer
        else DGFNet(variant, settings.network.encoder_of(site), settings.network)
    )
    model = model.to(hardware.device, memory_format=torch.channels_last)
    side = settings.network.tlr.size if transfer else None
    batch = random_batch(settings, model.modalities, side).to(hardware.device)
    step = stepper(model, settings, wrap or (lambda module: module), hardware)
    return lambda: step(batch)


def measure_step(bench: Bench, _: Any) -> dict[str, Any]:
    """Rates of the bare step."""
    settings, found = bench.settings(), {}
    for variant in FUSED:
        compiled = partial(torch.compile, backend="eager") if bench.dry else torch.compile
        for name, precision, wrap in (
            ("float32", "float32", None),
            ("half", "auto", None),
            ("half_compiled", "auto", compiled),
        ):
            step = bare(settings, variant, bench.hardware(precision), wrap)
            begin = time.perf_counter()
            step()
            settle()
            first = time.perf_counter() - begin
            pairs = settings.training.batch * rate(step, bench.seconds)
            found[f"{variant}_{name}_pairs_per_s"] = pairs
            if wrap:
                found[f"{variant}_{name}_first_step_s"] = first
    return found


def fit_rates(
    bench: Bench, settings: Settings, variant: Variant, folder: Path, share: float = 1.0
) -> dict[str, Any]:
    """Returns pairs/s of the epochs of a whole fit, without the first, which warms up, and the last."""
    places, facts = cohort(folder, settings, 24 if bench.dry else NODULES["lateral"])
    task = replace(classification(settings, facts, "lateral", variant, 0)[0], parents={})
    task = replace(task, epochs=5, validate_every=10**6)
    training, _ = split(task, places, Archive.open(places.archive))
    pairs = 2 * int(min((training.labels == value).sum() for value in (0, 1)))
    ends: list[float] = []
    workers = max(1, int(len(os.sched_getaffinity(0)) * share) - 1)
    training_fit.fit(task, places, 10**6, lambda *_: ends.append(time.perf_counter()), workers, share)
    return {"pairs_per_s": median(pairs / np.diff(ends)[:-1]), "pairs": pairs}


def measure_fit(bench: Bench, _: Any) -> dict[str, Any]:
    """Whole fits beside the bare step and beside the plain loop."""
    settings, found = bench.settings(), {}
    for variant in FUSED:
        step = bare(settings, variant, bench.hardware())
        before = settings.training.batch * rate(step, bench.seconds)
        own = fit_rates(bench, settings, variant, bench.folder / f"fit_{variant}")["pairs_per_s"]
        after = settings.training.batch * rate(step, bench.seconds)
        found[f"{variant}_fit_pairs_per_s"] = own
        found[f"{variant}_fit_over_bare_step"] = own / ((before + after) / 2)
    if find_spec("segmentation_models_pytorch") is None:
        return {**found, "plain": "not measured: segmentation-models-pytorch is not installed"}
    places, facts = bench.cohort("plain", settings, NODULES["lateral"])
    archive = Archive.open(places.archive)
    training, _ = split(classification(settings, facts, "lateral", "concat", 0)[0], places, archive)
    cores = len(os.sched_getaffinity(0))
    plain = Reference(settings, archive, training, bench.hardware().device, 0 if bench.dry else cores)
    plain.epoch()
    rates = []
    for _ in range(2):
        begin = time.perf_counter()
        count = plain.epoch()
        settle()
        rates.append(count / (time.perf_counter() - begin))
    found["plain_pairs_per_s"] = median(rates)
    found["fit_over_plain"] = found["concat_fit_pairs_per_s"] / found["plain_pairs_per_s"]
    return found


def measure_busy(bench: Bench, _: Any) -> dict[str, Any]:
    """The GPU's share of an epoch, and whether a step waits for it."""
    settings = bench.settings()
    places, facts = bench.cohort("busy", settings, NODULES["lateral"])
    task = replace(classification(settings, facts, "lateral", "dgf", 0)[0], parents={}, epochs=4)
    kinds = [torch.profiler.ProfilerActivity.CPU if bench.dry else torch.profiler.ProfilerActivity.CUDA]
    profiler = torch.profiler.profile(activities=kinds)
    walls: list[float] = []

    def on_epoch(epoch: int, record: Any) -> None:
        if epoch == 2:
            profiler.start()
            walls.append(time.perf_counter())
        if epoch == 3:
            settle()
            walls.append(time.perf_counter())
            profiler.stop()

    training_fit.fit(replace(task, validate_every=10**6), places, 10**6, on_epoch, 4)
    wanted = torch.autograd.DeviceType.CPU if bench.dry else torch.autograd.DeviceType.CUDA
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == wanted
    ]
    found: dict[str, Any] = {"busy": covered(spans) / 1e6 / (walls[1] - walls[0])}
    if not bench.dry:
        step = bare(settings, "dgf", bench.hardware())
        step()
        torch.cuda.set_sync_debug_mode("error")  # a step that waits raises
        try:
            step()
            found["step_waits"] = False
        except RuntimeError as error:
            found["step_waits"] = str(error)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return found


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Returns the length of the union of spans."""
    total, end = 0.0, float("-inf")
    for begin, until in sorted(spans):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


def measure_memory(bench: Bench, _: Any) -> dict[str, Any]:
    """Most memory of a step by batch, in GiB."""
    found: dict[str, Any] = {}
    hardware, sizes = bench.hardware(), (2, 4) if bench.dry else (15, 30, 60, 120)
    places, facts = bench.cohort("memory", bench.settings(), 40)
    archive = Archive.open(places.archive)
    for batch in sizes:
        settings = bench.settings(f"training.batch={batch}")
        task = classification(settings, facts, "lateral", "dgf", 0)[0]
        training, _ = split(task, places, archive)
        model = DGFNet("dgf", task.resnet, settings.network).to(hardware.device)
        weights = 4 * sum(parameter.nbytes for parameter in model.parameters())
        kept = kept_for_backward(model, archive, training, hardware)
        found[f"batch_{batch}_at_least_gib"] = (weights + kept * batch // 2) / 2**30
        if not bench.dry:
            step = bare(settings, "dgf", hardware)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            step(), step()
            settle()
            found[f"batch_{batch}_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def measure_shares(bench: Bench, _: Any) -> dict[str, Any]:
    """Pairs/s of fits at once on one GPU."""
    found: dict[str, Any] = {}
    for count in (1, 2) if bench.dry else (1, 2, 4):
        running = []
        for number in range(count):
            command = [sys.executable, __file__, "--share", str(1 / count)]
            command += ["--worker", str(bench.folder / f"share_{count}_{number}")]
            command += ["--dry-run"] if bench.dry else []
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        said = [process.communicate()[0] for process in running]
        rates = [json.loads(text.splitlines()[-1])["pairs_per_s"] for text in said]
        found[f"{count}_at_once_pairs_per_s"] = sum(rates)
    return found


def small(bench: Bench, name: str, **changes: Any) -> tuple[Places, Task]:
    """Returns a small fit of `dgf`, at the demo's sizes unless the run is dry."""
    overrides = [*(DRY if bench.dry else ()), *NOTHING_READ, "network.dropout=0"]
    settings = load(ROOT / "params.yaml", overrides)
    places, facts = cohort(bench.folder / name, settings, 24 if bench.dry else 120)
    task = classification(settings, facts, "central", "dgf", 0)[0]
    return places, replace(task, parents={}, epochs=4, validate_every=10**6, **changes)


def run(task: Task, places: Places, hardware: Hardware, on_epoch: Any = lambda *_: None) -> pd.DataFrame:
    """Fits on the given hardware; returns the predictions."""
    own, training_fit.choose = training_fit.choose, lambda precision, share=1.0: hardware
    try:
        training_fit.fit(task, places, 1, on_epoch, 2)
    finally:
        training_fit.choose = own
    return pd.read_csv(places.fit(task.key) / "predictions.csv")


def measure_same(bench: Bench, _: Any) -> dict[str, Any]:
    """One fit on GPU and CPU from one seed."""
    places, task = small(bench, "same")
    there = run(task, replace(places, work=places.work / "gpu"), bench.hardware("float32"))
    here = run(task, replace(places, work=places.work / "cpu"), CPU)
    half = run(task, replace(places, work=places.work / "half"), bench.hardware())
    labels = here["label"].to_numpy()
    auc = [scores(labels, table["probability"].to_numpy(), 0.5)["auc"] for table in (there, here, half)]
    return {
        "largest_difference": float((there["probability"] - here["probability"]).abs().max()),
        "auc_gpu": auc[0],
        "auc_cpu": auc[1],
        "auc_half": auc[2],
        "largest_difference_half": float((half["probability"] - here["probability"]).abs().max()),
    }


def measure_resume(bench: Bench, _: Any) -> dict[str, Any]:
    """An interrupted fit beside two that were not."""
    places, task = small(bench, "resume")
    where = {name: replace(places, work=places.work / name) for name in ("first", "second", "interrupted")}

    def stop(epoch: int, record: Any) -> None:
        if epoch == 2:
            raise InterruptedError

    with suppress(InterruptedError):
        run(task, where["interrupted"], bench.hardware(), stop)
    for place in where.values():
        run(task, place, bench.hardware())
    weights = {
        name: load_weights_file(place.fit(task.key) / "weights.safetensors") for name, place in where.items()
    }

    def apart(one: str, other: str) -> float:
        pairs = ((weights[one][name].double(), weights[other][name].double()) for name in weights[one])
        return max(float((a - b).abs().max()) for a, b in pairs if a.numel())

    return {"twice": apart("first", "second"), "interrupted": apart("first", "interrupted")}


def measure_explain(bench: Bench, _: Any) -> dict[str, Any]:
    """Nodules/s of integrated gradients from a black picture, GPU and CPU."""
    from dgfnet.attribution.gradients import Effort, Paths, integrate
    from dgfnet.attribution.networks import pictures, scorer

    settings = bench.settings()
    places, facts = bench.cohort("explain", settings, 40)
    archive = Archive.open(places.archive)
    task = classification(settings, facts, "lateral", "concat", 0)[0]
    training, _ = split(task, places, archive)
    nodules = training.take(np.arange(2 if bench.dry else 8))
    found = {}
    for name, device in (("gpu", bench.hardware().device), ("cpu", CPU.device)):
        torch.manual_seed(0)
        model = DGFNet("concat", task.resnet, settings.network).to(device).eval()
        own = pictures(model, archive, nodules)
        ends = {modality: image.to(device) for modality, image in own.images.items()}
        starts = {modality: torch.zeros_like(image) for modality, image in ends.items()}
        begin = time.perf_counter()
        effort = Effort(tolerance=0.05, panels=8, halvings=8, rows=64)
        integrate(scorer(model), Paths(ends, starts, own.fixed.to(device)), effort)
        settle()
        found[f"{name}_nodules_per_s"] = len(nodules) / (time.perf_counter() - begin)
    return found


def measure_onnx(bench: Bench, _: Any) -> dict[str, Any]:
    """The providers that ONNX Runtime has here."""
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def measure_matrix(bench: Bench, found: Mapping[str, Any]) -> dict[str, Any]:
    """GPU hours of the paper's matrix: rates of bare steps, times `fit_over_bare_step` if it was measured."""
    paper = ["base.profile=paper", *NOTHING_READ]
    settings = load(ROOT / "params.yaml", paper)
    sized = load(ROOT / "params.yaml", [*paper, *(DRY if bench.dry else ())])
    efficiency = found.get("fit", {}).get("dgf_fit_over_bare_step", 1.0)
    tiny = load(ROOT / "params.yaml", list(DRY))
    _, facts = cohort(bench.folder / "matrix", tiny, 16, settings.cohort.folds)
    speeds = {}
    for site in SITES:
        for variant in settings.crossval.variants:
            step = bare(sized, variant, bench.hardware(), None, site)
            pairs = sized.training.batch * rate(step, bench.seconds / 3)
            speeds[f"{site}_{variant}"] = efficiency * pairs
    seconds: dict[str, float] = {}
    parents: dict[str, tuple[str, ...]] = {}
    folds = range(settings.cohort.folds)
    wanted = [(site, variant) for site in SITES for variant in settings.crossval.variants]
    jobs = segmentations(settings, facts, wanted, folds)
    jobs += [
        classification(settings, facts, site, variant, fold)[0] for site, variant in wanted for fold in folds
    ]
    for job in jobs:
        site = job.site or next(s for s in SITES if settings.network.encoder_of(s) == job.encoder)
        pairs = NODULES[site] * (settings.cohort.folds - 1) / settings.cohort.folds
        seconds[job.key] = job.epochs * pairs / speeds[f"{site}_{job.variant}"]
        parents[job.key] = tuple(job.parents.values())
    names = {job.key: f"{job.name} ({job.phase})" for job in jobs}
    path = critical_path(seconds, parents)
    return {
        **{f"{name}_pairs_per_s": value for name, value in speeds.items()},
        "fits": len(seconds),
        "gpu_hours": sum(seconds.values()) / 3600,
        **{f"hours_on_{count}": makespan(seconds, parents, count) / 3600 for count in (1, 4, 64)},
        "critical_path_hours": sum(seconds[key] for key in path) / 3600,
        "critical_path": [names[key] for key in path],
        "left_out": "validation, the annealing of us_tlr's head, starting processes",
    }


def critical_path(seconds: Mapping[str, float], parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the longest chain of jobs that wait for each other, first to last."""
    longest: dict[str, float] = {}

    def ends(key: str) -> float:
        if key not in longest:
            longest[key] = seconds[key] + max((ends(parent) for parent in parents[key]), default=0.0)
        return longest[key]

    at: str | None = max(seconds, key=ends)
    path = []
    while at is not None:
        path.append(at)
        at = max(parents[at], key=ends, default=None)
    return path[::-1]


def makespan(seconds: Mapping[str, float], parents: Mapping[str, Sequence[str]], workers: int) -> float:
    """Returns the time until all jobs are done: a free worker takes the job that most work waits for.

    A job can start when its parents are done.
    """
    children: dict[str, list[str]] = {key: [] for key in seconds}
    for key, own in parents.items():
        for parent in own:
            children[parent].append(key)
    behind: dict[str, float] = {}

    def urgency(key: str) -> float:
        if key not in behind:
            behind[key] = seconds[key] + max((urgency(child) for child in children[key]), default=0.0)
        return behind[key]

    waiting = {key: len(own) for key, own in parents.items()}
    ready = [(-urgency(key), key) for key, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            key = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[key], key))
        now, done = heapq.heappop(running)
        for child in children[done]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, (-urgency(child), child))
    return now


if __name__ == "__main__":
    raise SystemExit(main())
