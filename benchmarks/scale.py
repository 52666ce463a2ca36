"""Tables and pictures of a group of hospitals: what grows with their number, beside another checkout.

    python benchmarks/scale.py [--against CHECKOUT] [--only folds band frontier cells search] [--runs 1]

Each part runs in a process of its own, with one thread, in turns with the other checkout's; CPU seconds are
those of the part alone (and of what it imports), medians of the runs; `same`: digests of both agree.

- folds: four folds of N nodules, one in six patients with two, both sites labelled for four fifths.
- band: of a ROC curve, 1000 replicates; frontier: the rule for CT at 21 shares, three policies.
- cells: of N pictures' 64 points: learning them, and putting a tenth of the points into them, times ten.
- search: of pairs of pictures that may be one. One in a hundred is a copy of another under another name;
  the copies found are counted.

Descriptors of pictures are those of points of 500 speckle pictures, drawn at random, each with noise of its
own: no two pictures show the same, but for the copies, which differ in noise. Prints a table, writes
artifacts/benchmarks/scale.json.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from machine import machine
from rich.console import Console
from rich.table import Table

from dgfnet.files import write_json

ROOT = Path(__file__).resolve().parents[1]
SEED, POINTS, DRAWN, COPIES = 2026, 64, 500, 100  # one in so many pictures is a copy
Found = tuple[float, dict[str, object]]


def main() -> None:
    """Measures every part at every size, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, help="checkout of another commit, to run beside ours")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sizes", nargs="+", type=int, help="in place of those of every part")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # of the processes of this script
    options = parser.parse_args()
    if options.measure:
        name, size = options.measure
        seconds, facts = PARTS[name][0](int(size))
        print(json.dumps({"seconds": seconds} | facts))
        return
    builds = {"ours": ROOT} | ({"theirs": options.against.resolve()} if options.against else {})
    results: dict[str, dict[str, Any]] = {}
    table = Table("part", "N", *(f"{build}, CPU s" for build in builds), "ratio", "same", "found")
    for name in options.only:
        for size in options.sizes or PARTS[name][1]:
            row = in_turns(builds, name, size, options.runs)
            results[f"{name} {size}"] = row
            table.add_row(
                *(name, f"{size:,}", *(f"{row[build]['seconds']:.2f}" for build in builds)),
                *(f"{row['ratio']:.1f}" if "ratio" in row else "", str(row.get("same", ""))),
                str(row["ours"].get("copies", "")),
            )
    Console(width=110).print(table)
    write_json(
        ROOT / "artifacts" / "benchmarks" / "scale.json",
        {"machine": machine(), "runs": options.runs, **results},
    )


def in_turns(builds: dict[str, Path], name: str, size: int, runs: int) -> dict[str, Any]:
    """Facts of a part by build, seconds being medians; the ratio of theirs to ours, when there are both."""
    found: dict[str, list[dict[str, Any]]] = {build: [] for build in builds}
    for run in range(runs):
        for build in builds if run % 2 else reversed(builds):
            found[build].append(measure(builds[build], name, size))
            print(name, size, build, found[build][-1], file=sys.stderr)
    row: dict[str, Any] = {
        build: facts[-1] | {"seconds": statistics.median(one["seconds"] for one in facts)}
        for build, facts in found.items()
    }
    if "theirs" in row:
        row["ratio"] = row["theirs"]["seconds"] / row["ours"]["seconds"]
        row["same"] = row["theirs"]["digest"] == row["ours"]["digest"]
    return row


def measure(checkout: Path, name: str, size: int) -> dict[str, Any]:
    """Facts of a part in a process of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "project"), "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, "--measure", name, str(size)]
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(said))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and the CPU seconds it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def digest(*values: object) -> str:
    """A name of what was found; numbers to twelve digits."""
    text = repr(
        [np.round(value, 12).tolist() if isinstance(value, np.ndarray) else value for value in values]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def folds(size: int) -> Found:
    """Four folds."""
    from dgfnet.cohort.folds import make
    from dgfnet.cohort.records import Nodule

    rng = np.random.default_rng(SEED)
    nodules: list[Nodule] = []
    while len(nodules) < size:
        lateral = int(rng.random() < 0.3) if rng.random() < 0.8 else None
        central = int(rng.random() < 0.4) if rng.random() < 0.8 else None
        patient = f"P{len(nodules)}"
        for number in range(1 + (rng.random() < 1 / 6)):
            labels = {"central": central, "lateral": lateral}
            nodules.append(Nodule(f"{patient}-{number}", patient, "main", labels, 1, {}, ()))
    made, seconds = timed(lambda: make(nodules, 4, SEED, 3))
    return seconds, {"digest": digest(sorted(made.fold.items()))}


def tables(size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold tables of a model and of a better one; 0.83 patients a nodule."""
    rng = np.random.default_rng(SEED)
    label = rng.integers(0, 2, size)
    start = pd.DataFrame(
        {
            "nodule_id": [f"N{n}" for n in range(size)],
            "patient_id": [f"P{n}" for n in rng.integers(int(0.83 * size), size=size)],
            "fold": np.arange(size) % 4,
            "label": label,
            "threshold": 0.5,
        }
    )
    odds = label + rng.normal(0, 1, size) - 0.5
    both = odds + label + rng.normal(0, 1, size) - 0.5
    one, other = (start.assign(probability=1 / (1 + np.exp(-value))) for value in (odds, both))
    return one, other


