"""Copies of pictures that were changed: how many the audit finds, and how many others it takes for copies.

    python benchmarks/duplicates.py COHORT [COHORT ...] [--pictures 150]

Reads cohort folders (those of `dgfnet ingest ddti` and `lidc-voi`, or a phantom). Of each modality it
compares all pictures of different patients: pairs found are false alarms. Then it stores changed copies of
some pictures under other patients, and counts copies found, pairs of others found beside them, and the
highest correlation of such a pair. CT is changed in HU, but what only 8 bits can suffer (JPEG, noise, grey
values) in a window of 1500 HU. Prints a table with Wilson intervals, writes
artifacts/benchmarks/duplicates.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from dgfnet.audit.copies import Copy, find_copies
from dgfnet.audit.fingerprint import Fingerprint, picture_fingerprint
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image
from dgfnet.files import write_json

ROOT = Path(__file__).resolve().parents[1]
LOOK = 0.2  # correlation from which pairs are looked at, to see how far others stay below the threshold
LEVEL, WIDTH = -600, 1500  # HU
Picture = np.ndarray[Any, Any]


def main() -> None:
    """Compares, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=150)
    options = parser.parse_args()
    threshold = yaml.safe_load((ROOT / "params.yaml").read_text())["audit"]["same_picture"]
    table = Table("cohort", "copies", "found", "95 %", "other pairs", "highest")
    report: dict[str, dict[str, object]] = {}
    for folder in options.cohorts:
        cohort = read_cohort(folder)
        for modality in ("us", "ct"):
            owned = [(image, n.patient_id) for n in cohort.nodules for image in n.of(modality)]
            if not owned:
                continue
            name = f"{folder.parent.name}/{folder.name} {modality}"
            pictures, owners = [read_image(image).values for image, _ in owned], [owner for _, owner in owned]
            prints = [picture_fingerprint(picture) for picture in pictures]
            alarms = find_copies(prints, owners, LOOK)
            number = sum(pair.correlation > threshold for pair in alarms)
            table.add_row(
                name, f"none, {len(owned)} pictures", "", "", str(number), f"{_highest(alarms):.2f}"
            )
            report[name] = {"pictures": len(owned), "false_alarms": number, "highest": _highest(alarms)}
            some = np.random.default_rng(0).permutation(len(pictures))[: options.pictures]
            for change, make in CHANGES.items():
                chosen = [pictures[i] for i in some], [prints[i] for i in some], [owners[i] for i in some]
                found, others = copies_found(*chosen, make)
                right = sum(pair.correlation > threshold for pair in found)
                wrong = sum(pair.correlation > threshold for pair in others)
                low, high = binomtest(right, len(some)).proportion_ci(method="wilson")
                table.add_row(
                    *("", change, f"{right}/{len(some)}", f"{low:.3f}-{high:.3f}"),
                    *(str(wrong), f"{_highest(others):.2f}"),
                )
                report[name][change] = {
                    "recall": right / len(some),
                    "false_alarms": wrong,
                    "highest": _highest(others),
                }
    Console(width=120).print(table)
    write_json(ROOT / "artifacts" / "benchmarks" / "duplicates.json", report)


def copies_found(
    pictures: list[Picture],
    prints: list[Fingerprint],
    owners: list[str],
    make: Callable[[Picture, np.random.Generator], Picture],
) -> tuple[list[Copy], list[Copy]]:
    """Returns pairs of a picture and its changed copy, and pairs of pictures of different patients."""
    rng = np.random.default_rng(0)
    copies = [picture_fingerprint(np.ascontiguousarray(make(picture, rng))) for picture in pictures]
    count = len(pictures)
    pairs = find_copies([*prints, *copies], [*owners, *(f"copy {number}" for number in range(count))], LOOK)
    found = [pair for pair in pairs if pair.second == pair.first + count]
    others = [pair for pair in pairs if owners[pair.first % count] != owners[pair.second % count]]
    return found, others


def _highest(pairs: list[Copy]) -> float:
    return max((pair.correlation for pair in pairs), default=0.0)


def _grey(picture: Picture) -> Picture:
    """Returns a picture of 8 bits as it is, HU in a window."""
    if picture.dtype == np.uint8:
        return picture
    shown = (picture.astype(np.float32) - LEVEL) / WIDTH + 0.5
    return np.clip(255 * shown, 0, 255).astype(np.uint8)


def _tilted(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=_black(picture)
    )


def _black(picture: Picture) -> float:
    return min(0.0, float(picture.min()))


