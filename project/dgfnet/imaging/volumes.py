"""Volumes, of NIfTI, NRRD or MetaImage: voxels, their place, and the axial slices as they are displayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.imaging.geometry import Cut, Grid, Plane, take

LEAST_SPAN = 0.1  # volume of three steps of length one; of CT with a tilt of 30 degrees it is 0.87
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # turns NIfTI's coordinates (RAS) into DICOM's, and back


@dataclass(frozen=True)
class Segment:
    """A part of a labelled volume.

    Attributes:
        value: of its voxels.
        name: as the file calls it; may be empty.
        layer: of the volume, for segments that overlap.
        codes: coded meanings.
    """

    value: int
    name: str
    layer: int = 0
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as its file stores it.

    Attributes:
        values: (i, j, k) or (i, j, k, layers); i runs fastest in the file.
        spacing_mm: (3,) between voxels along each axis.
        grid: its place, None when the file does not say.
        rival: another place that the file claims too (NIfTI's qform beside a sform that differs).
        segments: parts that the file names; empty when it names none.
    """

    values: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    grid: Grid | None
    rival: Grid | None = None
    segments: tuple[Segment, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns the voxels along each axis."""
        i, j, k = self.values.shape[:3]
        return i, j, k


def grid_of(name: str, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Grid:
    """Returns the grid of an affine (4, 4) from voxel indices to LPS millimetres.

    Raises:
        InputError: naming the file, when the three axes do not span space.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        span = 0.0
    else:
        span = abs(float(np.linalg.det(affine[:3, :3] / lengths)))
    if span < LEAST_SPAN:
        raise InputError(f"{name}: its affine is singular, so it lies nowhere; export it again")
    return Grid(affine[:3, 3].copy(), affine[:3, :3].T.copy(), shape)


def shown(volume: Volume, index: int) -> tuple[NDArray[Any], Plane | None, tuple[float, float]]:
    """Returns an axial slice as displayed, its place, and the height and width of a pixel, mm.

    Rows run to posterior and columns to the patient's left, as far as the axes of the volume allow; slices
    are counted from inferior to superior. Without a place, columns run along the first axis, rows along the
    second.
    """
    where, across = _display(volume, index)
    i, j = where.right[0], where.down[0]
    rows, columns = volume.shape[j], volume.shape[i]
    values = take(volume.values, where, (rows, columns))
    sides = (volume.spacing_mm[j], volume.spacing_mm[i])
    if volume.grid is None:
        return values, None, sides
    steps = volume.grid.steps
    origin = volume.grid.origin + np.array(where.start) @ steps
    thickness = volume.spacing_mm[across]
    plane = Plane(origin, where.down[1] * steps[j], where.right[1] * steps[i], (rows, columns), thickness)
    return values, plane, sides


def slices(volume: Volume) -> int:
    """Returns the number of axial slices."""
    return volume.shape[_display(volume, 0)[1]]


def is_stored_as_displayed(volume: Volume) -> bool:
    """Returns True when the stored order of voxels is the displayed one, or the file has no place."""
    if volume.grid is None:
        return True
    where, across = _display(volume, 0)
    return volume.rival is None and where == Cut((0, 0, 0), (1, 1), (0, 1)) and across == 2


def has_identity(volume: Volume) -> bool:
    """Returns True for the affine of programs that know of no place: pixels of 1 mm from the origin."""
    if volume.grid is None or volume.rival is not None:
        return False
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = volume.grid.steps.T, volume.grid.origin
    return any(np.allclose(affine, unit) for unit in (np.eye(4), LPS))


def _display(volume: Volume, index: int) -> tuple[Cut, int]:
    """Returns the cut of a displayed slice, and the axis across it."""
    if volume.grid is None:
        return Cut((0, 0, index), (1, 1), (0, 1)), 2
    affine = np.eye(4)
    affine[:3, :3] = volume.grid.steps.T
    orientation = io_orientation(affine).astype(int)  # type: ignore[no-untyped-call]
    axis_to = {int(world): (axis, int(sign)) for axis, (world, sign) in enumerate(orientation)}
    start = [0, 0, 0]
    for world, (axis, sign) in axis_to.items():
        along = index if world == 2 else 0
        start[axis] = along if sign > 0 else volume.shape[axis] - 1 - along
    return Cut((start[0], start[1], start[2]), axis_to[1], axis_to[0]), axis_to[2][0]


def named(names: Mapping[int, str]) -> tuple[Segment, ...]:
    """Returns segments of one layer by their values and names."""
    return tuple(Segment(value, name) for value, name in sorted(names.items()))
