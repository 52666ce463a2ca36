"""Training speed: our fit beside the bare step, beside a reference, and the matrix beside an unshared one.

    pip install segmentation-models-pytorch   # for the reference alone; not a dependency
    python benchmarks/training.py             # about 20 minutes on two cores; --only fit ... for less

Everything runs on pictures drawn here, at the sizes of params.yaml, on one thread unless said otherwise, in
turns, so that a change of the machine's speed meets both sides. Ratios are medians of pairs.

fit_over_bare_step: pairs/s of `run_trial` for `dgf`, with archive, augmentation, MLflow and checkpoints,
    over the same step on tensors in memory; the variants of one modality stand beside it
fit_over_reference: pairs/s of fits of `concat`, as many at a time as there are cores and one thread each,
    as a sweep runs them, over a training loop as a competent user would write it: the same ResNets, two Unet
    decoders of segmentation-models-pytorch for each, eager, default memory format, optimiser and threads,
    default DataLoader over the same archive, albumentations' own transforms
one_thread_fit_over_reference: the same with one fit and one thread on both sides
full_width_fit_over_reference: likewise, at the paper's width
matrix_over_unshared: seconds of nine variants, two sites and two folds when every variant of every site
    trains segmentation phases of its own, over ours, which shares them; everything else is equal
two_by_one_over_one_by_two: steps/s of two processes with a thread each over one process with two
compiled_over_eager: steps/s with torch.compile over without, and the steps after which compiling has paid
paper: one epoch of `dgf` at the paper's size (run only when named): the lateral site's 402 balanced nodules
    in eight folds, 288/96 pixels, ResNet18, batch 30, all cores; FLOPs of the whole matrix of both sites
floor: FLOPs of a step (torch.utils.flop_counter), this CPU's rate in matmul and convolution, bytes of
    input, and how much of the convolution's rate the step reaches
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch
from fits import NODULES, Reference, bare_step, cohort, random_batch, stepper, steps_per_second, versions
from machine import machine
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dgfnet import tracking
from dgfnet.dataset.pairs import training_batches
from dgfnet.files import write_json
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import Settings, load
from dgfnet.sweep.plan import Inputs, classification, segmentation
from dgfnet.sweep.trial import Trial, run_trial
from dgfnet.training.fit import _features, _schedule, fit
from dgfnet.training.hardware import choose
from dgfnet.training.loop import SPEED
from dgfnet.training.partition import split
from dgfnet.training.start import initial_model
from dgfnet.training.task import Places, Task
from dgfnet.vocabulary import MODALITIES, PICTURED, SITES, SPECS

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("floor", "fit", "reference", "machine", "matrix", "threads", "compile")
EPOCHS = 12
SECONDS = 20.0  # of a worker


def main() -> None:
    """Measures what is asked for, prints tables and writes artifacts/benchmarks/training.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=(*PARTS, "paper"), default=list(PARTS))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = load(ROOT / "params.yaml", ["sweep.checkpoint_every=5"])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.worker:
        torch.set_num_threads(options.threads)
        print(work(options.worker, settings))
        return
    found: dict[str, Any] = {}
    for part in options.only:
        found[part] = globals()[f"measure_{part}"](settings)
        show(part, found[part])
    path = ROOT / "artifacts" / "benchmarks" / "training.json"
    ratios = {name: value for part in found.values() for name, value in part.items() if "_over_" in name}
    sizes = f"{settings.preprocess.us_size}/{settings.preprocess.ct_size} px"
    conditions = (
        f"pictures drawn here, {sizes}, batch {settings.training.batch}, width {settings.network.width:g} "
        "unless the name says full width, resnet18, one thread, in turns in one process, medians of pairs"
    )
    content = {"machine": machine(), "versions": versions(), "conditions": conditions, "ratios": ratios}
    write_json(path, {**content, "details": found})
    Console().print(content)