def _cropped(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """Cuts off a share of the area, somewhere."""
    height, width = picture.shape
    aspect = np.sqrt(1 - share) * np.exp(rng.uniform(-0.08, 0.08))
    rows, columns = min(height, int(height * aspect)), min(width, int(width * (1 - share) / aspect))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    return picture[top : top + rows, left : left + columns]


def _framed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Adds an export's frame: black of 2 to 25 % of the side on each, writing and a scale of depth."""
    picture = _grey(picture)
    sides = rng.uniform(0.02, 0.25, 4) * np.repeat(picture.shape, 2)
    whole = cv2.copyMakeBorder(picture, *map(int, sides), cv2.BORDER_CONSTANT, value=0)
    height, width = whole.shape
    white, size = 230, max(height, width) / 800
    for text, x, y in (("P100 12L6", 0.78, 0.08), ("RT LOBE SAG", 0.05, 0.95), ("2025-01-02", 0.6, 0.98)):
        place = int(x * width), int(y * height)
        cv2.putText(whole, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, white, max(1, round(size)))
    for step in range(8):
        cv2.line(whole, (3, height * step // 8), (8, height * step // 8), white, 1)
    return whole


def _jpeg(picture: Picture, quality: int) -> Picture:
    stored = cv2.imencode(".jpg", _grey(picture), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE))


def _scaled(picture: Picture, across: float, down: float) -> Picture:
    how = cv2.INTER_AREA if max(across, down) < 1 else cv2.INTER_LINEAR
    return cv2.resize(picture, None, fx=across, fy=down, interpolation=how)


def _gamma(picture: Picture, power: float) -> Picture:
    return (255 * (_grey(picture) / 255) ** power).astype(np.uint8)


def _noisy(picture: Picture, deviation: float, rng: np.random.Generator) -> Picture:
    return np.clip(_grey(picture) + rng.normal(0, deviation, picture.shape), 0, 255).astype(np.uint8)


def _augmented(picture: Picture, rng: np.random.Generator) -> Picture:
    """Tilts by up to 8 degrees, cuts a fifth off, mirrors half, changes brightness, adds noise."""
    changed = _cropped(_tilted(_grey(picture), rng.uniform(-8, 8)), 0.2, rng)
    changed = changed[:, ::-1] if rng.random() < 0.5 else changed
    contrast = cv2.convertScaleAbs(changed, alpha=rng.uniform(0.8, 1.2), beta=rng.uniform(-15, 15))
    return _noisy(contrast, 4, rng)


CHANGES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "mirrored": lambda p, rng: p[:, ::-1],
    "upside down": lambda p, rng: p[::-1],
    "rotated by 90": lambda p, rng: np.rot90(p, -1),
    "rotated by 180": lambda p, rng: p[::-1, ::-1],
    "inverted": lambda p, rng: p.max() - p,
    "mirrored and inverted": lambda p, rng: p.max() - p[:, ::-1],
    "tilted by 3 degrees": lambda p, rng: _tilted(p, 3),
    "tilted by 10 degrees": lambda p, rng: _tilted(p, 10),
    "cropped by 10 % of the area": lambda p, rng: _cropped(p, 0.1, rng),
    "cropped by 30 % of the area": lambda p, rng: _cropped(p, 0.3, rng),
    "framed": _framed,
    "stretched, 1.25 : 0.9": lambda p, rng: _scaled(p, 1.25, 0.9),
    "windowed (CT), 8 bits": lambda p, rng: _grey(p),
    "gamma 0.5": lambda p, rng: _gamma(p, 0.5),
    "gamma 2": lambda p, rng: _gamma(p, 2),
    "equalised": lambda p, rng: cv2.equalizeHist(_grey(p)),
    "blurred, sigma 1": lambda p, rng: cv2.GaussianBlur(p, (0, 0), 1),
    "blurred, sigma 2": lambda p, rng: cv2.GaussianBlur(p, (0, 0), 2),
    "noise of 4 grey levels": lambda p, rng: _noisy(p, 4, rng),
    "noise of 20 grey levels": lambda p, rng: _noisy(p, 20, rng),
    "JPEG of quality 50": lambda p, rng: _jpeg(p, 50),
    "JPEG of quality 10": lambda p, rng: _jpeg(p, 10),
    "0.75 of the size, JPEG of quality 60": lambda p, rng: _jpeg(_scaled(p, 0.75, 0.75), 60),
    "mirrored, stretched, gamma 1.4, JPEG 30": lambda p, rng: _jpeg(
        _gamma(_scaled(p[:, ::-1], 0.8, 1), 1.4), 30
    ),
    "augmented": _augmented,
    "cropped by 10 %, framed, inverted, JPEG 50": lambda p, rng: _jpeg(
        255 - _framed(_cropped(_grey(p), 0.1, rng), rng), 50
    ),
}

if __name__ == "__main__":
    main()
