"""How often pictures are answered with caution or refused that are, and are not, like the training cohort's.

    python benchmarks/novelty.py FOLDER
    python benchmarks/novelty.py FOLDER --ddti DIR --lidc DIR  # see docs/how-to/public-data.md

FOLDER is a project in which the stage preprocess has run and whose cohort has external nodules. Limits are
those of a registered model of it. Other pictures than the cohort's: the other modality; even crops with a
little noise; crops of the two photographs that come with scikit-learn; centres of real ultrasound pictures of
the thyroid and of real CT volumes of lung nodules. Prints a table of shares. Takes a minute.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from dgfnet.bundle.novelty import Typical, Verdict, features, judge
from dgfnet.bundle.typical import limits_of
from dgfnet.cohort.records import Cohort
from dgfnet.cohort.screened import load_screened
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.build import build
from dgfnet.preprocess.roi import resize_image
from dgfnet.settings import Settings, load
from dgfnet.vocabulary import Modality

Crops = list[NDArray[np.uint8]]  # per nodule (K, S, S)
MANY = 300  # crops of every kind that is drawn
RNG = np.random.default_rng(0)


def main() -> None:
    """Judges pictures of every kind and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ddti", type=Path, help="unpacked DDTI")
    parser.add_argument("--lidc", type=Path, help="unpacked LIDC volumes of interest")
    options = parser.parse_args()
    settings = load(options.folder / "params.yaml")
    archive = Archive.open(settings.artifacts("preprocess"))
    folds = pd.read_csv(settings.artifacts("cohort", "folds.csv"), dtype={"nodule_id": str})
    ids = folds["nodule_id"].tolist()
    images = {name: archive.crops(name, ids) for name in archive.pictured()}
    limits, held_out = limits_of(images, list(images), folds["fold"], settings.register_.false_alarms)
    typical = {name: Typical.of(own) for name, own in limits.items()}
    outside = external(settings)
    print("| pictures | modality | nodules | with caution | no answer | named as the other modality |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| held out | both | {len(ids)} | {held_out['caution']:.3f} | {held_out['no answer']:.3f} | |")
    count = len(next(iter(outside.values())))
    both = [judge(typical, {name: features(outside[name][at]) for name in outside}) for at in range(count)]
    tell("external", "both", both)
    for name in images:
        other: Modality = "ct" if name == "us" else "us"
        side = archive.size[name]
        kinds = {
            "external": outside[name],
            "the other modality": images[other],
            "the other modality, external": outside[other],
            "even, a little noise": even(side),
            "photographs": squares([grey(photo) for photo in load_sample_images().images], side),
        }
        if options.ddti:
            kinds["real ultrasound of the thyroid"] = real_ultrasound(options.ddti, side)
        if options.lidc:
            kinds["real CT of the lung"] = real_tomography(options.lidc, side)
        for kind, crops in kinds.items():
            tell(kind, name, [judge(typical, {name: features(own)}) for own in crops])


def tell(kind: str, modality: str, judged: Sequence[Verdict]) -> None:
    """Prints a row."""
    levels = [verdict.level for verdict in judged]
    caution, refused = (levels.count(level) / len(levels) for level in ("caution", "no answer"))
    swapped = sum("looks like" in " ".join(verdict.reasons) for verdict in judged) / len(levels)
    print(f"| {kind} | {modality} | {len(levels)} | {caution:.3f} | {refused:.3f} | {swapped:.3f} |")


def external(settings: Settings) -> dict[Modality, Crops]:
    """Returns the crops of the external nodules."""
    screened = load_screened(settings)
    nodules = tuple(nodule for nodule in screened.nodules if nodule.cohort == "external")
    with tempfile.TemporaryDirectory() as folder:
        archive = build(Cohort(screened.root, nodules), settings.preprocess, Path(folder), 1, False, None)
        ids = [nodule.nodule_id for nodule in nodules]
        return {name: archive.crops(name, ids) for name in archive.pictured()}


def even(side: int) -> Crops:
    """Draws crops of one grey with noise of at most three grey values."""
    shades = RNG.integers(0, 256, MANY)
    noise = RNG.normal(0, 1, (MANY, 1, side, side)) * RNG.uniform(0, 3, (MANY, 1, 1, 1))
    return list(np.clip(shades[:, None, None, None] + noise, 0, 255).astype(np.uint8))


def squares(pictures: Sequence[NDArray[np.uint8]], side: int) -> Crops:
    """Cuts squares of any size out of pictures."""

    def cut() -> NDArray[np.uint8]:
        picture = pictures[RNG.integers(len(pictures))]
        length = int(RNG.integers(side, min(picture.shape)))
        row, column = (int(RNG.integers(whole - length + 1)) for whole in picture.shape)
        return resize_image(picture[row : row + length, column : column + length], side)[None]

    return [cut() for _ in range(MANY)]


def grey(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a photograph in shades of grey."""
    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))


def real_ultrasound(folder: Path, side: int) -> Crops:
    """Returns the middle of DDTI's pictures."""
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.glob("images/*.jpg"))]
    return [middle(np.asarray(picture), 160, side) for picture in pictures[:MANY]]


def real_tomography(folder: Path, side: int) -> Crops:
    """Returns the middle slice of LIDC's volumes, in the default window."""
    volumes = [
        np.asarray(nibabel.load(path).dataobj, float) for path in sorted(folder.glob("image/*"))[:MANY]
    ]
    return [resize_image(_windowed(volume[:, :, volume.shape[2] // 2]), side)[None] for volume in volumes]


def _windowed(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns HU from -125 to 225 as grey."""
    return (np.clip((values + 125) / 350, 0, 1) * 255).astype(np.uint8)


def middle(picture: NDArray[np.uint8], length: int, side: int) -> NDArray[np.uint8]:
    """Returns the square in the middle, (1, side, side)."""
    row, column = ((whole - length) // 2 for whole in picture.shape)
    return resize_image(picture[row : row + length, column : column + length], side)[None]


if __name__ == "__main__":
    main()
