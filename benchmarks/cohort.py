"""20,000 pictures of 560 x 360 pixels through the left end of the pipeline: time, memory, where time goes.

    python benchmarks/cohort.py [--nodules 4000] [--folder work/benchmark-cohort]
    python benchmarks/cohort.py --against CHECKOUT [--runs 3]
    python benchmarks/cohort.py --pictures DIR --stages cohort preprocess
    python benchmarks/cohort.py --set resources.memory_mb=600

Makes a cohort (four US pictures and one CT picture per nodule, a patient each), then runs `dgfnet cohort`,
`audit` and `preprocess` with the settings of params.yaml, as a user would. The pictures are speckle; with
`--pictures`, US are those of a folder in turn, so that people share pictures and the audit would refuse them.

With `--against`, another checkout's build does the same on the same cohort, with its own params.yaml and
results, each stage in turns; ratios are its median over ours. Its table of drawings is compared with ours.

CPU seconds are those of a command and the processes it waited for, and hardly depend on other work on the
machine. Memory is the proportional set size of a command and its workers, summed and sampled twice a second;
pages of the archive that is being written count, although the kernel could drop them. Parts are CPU
milliseconds per US picture, each measured alone, the lower of two runs. The folder is removed afterwards.
Prints tables and writes artifacts/benchmarks/cohort.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import machine
from rich.console import Console
from rich.table import Table

from dgfnet.files import write_json
from dgfnet.parallel import map_in_order

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH, US = 360, 560, 4
STAGES = ("cohort", "audit", "preprocess")
NUMBERS = ("seconds", "cpu_seconds", "peak_mb")
SAMPLE = 200  # US pictures whose parts are measured


@dataclass(frozen=True)
class Build:
    """A checkout, and the project folder that its commands run in."""

    name: str
    checkout: Path
    folder: Path


def main() -> None:
    """Makes the cohort, runs the stages, reports."""
    options = parse()
    top = options.folder.resolve()
    shutil.rmtree(top, ignore_errors=True)
    pictures = sorted(options.pictures.iterdir()) if options.pictures else []
    make(top / "data", options.nodules, pictures)
    builds = [Build("ours", ROOT, top / "ours")]
    if options.against:
        builds.append(Build("theirs", options.against.resolve(), top / "theirs"))
    for build in builds:
        build.folder.mkdir()
        shutil.copy(build.checkout / "params.yaml", build.folder)
    given = [f"base.data={top / 'data'}", *options.set]
    measured = {stage: in_turns(builds, stage, given, options.runs) for stage in options.stages}
    facts: dict[str, Any] = {
        "pictures": options.nodules * (US + 1),
        "drawn_from": options.pictures.name if options.pictures else "speckle",
        "machine": machine(),
        "runs": options.runs,
        **{stage: numbers["ours"] for stage, numbers in measured.items()},
        "parts_ms": parts(top / "data"),
    }
    if options.against:
        facts["theirs"] = {stage: numbers["theirs"] for stage, numbers in measured.items()}
        facts["ratios"] = {stage: ratios(numbers) for stage, numbers in measured.items()}
        facts["same_drawings"] = len({drawings(build) for build in builds}) == 1
    report(facts, options)
    write_json(ROOT / "artifacts" / "benchmarks" / "cohort.json", facts)
    shutil.rmtree(top)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodules", type=int, default=4000)
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "benchmark-cohort")
    parser.add_argument("--pictures", type=Path, help="folder of US pictures to use in place of speckle")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--set", action="append", default=[], help="section.key=value, for both builds")
    parser.add_argument("--against", type=Path, help="checkout of another commit, to run beside ours")
    parser.add_argument("--runs", type=int, default=1, help="of each stage and build")
    return parser.parse_args()


def make(folder: Path, nodules: int, pictures: Sequence[Path]) -> None:
    """A cohort folder."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        drawn = pool.map(draw, range(nodules), [folder] * nodules, [pictures] * nodules, chunksize=50)
        images = [row for rows in drawn for row in rows]
    columns = ("patient_id", "nodule_id", "cohort", "lnm_central", "lnm_lateral")
    rows = [
        (f"P{n}", f"N{n}", "external" if n % 20 == 0 else "main", n % 2, n // 2 % 2) for n in range(nodules)
    ]
    write(folder / "nodules.csv", columns, rows)
    write(folder / "images.csv", ("nodule_id", "modality", "view", "image", "mask", "spacing_mm"), images)


def draw(nodule: int, folder: Path, pictures: Sequence[Path]) -> list[tuple[object, ...]]:
    """The pictures of one nodule and their rows; masks, one per size, are an ellipse in the middle."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(nodule)
    rows = []
    for k in range(US + 1):
        name, shape = f"{nodule}_{k}.jpg", (HEIGHT, WIDTH)
        if pictures and k < US:
            source = pictures[(nodule * US + k) % len(pictures)]
            name = f"{nodule}_{k}{source.suffix}"
            shutil.copy(source, folder / name)
            shape = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE).shape
        else:
            speckle = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8), (0, 0), 1.5)
            contrast = cv2.convertScaleAbs(speckle, alpha=1.5, beta=-90)
            cv2.imwrite(str(folder / name), contrast, (cv2.IMWRITE_JPEG_QUALITY, 70))
        modality, view = ("us", "transverse") if k < US else ("ct", "axial")
        rows.append((f"N{nodule}", modality, view, name, mask(folder, *shape), 0.1))
    return rows


def mask(folder: Path, height: int, width: int) -> str:
    """Writes the mask of a size unless it is there, and returns its name."""
    path = folder / f"mask_{height}x{width}.png"
    if not path.exists():
        values = np.zeros((height, width), dtype=np.uint8)
        cv2.ellipse(values, (width // 2, height // 2), (width // 8, height // 7), 0, 0, 360, 255, -1)
        path.with_suffix(f".{os.getpid()}").write_bytes(cv2.imencode(".png", values)[1].tobytes())
        path.with_suffix(f".{os.getpid()}").replace(path)
    return path.name


def write(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def in_turns(
    builds: Sequence[Build], stage: str, given: Sequence[str], runs: int
) -> dict[str, dict[str, float]]:
    """Runs a stage of every build in turns; medians per build."""
    rows: dict[str, list[tuple[float, ...]]] = {build.name: [] for build in builds}
    for run in range(runs):
        for build in builds if run % 2 else reversed(builds):
            rows[build.name].append(measure(build, stage, given))
            said = zip(NUMBERS, rows[build.name][-1], strict=True)
            print(stage, build.name, *(f"{name} {number:.1f}" for name, number in said), file=sys.stderr)
    return {
        name: dict(zip(NUMBERS, map(statistics.median, zip(*found, strict=True)), strict=True))
        for name, found in rows.items()
    }


def measure(build: Build, stage: str, given: Sequence[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak megabytes of a stage."""
    start, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "dgfnet.cli", stage]
    command += [text for value in given for text in ("--set", value)]
    environment = os.environ | {"PYTHONPATH": str(build.checkout / "project")}
    with subprocess.Popen(command, cwd=build.folder, env=environment, stderr=subprocess.DEVNULL) as process:
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, memory(process.pid))
            time.sleep(0.5)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise SystemExit(f"dgfnet {stage} of {build.name} ended with status {process.returncode}")
    return time.perf_counter() - start, ended[2].ru_utime + ended[2].ru_stime, peak