def band(size: int) -> Found:
    """The band around a ROC curve; it moved from figures to curves."""
    curves, figures = (importlib.import_module(f"dgfnet.compare.{name}") for name in ("curves", "figures"))
    work = curves.band if hasattr(curves, "band") else figures._band
    table = tables(size)[1]
    limits, seconds = timed(lambda: work(table, 0.95, 1000, SEED))
    return seconds, {"digest": digest(*limits)}


def frontier(size: int) -> Found:
    """The frontier of a rule that knows something."""
    from dgfnet.applicability import rule

    us, both = tables(size)
    noise = np.random.default_rng(1).normal(0, 0.3, size)
    expected = rule.within_folds(rule.improvement(us, both) + noise, us["fold"].to_numpy())
    curve, seconds = timed(lambda: rule.frontier(us, both, expected, SEED))
    return seconds, {"digest": digest(curve.iloc[:, 1:].to_numpy(dtype=float))}


def prints(size: int) -> tuple[list[Any], list[tuple[int, int]]]:
    """Fingerprints, and which of them are copies of which."""
    from dgfnet.audit.fingerprint import Fingerprint, picture_fingerprint

    rng = np.random.default_rng(SEED)
    speckle = [rng.rayleigh(60, (120, 150)).astype(np.float32) for _ in range(DRAWN)]
    drawn = [picture_fingerprint(cv2.GaussianBlur(picture, (0, 0), 1.2)) for picture in speckle]
    descriptors = np.concatenate([one.descriptors for one in drawn])
    points = np.concatenate([one.points for one in drawn])

    def noisy(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        noise = rng.normal(0, 12, values.shape).astype(np.float32)
        return np.clip(values + noise, 0, 255).astype(np.uint8)

    made, pairs = [], []
    one = drawn[0]
    for number in range(size):
        rows = rng.integers(len(points), size=POINTS)
        own, place = noisy(descriptors[rows]), points[rows]
        if number % COPIES == COPIES - 1:
            source = int(rng.integers(number - COPIES + 1, number))
            own, place = noisy(made[source].descriptors), made[source].points
            pairs.append((source, number))
        made.append(Fingerprint(one.field, one.structure, one.grain, place, own, one.grey))
    return made, pairs


def cells(size: int) -> Found:
    """Cells of like points, learnt, and a tenth of the points put into them."""
    search: Any = importlib.import_module("dgfnet.audit.search")  # of either checkout
    descriptors = np.concatenate([one.descriptors for one in prints(size)[0]])
    some = descriptors[::10]
    if hasattr(search, "learn"):
        learnt, learning = timed(lambda: search.learn(descriptors))
        cell, putting = timed(lambda: search.assign(some, learnt))
    else:
        count = max(1, len(descriptors) // search.PER_CELL)
        learnt, learning = timed(lambda: search._centres(descriptors, count))
        cell, putting = timed(lambda: search._cells(some, learnt))
    held = np.bincount(cell[:, 0])
    facts = {"learning": learning, "putting": 10 * putting, "most": int(10 * held.max())}
    return learning + 10 * putting, facts | {"digest": digest(cell)}


def search(size: int) -> Found:
    """Pairs that may be one."""
    from dgfnet.audit.search import candidates

    made, pairs = prints(size)
    found, seconds = timed(lambda: candidates(made, [str(number) for number in range(size)]))
    proposed = {(one.first, one.second) for one in found}
    right = f"{len(proposed.intersection(pairs))} of {len(pairs)}"
    return seconds, {"digest": digest(sorted(proposed)), "candidates": len(found), "copies": right}


ROWS = (1_000, 10_000, 100_000)
PARTS: dict[str, tuple[Callable[[int], Found], tuple[int, ...]]] = {
    "folds": (folds, ROWS),
    "band": (band, ROWS),
    "frontier": (frontier, ROWS),
    "cells": (cells, ROWS),
    "search": (search, (1_000, 10_000, 20_000)),
}

if __name__ == "__main__":
    main()
