"""Measures how long the features of a nodule take, by modality.

    python benchmarks/measured.py PROJECT [--images 200]

PROJECT is a folder in which `dgfnet cohort` has run. CPU milliseconds of `measured.measure` per
picture, files already read: median and 99th percentile; written to artifacts/benchmarks/measured.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from machine import machine
from rich.console import Console

from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.screened import load_screened
from dgfnet.files import write_json
from dgfnet.measured.measure import measure
from dgfnet.settings import load
from dgfnet.vocabulary import MODALITIES

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Times the pictures of a cohort, evenly spread over its nodules."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    nodules = load_screened(load(options.project / "params.yaml")).nodules
    found: dict[str, object] = {"machine": machine()}
    for modality in MODALITIES:
        images = [image for nodule in nodules for image in nodule.images if image.modality == modality]
        chosen = images[:: max(1, len(images) // options.images)]
        spent = []
        for image in chosen:
            pixels, mask = read_pair(image)
            side = image.spacing_mm or pixels.spacing_mm
            begun = time.process_time()
            measure(pixels.values, mask > 0, (side, side) if side else None, modality)
            spent.append(1000 * (time.process_time() - begun))
        if spent:
            median, late = np.quantile(spent, [0.5, 0.99])
            found[modality] = {"pictures": len(spent), "median_ms": float(median), "p99_ms": float(late)}
    Console().print(found)
    write_json(ROOT / "artifacts" / "benchmarks" / "measured.json", found)


if __name__ == "__main__":
    main()
