"""How well drawings in ultrasound pictures are found: precision and recall with intervals.

    python benchmarks/screening.py [--ddti DIR] [--each 30]

On a phantom the truth is known: its own measurement lines, and words drawn here at random onto pictures that
have none. On DDTI the truth is `benchmarks/ddti_drawings.csv`, one person's look at 328 of its pictures:
`lines` (calipers), `words` (three letters or more, anywhere). The thresholds for lines were set on the part
`tuned`, in which two pictures were relabelled after the detector had found calipers that the eye had missed;
`held_out` was labelled before the detector saw it. Thresholds for words were set on all pictures.
Marks of other makers (`markers.py`) are drawn into pictures without lines: those of DDTI's part `held_out`, a
phantom's, and speckle; words into the last two, for DDTI has words everywhere. One is found when something
found touches what was drawn, also after JPEG of quality 85. Thresholds were set on sizes, greys and colours
`tuned` in the part `tuned` of DDTI; what is printed is of the others. A false alarm is a line in a clean
picture, or a mark within 16 pixels of its nodule (in speckle anywhere).
Intervals are Wilson's, 95 %.
Prints a table and writes artifacts/benchmarks/screening.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
from markers import HELD_OUT_KINDS, KINDS, draw
from markers import TEXTS as WORDS
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from dgfnet.cohort.screening.overlays import find
from dgfnet.files import write_json
from dgfnet.ingest.ddti import parse_outlines
from dgfnet.phantom.generate import generate

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, SEED = 250, 5
TEXTS = ("TIRADS 4C", "LEFT", "Nodule 1", "14.2 mm", "RT LOBE SAG")
LINES = {"cross", "dotted line", "colour"}
Judged = list[tuple[bool, bool]]  # what is true and what was found
Box = tuple[int, int, int, int]
BESIDE = 16  # as in cohort/screening/review.py


@dataclass(frozen=True)
class Ground:
    """A clean picture to draw on, and the box of its nodule where it has one."""

    picture: np.ndarray
    nodule: Box | None


def main() -> None:
    """Runs the detector on everything and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ddti", type=Path, help="folder with images/ of DDTI")
    parser.add_argument("--marks-only", action="store_true", help="leave out the first table")
    parser.add_argument("--each", type=int, default=30, help="pictures per kind of mark and ground")
    options = parser.parse_args()
    results = {} if options.marks_only else phantom()
    grounds = {"phantom": phantom_grounds()}
    grounds["speckle"] = [Ground(speckle(number), None) for number in range(100)]
    if options.ddti:
        results |= {} if options.marks_only else ddti(options.ddti / "images")
        grounds["DDTI"] = ddti_grounds(options.ddti)
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
    made = {name: marks(ground, options.each, name != "DDTI") for name, ground in grounds.items()}
    print_marks(made)
    write_json(ROOT / "artifacts" / "benchmarks" / "screening.json", rows | {"marks": made})


