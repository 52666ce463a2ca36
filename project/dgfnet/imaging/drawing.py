"""Outlines become masks: a pixel belongs to a region when its centre lies inside the outline.

Neither Pillow nor OpenCV keeps to that rule (both draw the outline too, a mask that is one pixel larger on
two sides), and matplotlib's test of points fills holes; docs/reference/annotations.md has the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

CORNERS = (0.5, 0.5)  # x and y of the first pixel's centre where coordinates count from the picture's corner
CENTRES = (0.0, 0.0)  # the same where whole numbers are the centres of pixels
FARTHEST = 1e6  # pixels or mm; a coordinate beyond is none of a picture
NEAR = 0.01  # pixels; a centre this close to an outline lies on it, as coordinates are written rounded
AT_ONCE = 2_000_000  # crossings of outlines and rows of pixels that are in memory together
MOST = 500_000_000  # crossings; an outline of 10,000 points crosses 50,000 rows so often

Points = NDArray[np.float64]


def polygons(
    rings: Sequence[Points], shape: tuple[int, int], first: tuple[float, float], outline: bool = False
) -> NDArray[np.bool_]:
    """Draws closed polygons: inside is what an odd number of rings surrounds (even-odd), so that holes work.

    A pixel whose centre lies on an outline is inside when the area is to the right of it or below, so that
    polygons with a common side share no pixel and leave none out.

    Args:
        rings: one array per ring, (points, 2), x to the right and y downwards, pixels; the last point is
            joined to the first.
        shape: of the mask, (rows, columns); what lies outside is cut off.
        first: x and y of the centre of the pixel in row 0 and column 0; CORNERS or CENTRES.
        outline: a pixel whose centre lies on an outline is inside, whichever side the area is on.

    Returns:
        (rows, columns), True inside. Memory is taken for the rectangle around the rings alone.

    Raises:
        ValueError: for outlines so long that they would take minutes.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    closed = [ring - first for ring in rings if len(ring)]
    if not closed:
        return mask
    starts, ends = np.concatenate(closed), np.concatenate([np.roll(ring, -1, axis=0) for ring in closed])
    low = np.clip(np.ceil(starts.min(axis=0)), 0, shape[::-1]).astype(np.intp)  # first column and row inside
    high = np.clip(np.floor(starts.max(axis=0)) + 1, low, shape[::-1]).astype(
        np.intp
    )  # the ones after the last
    width = int(high[0] - low[0])
    box = np.zeros((int(high[1] - low[1]), width + 1), dtype=np.uint8)
    for row, x in _crossings(starts, ends, int(low[1]), int(high[1])):
        column = np.clip(np.ceil(x) - low[0], 0, width).astype(np.intp)  # the first centre to the right
        np.bitwise_xor.at(box, (row - low[1], column), 1)
    np.bitwise_xor.accumulate(box, axis=1, out=box)
    mask[low[1] : high[1], low[0] : high[0]] = box[:, :width]
    if outline:
        for row, column in _on_outlines(starts, ends, shape):
            mask[row, column] = True
    return mask


def ellipse(
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    shape: tuple[int, int],
    first: tuple[float, float],
) -> NDArray[np.bool_]:
    """Draws an ellipse: (rows, columns), True where the centre of a pixel lies inside.

    Args:
        centre: x and y, pixels.
        radii: along its own two axes, pixels; the first points to the right when `angle` is 0.
        angle: radians, clockwise as seen on a picture whose y runs downwards.
        shape: of the mask, (rows, columns).
        first: as in `polygons`.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    if min(radii) <= 0:
        return mask
    cos, sin = np.cos(angle), np.sin(angle)
    middle = np.subtract(centre, first)
    reach = (np.hypot(radii[0] * cos, radii[1] * sin), np.hypot(radii[0] * sin, radii[1] * cos))
    low = np.clip(np.floor(middle - reach), 0, shape[::-1]).astype(np.intp)
    high = np.clip(np.ceil(middle + reach) + 1, low, shape[::-1]).astype(np.intp)
    x = np.arange(low[0], high[0]) - middle[0]  # (columns,)
    y = (np.arange(low[1], high[1]) - middle[1])[:, None]  # (rows, 1)
    along, across = (x * cos + y * sin) / radii[0], (y * cos - x * sin) / radii[1]
    mask[low[1] : high[1], low[0] : high[0]] = along**2 + across**2 <= 1
    return mask


def _crossings(
    starts: Points, ends: Points, low: int, high: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yields row and x where sides cross the rows low to high - 1; of their ends the upper one counts."""
    down = starts[:, 1] <= ends[:, 1]
    upper, lower = np.where(down[:, None], starts, ends), np.where(down[:, None], ends, starts)
    top = np.clip(np.ceil(upper[:, 1]), low, high).astype(np.intp)
    bottom = np.clip(np.ceil(lower[:, 1]), low, high).astype(np.intp)
    for side, row in _spread(top, bottom - top):
        (x, y), (to_x, to_y) = upper[side].T, lower[side].T
        yield row, x + (row - y) * ((to_x - x) / (to_y - y))


def _on_outlines(
    starts: Points, ends: Points, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields rows and columns of the pixels whose centre lies on a side, its two ends included."""
    for axis in (0, 1):  # steep sides meet every row, flat ones every column
        other, size = 1 - axis, shape[1 - axis]
        forward = (starts[:, axis] <= ends[:, axis])[:, None]
        lower, upper = np.where(forward, starts, ends), np.where(forward, ends, starts)
        begin = np.clip(np.ceil(lower[:, axis] - NEAR), 0, size).astype(np.intp)
        end = np.clip(np.floor(upper[:, axis] + NEAR) + 1, begin, size).astype(np.intp)
        for side, step in _spread(begin, end - begin):
            run = upper[side, axis] - lower[side, axis]
            share = np.clip((step - lower[side, axis]) / np.where(run > 0, run, 1), 0, 1)
            value = lower[side, other] + share * (upper[side, other] - lower[side, other])
            nearest = np.rint(value)
            met = (abs(value - nearest) <= NEAR) & (nearest >= 0) & (nearest < shape[axis])
            met &= (run > 0) | (
                abs(upper[side, other] - lower[side, other]) <= NEAR
            )  # else the other axis tells
            found = (step[met], nearest[met].astype(np.intp))
            yield found if axis == 1 else found[::-1]


def _spread(
    begin: NDArray[np.intp], count: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields the number of each side beside each of the `count` whole numbers from `begin`, part by part."""
    total = np.cumsum(count)
    if len(total) and total[-1] > MOST:
        raise ValueError(f"outlines that cross {total[-1]:,} rows of pixels; expected at most {MOST:,}")
    at = 0
    while at < len(count):
        done = int(total[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(total, done + AT_ONCE, side="right")))
        side = np.repeat(np.arange(at, stop), count[at:stop])
        within = np.arange(len(side)) - (total[side] - count[side] - done)
        yield side, begin[side] + within
        at = stop
