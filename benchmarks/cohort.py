"""20,000 pictures of 560 x 360 pixels through the left end of the pipeline: time and memory.

    python benchmarks/cohort.py [--nodules 4000] [--folder work/benchmark-cohort]

Makes a cohort of speckle (four US pictures and one CT picture per nodule, a patient each), then runs
`dgfnet cohort`, `audit` and `preprocess` with the settings of params.yaml, as a user would. Memory is the
proportional set size of a command and its workers, summed and sampled twice a second; pages of the archive
that is being written count, although the kernel could drop them. The folder is removed afterwards.
Prints a table and writes artifacts/benchmarks/cohort.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from dgfnet.files import write_json

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH, US = 360, 560, 4
STAGES = ("cohort", "audit", "preprocess")


def main() -> None:
    """Makes the cohort, runs the stages, reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodules", type=int, default=4000)
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "benchmark-cohort")
    options = parser.parse_args()
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    make(folder, options.nodules)
    table = Table(title=f"{options.nodules * (US + 1)} pictures of {WIDTH}x{HEIGHT}, {os.cpu_count()} cores")
    for column in ("stage", "seconds", "peak memory, MB"):
        table.add_column(column)
    rows = {}
    for stage in STAGES:
        seconds, peak = measure(folder, stage)
        rows[stage] = {"seconds": seconds, "peak_mb": peak}
        table.add_row(stage, f"{seconds:.0f}", f"{peak:.0f}")
    Console().print(table)
    facts = {"pictures": options.nodules * (US + 1), "machine": platform.machine(), "cores": os.cpu_count()}
    write_json(ROOT / "artifacts" / "benchmarks" / "cohort.json", facts | rows)
    shutil.rmtree(folder)


def make(folder: Path, nodules: int) -> None:
    """A cohort folder and params.yaml."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    cv2.ellipse(mask, (WIDTH // 2, HEIGHT // 2), (70, 50), 0, 0, 360, 255, -1)
    cv2.imwrite(str(folder / "data" / "mask.png"), mask)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(draw, range(nodules), [folder] * nodules, chunksize=50))
    columns = ("patient_id", "nodule_id", "cohort", "lnm_central", "lnm_lateral")
    rows = [
        (f"P{n}", f"N{n}", "external" if n % 20 == 0 else "main", n % 2, n // 2 % 2) for n in range(nodules)
    ]
    write(folder / "data" / "nodules.csv", columns, rows)
    columns = ("nodule_id", "modality", "view", "image", "mask", "spacing_mm")
    rows = [
        (
            f"N{n}",
            "us" if k < US else "ct",
            "transverse" if k < US else "axial",
            f"{n}_{k}.jpg",
            "mask.png",
            0.1,
        )
        for n in range(nodules)
        for k in range(US + 1)
    ]
    write(folder / "data" / "images.csv", columns, rows)


def draw(nodule: int, folder: Path) -> None:
    """The pictures of one nodule."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(nodule)
    for k in range(US + 1):
        speckle = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8), (0, 0), 1.5)
        contrast = cv2.convertScaleAbs(speckle, alpha=1.5, beta=-90)
        cv2.imwrite(str(folder / "data" / f"{nodule}_{k}.jpg"), contrast, (cv2.IMWRITE_JPEG_QUALITY, 70))


def write(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def measure(folder: Path, stage: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a stage."""
    start, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "dgfnet.cli", stage]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"dgfnet {stage} ended with status {process.returncode}")
    return time.perf_counter() - start, peak


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


if __name__ == "__main__":
    main()
