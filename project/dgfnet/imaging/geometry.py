"""Places of pixels in the patient, and values brought from one place to another.

Every place is in DICOM's patient coordinates, millimetres: x to the patient's left, y to posterior, z to
superior (LPS; PS3.3 C.7.6.2.1.1). Pictures, and files that do not say where they lie, have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError

Vector = NDArray[np.float64]

NEAR = 0.1  # of a pixel, or of the distance of slices: places that differ by less are one place
OPPOSITE = {"left": "right", "posterior": "anterior", "superior": "inferior"}


class OtherGrid(InputError):
    """A mask whose pixels do not coincide with those of its image."""


class CutOff(OtherGrid):
    """A mask on a grid that is moved against its image's, so that a part of it may be missing."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The place of a picture's pixels.

    Attributes:
        origin: (3,) centre of the first pixel.
        down: (3,) step from a row to the next, mm.
        right: (3,) step from a column to the next, mm.
        shape: rows and columns.
        thickness: distance of neighbouring slices, mm; None when unknown.
        frame_of_reference: UID of the coordinates (PS3.3 C.7.4.1); empty when unknown.
    """

    origin: Vector
    down: Vector
    right: Vector
    shape: tuple[int, int]
    thickness: float | None = None
    frame_of_reference: str = ""

    @property
    def normal(self) -> Vector:
        """Returns the unit vector across the plane."""
        across = np.cross(self.right, self.down)
        return np.asarray(across / np.linalg.norm(across), dtype=np.float64)

    def grid(self) -> Grid:
        """Returns the plane as a grid of one slice; axes: row, column, across."""
        across = self.normal * (self.thickness or 1.0)
        return Grid(self.origin, np.stack([self.down, self.right, across]), (*self.shape, 1))


@dataclass(frozen=True, eq=False)
class Grid:
    """The place of a volume's voxels.

    Attributes:
        origin: (3,) centre of voxel (0, 0, 0).
        steps: (3, 3) row `a` is the step from a voxel to the next along axis `a` of the array, mm.
        shape: voxels along each axis.
    """

    origin: Vector
    steps: NDArray[np.float64]
    shape: tuple[int, int, int]

    def indices(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the voxel indices, fractions included, of points (..., 3)."""
        return np.asarray((points - self.origin) @ np.linalg.inv(self.steps), dtype=np.float64)


@dataclass(frozen=True)
class Cut:
    """The slice of a grid on which a plane lies, pixel on voxel.

    Attributes:
        start: voxel under the plane's first pixel; outside the grid where the plane reaches further.
        down: axis of the array along the plane's rows, and 1 or -1.
        right: the same along its columns.
    """

    start: tuple[int, int, int]
    down: tuple[int, int]
    right: tuple[int, int]


def cut(grid: Grid, plane: Plane) -> Cut | None:
    """Returns the slice of the grid on which the plane lies, or None when pixels and voxels do not coincide.

    Axes may be swapped and turned. The plane may lie beside the grid, or reach beyond it: the lattice counts.
    """
    rows, columns = plane.shape
    inverse = np.linalg.inv(grid.steps)
    start = (plane.origin - grid.origin) @ inverse
    axes = []
    for step, count in ((plane.down @ inverse, rows), (plane.right @ inverse, columns)):
        axis = int(np.argmax(np.abs(step)))
        whole = np.zeros(3)
        whole[axis] = np.sign(step[axis])
        if np.abs(step - whole).max() * max(count - 1, 1) > NEAR:
            return None
        axes.append((axis, int(whole[axis])))
    if axes[0][0] == axes[1][0] or np.abs(start - np.rint(start)).max() > NEAR:
        return None
    first = tuple(int(index) for index in np.rint(start))
    return Cut((first[0], first[1], first[2]), axes[0], axes[1])


def take(values: NDArray[Any], where: Cut, shape: tuple[int, int]) -> NDArray[Any]:
    """Returns the values on a cut, (rows, columns, ...); 0 where the plane reaches beyond the volume.

    Args:
        values: (i, j, k, ...) of the grid.
        where: of `cut`.
        shape: rows and columns of the plane.
    """
    across = 3 - where.down[0] - where.right[0]
    taken = np.zeros((*shape, *values.shape[3:]), dtype=values.dtype)
    if not 0 <= where.start[across] < values.shape[across]:
        return taken
    inside, index = [], []
    for (axis, sign), count in zip((where.down, where.right), shape, strict=True):
        along = where.start[axis] + sign * np.arange(count)
        kept = np.flatnonzero((along >= 0) & (along < values.shape[axis]))
        inside.append(kept)
        index.append(along[kept])
    plane = np.take(values, where.start[across], axis=across)
    if where.down[0] > where.right[0]:
        plane = plane.swapaxes(0, 1)
    taken[np.ix_(*inside)] = plane[np.ix_(*index)]
    return taken


