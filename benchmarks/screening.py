"""How well drawings in ultrasound pictures are found: precision and recall with intervals.

    python benchmarks/screening.py [--ddti DIR]

On a phantom the truth is known: its own measurement lines, and words drawn here at random onto pictures that
have none. On DDTI the truth is `benchmarks/ddti_drawings.csv`, one person's look at 328 of its pictures:
`lines` (calipers), `words` (three letters or more, anywhere). The thresholds for lines were set on the part
`tuned`, in which two pictures were relabelled after the detector had found calipers that the eye had missed;
`held_out` was labelled before the detector saw it. Thresholds for words were set on all pictures.
Intervals are Wilson's, 95 %.
Prints a table and writes artifacts/benchmarks/screening.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from dgfnet.cohort.screening.overlays import find
from dgfnet.files import write_json
from dgfnet.phantom.generate import generate

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, SEED = 250, 5
TEXTS = ("TIRADS 4C", "LEFT", "Nodule 1", "14.2 mm", "RT LOBE SAG")
LINES = {"cross", "dotted line", "colour"}
Judged = list[tuple[bool, bool]]  # what is true and what was found


def main() -> None:
    """Runs the detector on everything and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ddti", type=Path, help="folder with images/ of DDTI")
    options = parser.parse_args()
    results = phantom()
    if options.ddti:
        results |= ddti(options.ddti / "images")
    table = Table(title="Drawings in ultrasound pictures (95 % Wilson intervals)")
    for column in ("pictures", "with", "precision", "recall"):
        table.add_column(column)
    rows = {}
    for name, judged in results.items():
        row = rows[name] = summary(judged)
        table.add_row(
            name, f"{row['positive']} of {row['pictures']}", told(row["precision"]), told(row["recall"])
        )
    Console(width=120).print(table)
    write_json(ROOT / "artifacts" / "benchmarks" / "screening.json", rows)


def phantom() -> dict[str, Judged]:
    """Lines and words of a phantom, and milliseconds per picture on stderr."""
    rng = np.random.default_rng(SEED)
    lines: Judged = []
    words: Judged = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        generate(out, Path(folder) / "truth", PATIENTS, 60, SEED, 1.0, ("us", "ct"))
        rows = pd.read_csv(out / "images.csv")
        rows = rows[rows["modality"] == "us"]
        start = time.perf_counter()
        for image, drawn in zip(rows["image"], rows["measurement_lines"], strict=True):
            picture = cv2.imread(str(out / image), cv2.IMREAD_GRAYSCALE)
            lines.append((bool(drawn), bool(kinds(picture) & LINES)))
            written = bool(rng.random() < 0.25)
            words.append((written, "text" in kinds(write_on(picture, rng) if written else picture)))
        spent = (time.perf_counter() - start) / (2 * len(rows)) * 1000
    size = f"{picture.shape[1]}x{picture.shape[0]}"
    print(f"{spent:.1f} ms per picture of {size} pixels, on one of {os.cpu_count()} cores")
    return {"phantom, lines": lines, "phantom, words drawn": words}


def write_on(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A word at a random place, of 8 to 20 pixels height."""
    text, scale = str(rng.choice(TEXTS)), float(rng.uniform(0.4, 0.9))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(rng.integers(0, max(1, picture.shape[1] - width)))
    y = int(rng.integers(height, picture.shape[0] - 4))
    return cv2.putText(picture.copy(), text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)


def ddti(folder: Path) -> dict[str, Judged]:
    """Lines per part, as published and without the colours of some; words in all pictures."""
    truth = pd.read_csv(Path(__file__).with_name("ddti_drawings.csv"))
    results: dict[str, Judged] = {}
    for row in truth.itertuples():
        path = folder / f"{row.picture}.jpg"
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise SystemExit(f"{path}: expected the picture that ddti_drawings.csv names")
        found, grey = kinds(picture), kinds(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        part = row.part.replace("_", " ")
        results.setdefault(f"DDTI {part}, lines", []).append((bool(row.lines), bool(found & LINES)))
        results.setdefault(f"DDTI {part}, lines in grey", []).append((bool(row.lines), bool(grey & LINES)))
        results.setdefault("DDTI all, words", []).append((bool(row.words), "text" in found))
    return dict(sorted(results.items()))


def kinds(picture: np.ndarray) -> set[str]:
    """Kinds of drawings found."""
    return {drawing.kind for drawing in find(picture)}


def summary(judged: Judged) -> dict[str, object]:
    """Counts, precision and recall with their intervals."""
    hits = sum(true and found for true, found in judged)
    return {
        "pictures": len(judged),
        "positive": sum(true for true, _ in judged),
        "precision": share(hits, (found for _, found in judged)),
        "recall": share(hits, (true for true, _ in judged)),
    }


def share(hits: int, members: Iterable[bool]) -> dict[str, float | int] | None:
    """A proportion with its interval; None of nothing."""
    count = sum(members)
    if not count:
        return None
    interval = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return {"hits": hits, "of": count, "low": interval.low, "high": interval.high}


def told(found: dict[str, float | int] | None) -> str:
    """A proportion as text."""
    return f"{found['hits']}/{found['of']} ({found['low']:.3f}-{found['high']:.3f})" if found else "-"


if __name__ == "__main__":
    main()
