"""Limits of pictures: how many pixels one has, and how large a pixel is."""

from __future__ import annotations

from pathlib import Path

LARGEST = 50_000_000  # pixels; a US picture or CT slice has one million
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