def show(title: str, values: dict[str, Any]) -> None:
    """One part as a table."""
    table = Table("what", "value", title=title)
    for name, value in values.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def measure_floor(settings: Settings) -> dict[str, Any]:
    """FLOPs and bytes of a step, and what this CPU can do."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    matmul = 2 * 1024**3 * steps_per_second(lambda: a @ b, 3, 2.0)
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(30, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        rate = 2 * 30 * 32 * 32 * 64 * 64 * 9 * steps_per_second(lambda: conv(x), 3, 2.0)
    found: dict[str, Any] = {"matmul_gflops": matmul / 1e9, "conv_gflops": rate / 1e9}
    for variant in ("us_resnet", "us_multitask", "dgf"):
        step = bare_step(settings, variant)
        with FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops()
        speed = steps_per_second(step, 3, 6.0)
        inputs = random_batch(settings, SPECS[variant].modalities)
        size = sum(t.nbytes for part in (inputs.images, inputs.targets) for t in part.values())
        found |= {
            f"{variant}_gflop_per_step": flops / 1e9,
            f"{variant}_ms_per_step": 1e3 / speed,
            f"{variant}_ms_per_step_at_conv_rate": 1e3 * flops / rate,
            f"{variant}_share_of_conv_rate": flops * speed / rate,
            f"{variant}_input_bytes_per_step": size,
        }
    return found


def measure_fit(settings: Settings) -> dict[str, Any]:
    """Our whole fit beside the bare step, epoch by epoch in turns."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        places, facts = cohort(Path(folder), settings, 600)
        for variant in ("us_resnet", "us_multitask", "dgf"):
            task = classification(settings, facts, "central", variant, 0)[0]
            pairs = list(in_turns(settings, replace(task, epochs=EPOCHS, parents={}), places, Path(folder)))
            found[f"{variant}_pairs_per_s"] = median(ours for ours, _ in pairs)
            found[f"{variant}_bare_pairs_per_s"] = median(bare for _, bare in pairs)
            found[f"{variant}_fit_to_bare"] = median(ours / bare for ours, bare in pairs)
    return {**found, "fit_over_bare_step": found["dgf_fit_to_bare"]}


def in_turns(settings: Settings, task: Task, places: Places, folder: Path) -> Iterator[tuple[float, float]]:
    """Pairs/s of an epoch of the fit and of the bare step on the same number of batches, in turns."""
    archive, hardware = Archive.open(places.archive), choose("auto")
    training, _ = split(task, places, archive)
    model, _ = initial_model(task, places, archive, training, hardware)
    features = _features(task, places, training)
    feed = partial(training_batches, archive)
    batches = list(_schedule(task, training, model, feed, features).batches(0))
    count = sum(len(batch.label) for batch in batches)
    step, rates, started = stepper(model, settings), [], time.perf_counter()

    def report(values: dict[str, Any]) -> None:
        nonlocal started
        ours = time.perf_counter() - started
        begin = time.perf_counter()
        for batch in batches:
            step(batch)
        bare = time.perf_counter() - begin
        if 1 < values["epoch"] < task.epochs:  # the first warms up, the last is validated
            rates.append((count / ours, count / bare))
        started = time.perf_counter()

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment = tracking.prepare(uri, "benchmark")
    parent = tracking.open_run(uri, experiment, "benchmark", task.key, {})
    task = replace(task, validate_every=10**6)
    run_trial(Trial(task, places, uri, experiment, parent.run_id, {}, 1, 5), report)
    yield from rates


def measure_reference(settings: Settings) -> dict[str, Any]:
    """Our fit of `concat` beside the reference, at the width of params.yaml and at the paper's."""
    found: dict[str, Any] = {}
    for width, nodules, epochs in ((settings.network.width, 300, 9), (1.0, 100, 6)):
        pairs = beside_reference(settings.changed({"network.width": width}), nodules, epochs)
        full = width != settings.network.width
        name = f"{'full_width' if full else 'one_thread'}_fit_over_reference"
        found[f"width_{width:g}_ours_pairs_per_s"] = median(ours for ours, _ in pairs)
        found[f"width_{width:g}_reference_pairs_per_s"] = median(theirs for _, theirs in pairs)
        found[name] = median(ours / theirs for ours, theirs in pairs)
    return found


