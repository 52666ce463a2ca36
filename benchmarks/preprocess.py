"""Preprocessing: ours beside the paper's text word by word in OpenCV (tests/preprocess/literal.py).

    python benchmarks/preprocess.py

Every image is processed by both in one process, one right after the other in alternating order; the ratio
is the median over the pairs of literal time / our time. `roi_over_literal` is the paper's ROI step: from the
mask to the square crops of image and mask, before resizing. The literal form runs its n dilations one call
after another; `roi_over_iterations` compares with `cv2.dilate(..., iterations=n)`, which OpenCV runs as one
large dilation. Both sides crop by the same function. Results are checked to be equal bit by bit before
anything is timed.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import machine
from rich.console import Console
from rich.table import Table

from dgfnet.files import write_json
from dgfnet.preprocess.boundaries import boundary_iterations, nodule_boundary
from dgfnet.preprocess.crops import stored_crop
from dgfnet.preprocess.roi import Square, crop, find_square
from dgfnet.settings import load

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "preprocess"))

import literal  # noqa: E402

IMAGES, REPEATS = 40, 25
HEIGHT, WIDTH = 360, 560
DILATIONS, FRACTION, SIZE = 40, 0.08, 288  # the paper's, US

Case = tuple[np.ndarray, np.ndarray]


def cases() -> list[Case]:
    """Speckled images with an elliptic nodule of 40-200 pixels, also cut by the edge of the image."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(IMAGES):
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        centre = (int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT)))
        axes = (int(rng.integers(20, 101)), int(rng.integers(20, 101)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        made.append((rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8), mask))
    return made


def our_roi(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The square of image and mask."""
    square = find_square(mask, DILATIONS)
    return [crop(image, square), crop(mask, square)]


def literal_roi(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """As `our_roi`, with the paper's dilations one after another."""
    return literal_crops(literal.square_of(literal.dilated(mask, DILATIONS)), image, mask)


def iterations_roi(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """As `our_roi`, with the dilations in one call."""
    wide = cv2.dilate(mask, literal.KERNEL, iterations=DILATIONS)
    return literal_crops(literal.square_of(wide), image, mask)


def literal_crops(square: tuple[int, int, int], image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Crops with zeros; by our `crop`, so that the ratio is not that of two ways to pad."""
    return [crop(image, Square(*square)), crop(mask, Square(*square))]


def our_rim(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The US boundary target; the square is found the same way on both sides."""
    return [nodule_boundary(mask, boundary_iterations(find_square(mask, DILATIONS).side, FRACTION))]


def literal_rim(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """As `our_rim`, on the whole image."""
    return [literal.rim(mask, FRACTION * find_square(mask, DILATIONS).side)]


def our_whole(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Everything for one US image at the paper's size, without margin."""
    return [stored_crop(image, mask, "us", PAPER)[0]]


def literal_whole(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """As `our_whole`."""
    return [literal.us(image, mask, SIZE, DILATIONS, FRACTION)]


PAPER = load(ROOT / "params.yaml", ("base.profile=paper", "preprocess.margin=0")).preprocess
Step = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
STEPS: dict[str, tuple[Step, Step]] = {
    "roi_over_literal": (our_roi, literal_roi),
    "roi_over_iterations": (our_roi, iterations_roi),
    "boundary_over_literal": (our_rim, literal_rim),
    "us_image_over_literal": (our_whole, literal_whole),
}


def seconds(step: Step, case: Case) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step(*case)
    return time.perf_counter() - start


def compare(ours: Step, theirs: Step, made: list[Case]) -> tuple[float, float, float]:
    """Medians: seconds of ours, seconds of theirs, ratio of each pair."""
    for case in made:
        for left, right in zip(ours(*case), theirs(*case), strict=True):
            np.testing.assert_array_equal(left, right)
    pairs = []
    for repeat in range(REPEATS):
        for number, case in enumerate(made):
            if (repeat + number) % 2:
                mine, other = seconds(ours, case), seconds(theirs, case)
            else:
                other, mine = seconds(theirs, case), seconds(ours, case)
            pairs.append((mine, other, other / mine))
    mine, other, ratio = np.median(pairs, axis=0)
    return float(mine), float(other), float(ratio)


def main() -> None:
    """Prints the table and writes artifacts/benchmarks/preprocess.json."""
    cv2.setNumThreads(1)
    made = cases()
    results = {name: compare(*steps, made) for name, steps in STEPS.items()}
    versions = {"python": platform.python_version(), "opencv": cv2.__version__, "numpy": np.__version__}
    conditions = (
        f"{IMAGES} generated images of {WIDTH}x{HEIGHT}, {REPEATS} paired runs each in one process, "
        f"alternating, one OpenCV thread, {DILATIONS} dilations, fraction {FRACTION}, size {SIZE}, no margin"
    )
    table = Table(
        "ratio", "ours, µs", "literal, µs", "literal / ours", title="preprocess", caption=conditions
    )
    for name, (mine, other, ratio) in results.items():
        table.add_row(name, f"{1e6 * mine:.1f}", f"{1e6 * other:.1f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    console.print(machine(), versions)
    content = {
        "machine": machine(),
        "versions": versions,
        "conditions": conditions,
        "ratios": {name: ratio for name, (_, _, ratio) in results.items()},
        "seconds": {name: {"ours": mine, "literal": other} for name, (mine, other, _) in results.items()},
    }
    write_json(ROOT / "artifacts" / "benchmarks" / "preprocess.json", content)


if __name__ == "__main__":
    main()
