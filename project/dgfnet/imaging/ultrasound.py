"""Ultrasound in DICOM: grey as displayed, and the scale at the nodule (PS3.3 C.8.5.5, C.8.5.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import STORAGE, as_input_error, check_class, pixel_side, pixels_of, texts
from dgfnet.imaging.display import as_displayed, check_photometric
from dgfnet.imaging.limits import SAME, scale_fault

CLASSES = frozenset(STORAGE + end for end in ("6.1", "3.1", "6", "3"))  # the last two are retired
EXPECTED = "US Image, US Multi-frame Image, or a secondary capture of ultrasound"
CENTIMETRES = 3  # PhysicalUnitsXDirection (C.8.5.5.1.15)
PLANE = 1  # RegionSpatialFormat of a 2-D image (C.8.5.5.1.1)
LOW_PRIORITY = 1  # bit 0 of RegionFlags (C.8.5.5.1.3)
RENDERED, FLAT = 0x0040, 0x0001  # of the fourth value of ImageType (C.8.5.6.1.1): 3-D rendering, 2-D imaging

Bounds = tuple[int, int, int, int]  # x, y, width, height, in pixels


@dataclass(frozen=True)
class ScaledRegion:
    """A calibrated 2-D region of an ultrasound picture.

    Attributes:
        rows: height of a pixel, mm.
        columns: width of a pixel, mm.
        place: first and last column, first and last row; None when the file does not say.
        low_priority: another region that lies here has the pixels.
    """

    rows: float
    columns: float
    place: tuple[int, int, int, int] | None
    low_priority: bool

    def meets(self, box: Bounds) -> bool:
        """Returns True when a pixel of the box lies in the region."""
        x, y, width, height = box
        if self.place is None:
            return True
        left, right, top, bottom = self.place
        return left < x + width and x <= right and top < y + height and y <= bottom

    def holds(self, box: Bounds) -> bool:
        """Returns True when the whole box lies in the region."""
        x, y, width, height = box
        if self.place is None:
            return True
        left, right, top, bottom = self.place
        return left <= x and x + width - 1 <= right and top <= y and y + height - 1 <= bottom


def read_ultrasound(path: Path, data: Dataset, frame: int | None) -> tuple[NDArray[np.uint8], float | None]:
    """Returns grey pixels (height, width), 0-255 as displayed, and the side of a pixel, mm, or None.

    Raises:
        InputError: for pixels of no known display, a missing frame, or a scale that differs by direction.
    """
    stored = read_as_shown(path, data, frame)
    if stored.ndim == 3:
        stored = np.asarray(cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return np.ascontiguousarray(stored), scale(path, data, None)


def read_as_shown(path: Path, data: Dataset, frame: int | None) -> NDArray[np.uint8]:
    """Returns 8-bit pixels as displayed: (height, width) grey or (height, width, 3) red first.

    Raises:
        InputError: for a file of another kind, pixels of no known display, or a missing frame.
    """
    check_class(path, data, CLASSES, "US", EXPECTED)
    with as_input_error(path, "its pixels cannot be decoded"):
        _check_planar(path, data)
        check_photometric(path, data)
        return as_displayed(path, data, pixels_of(path, data, frame))


def scale(path: Path, data: Dataset, box: Bounds | None) -> float | None:
    """Returns the side of a pixel at the nodule, mm, or None when the file does not say.

    A region counts when it is a calibrated 2-D image. The nodule has the scale of the regions that hold it,
    of those first that are not of low priority; where none holds it whole, of those that it meets. Several
    that hold it with different scales leave it unknown. PixelSpacing counts where no region is calibrated.

    Args:
        path: of the file, for messages.
        data: of the file.
        box: of the nodule's mask; None when it is not known: then the scale that all regions share, if any.

    Raises:
        InputError: for pixels at the nodule that are no squares or of no usual size, and for a nodule that
            lies across regions of different scale.
    """
    with as_input_error(path, "its scale cannot be read"):
        regions = _regions(data)
        if not regions:
            return pixel_side(path, data.get("PixelSpacing"), data.get("PixelAspectRatio"))
        if box is None:
            everywhere = [region for region in regions if region.place is None]
            sound = all(scale_fault(region.rows, region.columns) is None for region in regions)
            if len(regions) == len(everywhere) == 1 or sound:
                return _common(path, regions)
            return None
        holding = [region for region in regions if region.holds(box)]
        if holding:
            return _common(path, [region for region in holding if not region.low_priority] or holding)
        meeting = [region for region in regions if region.meets(box)]
        if meeting and not _agree(meeting):
            sizes = " and ".join(f"{region.rows:g} x {region.columns:g}" for region in meeting)
            raise InputError(
                f"{path.name}: the nodule lies across regions of different scale ({sizes} mm); draw it in one"
            )
        return _common(path, meeting) if meeting else None


def _check_planar(path: Path, data: Dataset) -> None:
    """Refuses a 3-D rendering: its grey is no echo."""
    kinds = texts(data.get("ImageType"))
    if len(kinds) > 3 and re.fullmatch("[0-9A-F]{4}", kinds[3]):
        mode = int(kinds[3], 16)
        if mode & RENDERED and not mode & FLAT:
            raise InputError(f"{path.name}: a 3-D rendering (ImageType {kinds[3]}); expected a 2-D image")


def _regions(data: Dataset) -> list[ScaledRegion]:
    """Returns the calibrated 2-D regions; those in other units, with zeros or without numbers are none."""
    found = []
    for item in data.get("SequenceOfUltrasoundRegions") or ():
        units = {item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")}
        deltas = [item.get("PhysicalDeltaY"), item.get("PhysicalDeltaX")]
        if item.get("RegionSpatialFormat") != PLANE or units != {CENTIMETRES} or None in deltas:
            continue
        rows, columns = (10 * abs(float(delta)) for delta in deltas)
        if not 0 < rows < np.inf or not 0 < columns < np.inf:
            continue
        edges = [item.get(f"RegionLocation{edge}") for edge in ("MinX0", "MaxX1", "MinY0", "MaxY1")]
        place = None if None in edges else (int(edges[0]), int(edges[1]), int(edges[2]), int(edges[3]))
        low = bool(int(item.get("RegionFlags") or 0) & LOW_PRIORITY)
        found.append(ScaledRegion(rows, columns, place, low))
    return found


def _agree(regions: Sequence[ScaledRegion]) -> bool:
    """Returns True when the regions are drawn to one scale."""
    return all(
        max(sides) <= min(sides) * (1 + SAME)
        for sides in ([r.rows for r in regions], [r.columns for r in regions])
    )


def _common(path: Path, regions: Sequence[ScaledRegion]) -> float | None:
    """Returns the scale that the regions share, None when they differ; pixels that are no squares raise."""
    if not _agree(regions):
        return None
    if fault := scale_fault(regions[0].rows, regions[0].columns):
        raise InputError(f"{path.name}: {fault}")
    return regions[0].rows
