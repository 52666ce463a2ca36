"""Copies of pictures that were changed: how many the audit finds, and how many others it takes for copies.

    python benchmarks/duplicates.py COHORT [COHORT ...] [--pictures 150]

Reads cohort folders (those of `dgfnet ingest ddti` and `lidc-voi`, or a phantom). Of each modality it
compares all pictures of different patients (false alarms), and stores changed copies of some under another.
US copies are reduced to 0.8 and saved as JPEG of quality 70 besides. Prints a table with Wilson intervals,
writes artifacts/benchmarks/duplicates.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from dgfnet.audit.fingerprint import near_identical, picture_fingerprint
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image
from dgfnet.files import write_json

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Compares, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=150)
    options = parser.parse_args()
    threshold = yaml.safe_load((ROOT / "params.yaml").read_text())["audit"]["same_picture"]
    table = Table("cohort", "copies", "found", "95 %")
    report: dict[str, dict[str, object]] = {}
    for folder in options.cohorts:
        cohort = read_cohort(folder)
        for modality in ("us", "ct"):
            owned = [(image, n.patient_id) for n in cohort.nodules for image in n.of(modality)]
            if not owned:
                continue
            pictures = [read_image(image).values for image, _ in owned]
            prints = np.stack([picture_fingerprint(picture) for picture in pictures])
            alarms = near_identical(prints, [owner for _, owner in owned], 0.51)
            name = f"{folder.parent.name}/{folder.name} {modality}"
            highest = alarms[0].correlation if alarms else 0.5
            false = sum(pair.correlation > threshold for pair in alarms)
            table.add_row(name, f"none, {len(owned)} pictures", f"{false} pairs", f"highest {highest:.2f}")
            report[name] = {"pictures": len(owned), "false_alarms": false, "highest": highest}
            chosen = np.random.default_rng(0).permutation(len(pictures))[: options.pictures]
            for change, found in recalls([pictures[i] for i in chosen], modality, threshold).items():
                low, high = binomtest(found, len(chosen)).proportion_ci(method="wilson")
                table.add_row(name, change, f"{found}/{len(chosen)}", f"{low:.3f}-{high:.3f}")
                report[name][change] = found / len(chosen)
    Console(width=120).print(table)
    write_json(ROOT / "artifacts" / "benchmarks" / "duplicates.json", report)


def recalls(pictures: list[np.ndarray], modality: str, threshold: float) -> dict[str, int]:
    """Returns how many copies are found per change."""
    prints = np.stack([picture_fingerprint(picture) for picture in pictures])
    found = {}
    for change, make in CHANGES.items():
        copies = np.stack([picture_fingerprint(_stored(make(picture), modality)) for picture in pictures])
        persons = [str(number) for number in range(2 * len(pictures))]
        pairs = near_identical(np.concatenate([prints, copies]), persons, threshold)
        found[change] = sum(pair.second - pair.first == len(pictures) for pair in pairs)
    return found


def _stored(picture: np.ndarray, modality: str) -> np.ndarray:
    """Saves US as an export would; CT keeps its numbers."""
    picture = np.ascontiguousarray(picture)
    if modality == "ct":
        return picture
    small = cv2.resize(picture.astype(np.uint8), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    return cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_GRAYSCALE)


def _scaled(picture: np.ndarray) -> np.ndarray:
    low, high = float(picture.min()), float(picture.max())
    return (picture - low) / max(high - low, 1.0)


def _cropped(picture: np.ndarray, share: float) -> np.ndarray:
    rows, columns = (round(side * share / 2) for side in picture.shape)
    return picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns]


CHANGES = {
    "mirrored": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "rotated by 90": lambda picture: np.rot90(picture, -1),
    "rotated by 180": lambda picture: picture[::-1, ::-1],
    "inverted": lambda picture: picture.max() - picture,
    "mirrored and inverted": lambda picture: picture.max() - picture[:, ::-1],
    "gamma 0.6": lambda picture: 255 * _scaled(picture) ** 0.6,
    "gamma 1.6": lambda picture: 255 * _scaled(picture) ** 1.6,
    "equalised": lambda picture: cv2.equalizeHist((255 * _scaled(picture)).astype(np.uint8)),
    "blurred, sigma 1": lambda picture: cv2.GaussianBlur(picture, (0, 0), 1),
    "sides scaled 1 : 0.8": lambda picture: cv2.resize(picture, None, fx=1, fy=0.8),
    "cropped by 2 % of the side": lambda picture: _cropped(picture, 0.02),
    "cropped by 10 % of the side": lambda picture: _cropped(picture, 0.1),
    "rotated by 3 degrees": lambda picture: cv2.warpAffine(
        picture,
        cv2.getRotationMatrix2D((picture.shape[1] / 2, picture.shape[0] / 2), 3, 1),
        picture.shape[::-1],
    ),
}

if __name__ == "__main__":
    main()