def memory(pid: int) -> float:
    """Megabytes of a process and its children."""
    total = 0.0
    for one in family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    return total


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in family(int(child)))]


def ratios(numbers: dict[str, dict[str, float]]) -> dict[str, float]:
    """What theirs takes over what ours takes."""
    return {name: numbers["theirs"][name] / numbers["ours"][name] for name in NUMBERS}


def drawings(build: Build) -> bytes:
    """The table of drawings that a build's stage `cohort` found; empty when it has not run."""
    path = build.folder / "artifacts" / "cohort" / "suspicious.csv"
    return path.read_bytes() if path.is_file() else b""


def parts(folder: Path) -> dict[str, float]:
    """CPU milliseconds per US picture of ours, measured in a process that is set up as a worker is."""
    sample = [name for name in sorted(os.listdir(folder)) if name.endswith(("_0.jpg", "_1.jpg", "_2.jpg"))]
    jobs = [[folder / name for name in sample[:SAMPLE]]]
    return next(map_in_order(_parts, jobs, 2, "parts", few=0))


def _parts(paths: Sequence[Path]) -> dict[str, float]:
    from dgfnet.cohort.screening import overlays
    from dgfnet.imaging import pictures

    shown = [pictures.decode(path, None) for path in paths]
    grey = [picture if picture.ndim == 2 else picture.max(axis=2) for picture in shown]
    return {
        "decoding": milliseconds(partial(pictures.decode, page=None), paths),
        "crosses": milliseconds(overlays.crosses, grey),
        "words": milliseconds(overlays.words, grey),
        "dotted lines": milliseconds(overlays.dotted_lines, grey),
        "everything in a picture": milliseconds(overlays.find, shown),
    }


def milliseconds(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """CPU milliseconds per item."""
    spent = []
    for _ in range(2):
        start = time.process_time()
        for item in items:
            work(item)
        spent.append(time.process_time() - start)
    return min(spent) / max(1, len(items)) * 1000


def report(facts: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints the tables."""
    table = Table(
        title=f"{facts['pictures']} pictures ({facts['drawn_from']}), {facts['machine']['cores']} cores"
    )
    for column in ("stage", "build", *NUMBERS):
        table.add_column(column)
    for stage in options.stages:
        for name, numbers in (("ours", facts[stage]), ("theirs", facts.get("theirs", {}).get(stage))):
            if numbers:
                table.add_row(stage, name, *(f"{numbers[number]:.0f}" for number in NUMBERS))
        if "ratios" in facts:
            table.add_row(stage, "ratio", *(f"{facts['ratios'][stage][number]:.2f}" for number in NUMBERS))
    console = Console(width=110)
    console.print(table)
    console.print(
        "CPU ms per US picture:", {name: round(value, 2) for name, value in facts["parts_ms"].items()}
    )
    if "same_drawings" in facts:
        console.print("drawings found:", "the same" if facts["same_drawings"] else "NOT the same")


if __name__ == "__main__":
    main()