def marks(grounds: list[Ground], each: int, with_words: bool) -> dict[str, dict[str, float | int]]:
    """Found of each kind of mark, of `each` drawn, as drawn and after JPEG; and false alarms without any."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(grounds))
    rows: dict[str, dict[str, float | int]] = {
        "false alarms": {"found": sum(map(is_alarm, grounds)), "of": len(grounds)}
    }
    for kind in [*KINDS, *(WORDS if with_words else ())]:
        found = coded = 0
        for number in range(each):
            clean = grounds[order[number % len(grounds)]].picture
            if "colour" in kind and clean.ndim == 2:
                clean = np.repeat(clean[:, :, None], 3, axis=2)
            if "colour" not in kind and clean.ndim == 3:
                clean = cv2.cvtColor(clean, cv2.COLOR_BGR2GRAY)
            drawn = draw(kind, clean, rng, "held_out")
            changed = drawn != clean
            changed = changed.any(axis=2) if changed.ndim == 3 else changed
            found += is_touched(drawn, changed)
            file = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            coded += is_touched(cv2.imdecode(file, cv2.IMREAD_UNCHANGED), changed)
        rows[kind] = {"found": found, "as_jpeg": coded, "of": each}
    return rows


def is_touched(picture: np.ndarray, drawn: np.ndarray) -> bool:
    """Says that something found lies on what was drawn, to a pixel."""
    return any(
        drawn[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1].any()
        for x, y, w, h in (drawing.box for drawing in find(picture))
    )


def is_alarm(ground: Ground) -> bool:
    """Says that a clean picture would be shown to a person as one with lines or marks."""
    return any(
        drawing.kind in LINES or (drawing.kind == "mark" and is_beside(drawing.box, ground.nodule))
        for drawing in find(ground.picture)
    )


def is_beside(box: Box, nodule: Box | None) -> bool:
    """Says that a box meets the square around a nodule and BESIDE pixels more."""
    if nodule is None:
        return True
    x, y, w, h = nodule
    side = max(w, h) + 2 * BESIDE
    left, top = x + (w - side) // 2, y + (h - side) // 2
    return box[0] < left + side and left < box[0] + box[2] and box[1] < top + side and top < box[1] + box[3]


def print_marks(made: dict[str, dict[str, dict[str, float | int]]]) -> None:
    """Prints the share found per kind and ground, as drawn and as JPEG."""
    table = Table(title="Marks of other makers found, held-out sizes, greys and colours: as drawn, as JPEG")
    for column in ("kind", *made):
        table.add_column(column)
    for kind in dict.fromkeys(kind for rows in made.values() for kind in rows):
        cells = []
        for rows in made.values():
            row = rows.get(kind)
            counts = [] if row is None else [row[name] for name in ("found", "as_jpeg") if name in row]
            cells.append(", ".join(f"{count}/{row['of']}" for count in counts) if row else "-")
        table.add_row(f"{kind} (kind held out)" if kind in HELD_OUT_KINDS else kind, *cells)
    Console(width=120).print(table)


def speckle(seed: int) -> np.ndarray:
    """A picture as `benchmarks/cohort.py` makes it."""
    noise = np.random.default_rng(seed).integers(0, 256, (360, 560), dtype=np.uint8)
    return cv2.convertScaleAbs(cv2.GaussianBlur(noise, (0, 0), 1.5), alpha=1.5, beta=-90)


def ddti_grounds(folder: Path) -> list[Ground]:
    """The pictures of DDTI's part `held_out` without lines, with the box of the outlines in each."""
    truth = pd.read_csv(Path(__file__).with_name("ddti_drawings.csv"))
    grounds = []
    for name in truth[(truth["part"] == "held_out") & (truth["lines"] == 0)]["picture"]:
        case, number = name.split("_")
        root = ElementTree.parse(folder / "xml" / f"{case}.xml").getroot()
        svg = next(
            (mark.findtext("svg") for mark in root.iter("mark") if mark.findtext("image") == number), ""
        )
        points = [point for outline in parse_outlines(svg or "") for point in outline.points]
        if points:
            box = cv2.boundingRect(np.array(points, dtype=np.float32))
            grounds.append(Ground(cv2.imread(str(folder / "images" / f"{name}.jpg")), box))
    return grounds


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


def grey(path: Path) -> np.ndarray:
    """Reads a picture in grey."""
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def phantom_grounds() -> list[Ground]:
    """Pictures without lines of a phantom of 60 patients, with the box of the nodule in each."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        generate(out, Path(folder) / "truth", 60, 10, SEED, 1.0, ("us", "ct"))
        rows = pd.read_csv(out / "images.csv")
        rows = rows[(rows["modality"] == "us") & (rows["measurement_lines"] != 1)]
        return [
            Ground(grey(out / image), cv2.boundingRect(grey(out / mask)))
            for image, mask in zip(rows["image"], rows["mask"], strict=True)
        ]


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