def beside_reference(settings: Settings, nodules: int, epochs: int) -> list[tuple[float, float]]:
    """Pairs/s of ours and of the reference, epoch by epoch in turns."""
    rates: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        places, facts = cohort(Path(folder), settings, nodules)
        task = classification(settings, facts, "central", "concat", 0)[0]
        task = replace(task, epochs=epochs, parents={}, validate_every=10**6)
        archive = Archive.open(places.archive)
        reference = Reference(settings, archive, split(task, places, archive)[0])
        started = time.perf_counter()

        def on_epoch(epoch: int, record: dict[str, float]) -> None:
            nonlocal started
            ours = time.perf_counter() - started
            begin = time.perf_counter()
            count = reference.epoch()
            theirs = time.perf_counter() - begin
            if 1 < epoch < epochs:  # the first warms up, the last is validated
                rates.append((count / ours, count / theirs))
            started = time.perf_counter()

        fit(task, places, 10**6, on_epoch)
    return rates


def measure_matrix(settings: Settings) -> dict[str, Any]:
    """Every variant, site and fold with the shared segmentation phase and with one for each, both trained."""
    # the proportions of params.yaml: 10 epochs of segmentation, 25 unimodal, 10 multimodal
    short = {"pretrain.epochs": 4, "crossval.unimodal_epochs": 10, "crossval.multimodal_epochs": 4}
    settings = settings.changed({**short, "network.tlr.annealing": 10, "crossval.validate_every": 1000})
    seconds: dict[str, Counter[str]] = {"shared": Counter(), "unshared": Counter()}
    with tempfile.TemporaryDirectory() as folder:
        for name, spent in seconds.items():
            places, facts = cohort(Path(folder) / name, settings, 80)
            for task in matrix(settings, facts, shared=name == "shared"):
                begin = time.perf_counter()
                fit(task, places, 10**6, lambda epoch, record: None)
                spent[task.variant if task.phase == "classification" else task.phase] += (
                    time.perf_counter() - begin
                )
    shared, unshared = seconds["shared"].total(), seconds["unshared"].total()
    return {
        "shared_s": shared,
        "unshared_s": unshared,
        "matrix_over_unshared": unshared / shared,
        **{f"share_of_{name}": spent / shared for name, spent in seconds["shared"].most_common()},
    }


def matrix(settings: Settings, facts: Inputs, shared: bool) -> Iterator[Task]:
    """All fits, parents first; a fit asked for twice costs nothing the second time."""
    for fold in range(facts.fold_count):
        for number, site in enumerate(SITES):
            for place, variant in enumerate(PICTURED):
                task, origin = classification(settings, facts, site, variant, fold)
                for modality in SPECS[variant].modalities if SPECS[variant].tasks else ():
                    root = segmentation(settings, facts, modality, settings.network.encoder_of(site), fold)
                    yield root
                    if not shared and (number or place > PICTURED.index("ct_multitask")):
                        yield replace(root, seed=root.seed + 1 + 100 * number + place)  # its own, once more
                yield from (parent for parent in origin if parent.phase == "classification")
                yield task


def measure_threads(settings: Settings) -> dict[str, Any]:
    """Two trials with a thread each beside one with two, three times in turns."""
    del settings
    pairs = [(sum(workers("step", 1, 2)), sum(workers("step", 2, 1))) for _ in range(3)]
    return {
        "two_by_one_steps_per_s": median(two for two, _ in pairs),
        "one_by_two_steps_per_s": median(one for _, one in pairs),
        "two_by_one_over_one_by_two": median(two / one for two, one in pairs),
    }


def measure_machine(settings: Settings) -> dict[str, Any]:
    """The whole machine: fits of one thread each, beside one process of the reference."""
    del settings
    cores = len(os.sched_getaffinity(0))
    pairs = [(sum(workers("fit", 1, cores)), sum(workers("reference", cores, 1))) for _ in range(3)]
    return {
        "machine_ours_pairs_per_s": median(ours for ours, _ in pairs),
        "machine_reference_pairs_per_s": median(theirs for _, theirs in pairs),
        "fit_over_reference": median(ours / theirs for ours, theirs in pairs),
    }


