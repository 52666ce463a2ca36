"""Regions of the phantom's pictures that show what decides the label: a plane of bits per picture.

They lie in the folder of the truth, `signal/<modality>/`, a PNG per picture or slice, in its pixels.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dgfnet.vocabulary import Modality

FOLDER = "signal"
# name: (bit, which factors it shows); bit 1 is the nodule's mask, and a pixel may have several
REGIONS: dict[Modality, dict[str, tuple[int, str]]] = {
    "us": {
        "nodule": (1, "hypoechogenicity"),
        "margin": (2, "irregularity and tallness"),
        "microcalcifications": (4, "microcalcification"),
    },
    "ct": {
        "nodule": (1, "enhancement"),
        "extension": (2, "extension"),
        "nodes": (4, "nodes"),
    },
}


def path_of(truth: Path, image: str, index: int | None) -> Path:
    """Returns the path of a picture's plane.

    Args:
        truth: folder of the truth.
        image: the picture's path in the cohort folder, as in images.csv.
        index: its slice in a volume, inferior to superior; None for a file that is one picture.
    """
    plain = PurePosixPath(image).with_suffix("")
    return truth / FOLDER / (f"{plain}.png" if index is None else f"{plain}_{index}.png")
