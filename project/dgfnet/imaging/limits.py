"""Limits of pictures: how many pixels one has, and how large a pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dgfnet.errors import InputError

LARGEST = 50_000_000  # pixels; a US picture or CT slice has one million
LARGEST_VOLUME = 1_000_000_000  # voxels; 2000 slices of 512 x 512 are half of it
DEFLATE = 1032  # gzip makes data smaller by this factor at most
SPACING_MM = (0.01, 20.0)  # side of a pixel, from US enlarged fourfold to the coarsest localizer of CT
SAME = 0.01  # two sides of a pixel, or two regions, differ by less than this share: drawn to one scale


def scale_fault(rows: float, columns: float) -> str | None:
    """Returns the fault of pixels of this height and width, mm, or None for squares of a usual size."""
    finest, coarsest = SPACING_MM
    if not (finest <= rows <= coarsest and finest <= columns <= coarsest):
        return f"pixels of {rows:g} x {columns:g} mm; expected a side of {finest:g} to {coarsest:g} mm"
    if abs(rows - columns) > SAME * rows:
        return f"pixels of {rows:g} x {columns:g} mm; expected squares. Resample image and mask"
    return None


def too_large(path: Path) -> str:
    """Returns the message for a file that claims more pixels than any picture has."""
    return f"{path.name}: more than {LARGEST // 1_000_000} million pixels; expected one picture or slice"


def check_claim(path: Path, shape: Sequence[int], itemsize: int, is_compressed: bool) -> None:
    """Refuses a volume that claims more voxels than its file can hold, before memory is taken for them.

    Raises:
        InputError: with the claim.
    """
    size = "x".join(str(side) for side in shape)
    voxels = int(np.prod(np.array(shape, dtype=object)))
    if voxels * itemsize > path.stat().st_size * (DEFLATE if is_compressed else 1):
        raise InputError(f"{path.name}: claims {size} voxels, more than the file can hold; copy it again")
    if voxels > LARGEST_VOLUME:
        raise InputError(f"{path.name}: {size} voxels; expected at most {LARGEST_VOLUME // 10**6} million")