def workers(kind: str, threads: int, count: int) -> list[float]:
    """Rates of processes that run at the same time."""
    command = [sys.executable, __file__, "--worker", kind, "--threads", str(threads)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return [float(process.communicate()[0].split()[-1]) for process in running]


def work(kind: str, settings: Settings) -> float:
    """What a worker measures: steps/s of the bare step, or pairs/s of a fit or of the reference."""
    if kind == "step":
        return steps_per_second(bare_step(settings, "dgf"), 3, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        places, facts = cohort(Path(folder), settings, 300)
        task = classification(settings, facts, "central", "concat", 0)[0]
        task = replace(task, epochs=1000, parents={}, validate_every=10**6)
        archive = Archive.open(places.archive)
        training = split(task, places, archive)[0]
        if kind == "reference":
            reference = Reference(settings, archive, training)
            reference.epoch()
            begin, count = time.perf_counter(), 0
            while time.perf_counter() - begin < SECONDS:
                count += reference.epoch()
            return count / (time.perf_counter() - begin)
        ends: list[float] = []

        def on_epoch(epoch: int, record: dict[str, float]) -> None:
            ends.append(time.perf_counter())
            if ends[-1] - ends[0] >= SECONDS:
                raise StopIteration

        with suppress(StopIteration):
            fit(task, places, 10**6, on_epoch)
        pairs = 2 * int(min((training.labels == value).sum() for value in (0, 1)))
        return pairs * (len(ends) - 1) / (ends[-1] - ends[0])


def measure_compile(settings: Settings) -> dict[str, Any]:
    """The bare step with and without torch.compile."""
    eager = bare_step(settings, "us_multitask")
    compiled = bare_step(settings, "us_multitask", torch.compile)
    begin = time.perf_counter()
    compiled()
    spent = time.perf_counter() - begin
    pairs = [(steps_per_second(compiled, 1, 4.0), steps_per_second(eager, 1, 4.0)) for _ in range(5)]
    ratio = median(one / other for one, other in pairs)
    saved = median(1 / other - 1 / one for one, other in pairs)
    return {
        "compile_s": spent,
        "compiled_over_eager": ratio,
        "pays_after_steps": spent / saved if saved > 0 else None,  # never
    }


def measure_paper(settings: Settings) -> dict[str, Any]:
    """One real epoch at the paper's size on all cores, and what the whole matrix asks for."""
    del settings
    paper = load(ROOT / "params.yaml", ["base.profile=paper", "network.pretrained=off"])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    training = {
        site: count * (paper.cohort.folds - 1) // paper.cohort.folds for site, count in NODULES.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        places, facts = cohort(Path(folder), paper, NODULES["lateral"], paper.cohort.folds)
        task = classification(paper, facts, "lateral", "dgf", 0)[0]
        task = replace(task, epochs=1, parents={}, validate_every=10**6)
        rates: list[float] = []
        fit(task, places, 10**6, lambda epoch, record: rates.append(record[SPEED]))
    rate = rates[0]
    found: dict[str, Any] = {
        "pairs": training["lateral"],
        "pairs_per_s": rate,
        "epoch_s": training["lateral"] / rate,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    total = unshared = 0.0
    for site, pairs in training.items():
        cost = {name: pair_flops(paper, site, name) for name in PICTURED if name != "us_tlr"}
        found |= {f"{site}_{name}_gflop_per_pair": flops / 1e9 for name, flops in cost.items()}
        # each site has its own encoder and so its own segmentation phases, one per modality
        phases = {name: paper.pretrain.epochs * cost[f"{name}_multitask"] for name in MODALITIES}
        asked = [name for one in PICTURED if SPECS[one].tasks for name in SPECS[one].modalities]
        label = paper.crossval.unimodal_epochs * sum(cost.values())
        total += (sum(phases.values()) + label) * pairs * paper.cohort.folds
        unshared += (sum(phases[name] for name in asked) + label) * pairs * paper.cohort.folds
    found["attained_gflops"] = found["lateral_dgf_gflop_per_pair"] * rate
    found["matrix_pflop"] = total / 1e15
    found["matrix_flop_over_unshared"] = unshared / total
    found["matrix_hours_at_20_tflops"] = total / 20e12 / 3600
    found["matrix_days_on_this_machine"] = total / (found["attained_gflops"] * 1e9) / 86400
    return found


def pair_flops(settings: Settings, site: Any, variant: str) -> float:
    """FLOPs of forward and backward for one pair, counted at a batch of two."""
    settings = settings.changed({"training.batch": 2})
    model = DGFNet(variant, settings.network.encoder_of(site), settings.network)  # type: ignore[arg-type]
    step, batch = stepper(model, settings), random_batch(settings, model.modalities)
    with FlopCounterMode(display=False) as counter:
        step(batch)
    return counter.get_total_flops() / 2


if __name__ == "__main__":
    main()