def overlaps(where: Cut, shape: tuple[int, ...], plane: tuple[int, int]) -> bool:
    """Returns True when a plane of this shape has pixels within a grid of that shape, but for the slice."""
    for (axis, sign), count in zip((where.down, where.right), plane, strict=True):
        last = where.start[axis] + sign * (count - 1)
        if max(where.start[axis], last) < 0 or min(where.start[axis], last) >= shape[axis]:
            return False
    return True


def is_displayed(down: Vector, right: Vector) -> bool:
    """Returns True for rows that run to posterior and columns to the left, as axial slices are displayed."""
    return direction(down) == "posterior" and direction(right) == "left"


def is_axial(plane: Plane) -> bool:
    """Returns True for a plane that lies across the patient more than along the body, as axial slices do."""
    return int(np.argmax(np.abs(plane.normal))) == 2


def is_cut_off(drawn: NDArray[np.bool_], where: Cut, shape: tuple[int, ...]) -> bool:
    """Returns True when what is drawn ends at the edge of its own grid, and that grid is the image's, moved.

    A grid that was cropped around a nodule ends there too, but is smaller than the image: that is no fault.

    Args:
        drawn: (rows, columns) on the plane.
        where: the cut.
        shape: of the grid.
    """
    if [shape[axis] for axis, _ in (where.down, where.right)] != list(drawn.shape):
        return False
    for along, (axis, sign) in enumerate((where.down, where.right)):
        index = where.start[axis] + sign * np.arange(drawn.shape[along])
        inside = np.flatnonzero((index >= 0) & (index < shape[axis]))
        edges = [edge for edge in (*inside[:1], *inside[-1:]) if 0 < edge < drawn.shape[along] - 1]
        if drawn.take(edges, axis=along).any():
            return True
    return False


def nearest(values: NDArray[Any], grid: Grid, plane: Plane) -> NDArray[Any]:
    """Returns the value of the nearest voxel for every pixel of a plane, (rows, columns, ...); 0 outside."""
    rows, columns = np.indices(plane.shape)
    points = plane.origin + rows[..., None] * plane.down + columns[..., None] * plane.right
    index = np.rint(grid.indices(points)).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(axis=-1)
    taken = np.zeros((*plane.shape, *values.shape[3:]), dtype=values.dtype)
    taken[inside] = values[tuple(index[inside].T)]
    return taken


def distance(plane: Plane, other: Plane) -> float:
    """Returns how far the first pixel of `other` is from the plane, mm, along its normal."""
    return float(abs((other.origin - plane.origin) @ plane.normal))


def same_grid(a: Grid, b: Grid) -> bool:
    """Returns True when every voxel of one lies on the same voxel of the other."""
    if a.shape != b.shape:
        return False
    corners = np.array(np.meshgrid(*[(0, count - 1) for count in a.shape])).reshape(3, -1).T
    places = b.origin + corners @ b.steps
    return bool(np.abs(a.indices(places) - corners).max() <= NEAR)


def describe(place: Plane | Grid) -> str:
    """Returns a place as messages give it: shape, steps with their directions, and the first voxel."""
    steps = [place.down, place.right] if isinstance(place, Plane) else list(place.steps)
    size = "x".join(str(count) for count in place.shape)
    sides = " x ".join(f"{float(np.linalg.norm(step)):.4g}" for step in steps)
    along = ", ".join(direction(step) for step in steps)
    first = ", ".join(f"{float(value):.4g}" for value in place.origin)
    return f"{size} of {sides} mm, axes to {along}, first at ({first}) mm"


def direction(step: Vector) -> str:
    """Returns the side of the patient to which a step leads most: left, posterior, superior or opposite."""
    axis = int(np.argmax(np.abs(step)))
    name = ("left", "posterior", "superior")[axis]
    return name if step[axis] > 0 else OPPOSITE[name]


def other_grid(mask: str, of_mask: Plane | Grid, image: str, of_image: Plane | Grid) -> OtherGrid:
    """Returns the error for a mask on another grid than its image, with both."""
    return OtherGrid(
        f"{mask} lies on another grid than {image}: {describe(of_mask)}; the image: {describe(of_image)}. "
        f"Export the mask on the grid of the image, or set resample to 1 in images.csv"
    )


def cut_off(mask: str) -> CutOff:
    """Returns the error for a mask whose grid is moved, so that what is drawn may go on beyond it."""
    return CutOff(
        f"{mask}: what is drawn ends at the edge of the mask's grid, which is moved against the image's, so "
        f"it may be cut off; export the mask on the grid of the image"
    )
