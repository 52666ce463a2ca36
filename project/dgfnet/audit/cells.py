"""Cells of like descriptors: points are compared with those of their own cell only.

A coarse quantiser, as in an inverted file (Sivic and Zisserman 2003). Up to FLAT cells, each descriptor is
compared with all centres. More cells have two levels, as in a vocabulary tree (Nister and Stewenius 2006): to
compare n points with n / PER_CELL centres takes time that grows with n squared, by two levels with n ** 1.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

PER_CELL = 700  # points, on average
FLAT = 2048  # cells in one level at most: of some 22,000 pictures
LEARNT, ROUNDS = 30, 2  # points per cell that cells are learnt of, and how often
ROWS = 4096  # points compared with centres at a time


def _orders(side: int) -> NDArray[np.intp]:
    """Returns the orders (4, side * side * 8) of the numbers of a descriptor with bins of 8 directions."""
    bins = np.arange(side * side * 8).reshape(side, side, 8)  # rows, columns, directions
    mirrored = bins[::-1][:, :, -np.arange(8) % 8]
    return np.stack([a.ravel() for a in (bins, mirrored, bins[::-1, ::-1], mirrored[::-1, ::-1])])


ORDERS = _orders(4)
"""(4, 128): orders of a descriptor's numbers: of the picture as it is, mirrored, inverted, both."""
COARSE_ORDERS = _orders(2)
"""(4, 32): the same of a coarse descriptor, of 2 x 2 bins."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Centres of cells, coarse and of unit length.

    Attributes:
        top: (t, 32); (0, 32) when there is one level.
        leaves: of each top centre, or of the only level, (k, 32) each; cells are numbered through.
    """

    top: NDArray[np.float32]
    leaves: list[NDArray[np.float32]]

    @property
    def count(self) -> int:
        """Number of cells."""
        return sum(map(len, self.leaves))

    def turned(self, order: NDArray[np.intp]) -> Cells:
        """Returns centres whose products with a descriptor are those of the descriptor in an order."""
        undone = np.argsort(order)
        return Cells(self.top[:, undone], [leaf[:, undone] for leaf in self.leaves])

    def of(self, units: NDArray[np.float32]) -> NDArray[np.int64]:
        """Returns the cell of each unit vector (n, 32)."""
        if not len(self.top):
            return _most_like(units, self.leaves[0])
        branch = _most_like(units, self.top)
        rows = np.argsort(branch, kind="stable")
        ends = np.searchsorted(branch[rows], np.arange(len(self.top) + 1))
        before = np.cumsum([0, *map(len, self.leaves)])
        cell = np.empty(len(units), dtype=np.int64)
        for number, leaf in enumerate(self.leaves):
            inside = rows[ends[number] : ends[number + 1]]
            cell[inside] = before[number] + _most_like(units[inside], leaf)
        return cell


def learn(descriptors: NDArray[np.uint8]) -> Cells:
    """Learns cells of PER_CELL descriptors (n, 128) on average, of some of them; the same each time."""
    count = max(1, len(descriptors) // PER_CELL)
    some = np.random.default_rng(0).choice(
        len(descriptors), min(len(descriptors), LEARNT * count), replace=False
    )
    units = coarse(descriptors[some])
    if count <= FLAT:
        return Cells(np.zeros((0, units.shape[1]), dtype=np.float32), [_centres(units, count)])
    top = _centres(units, math.isqrt(count))
    branch = _most_like(units, top)
    parts = [units[branch == number] for number in range(len(top))]
    return Cells(
        top, [_centres(part, max(1, len(part) // LEARNT)) if len(part) else top[:1] for part in parts]
    )


def assign(descriptors: NDArray[np.uint8], cells: Cells) -> NDArray[np.int32]:
    """Returns (n, orders): the cell of each descriptor (n, 128) in each order."""
    cell = np.empty((len(descriptors), len(COARSE_ORDERS)), dtype=np.int32)
    # a descriptor in an order, times a centre, is the descriptor times the centre in the order that undoes it
    turned = [cells.turned(order) for order in COARSE_ORDERS]
    block = ROWS * max(1, len(cells.top))  # so that each branch has rows enough at a time
    for start in range(0, len(descriptors), block):
        units = coarse(descriptors[start : start + block])
        for order, others in enumerate(turned):
            cell[start : start + block, order] = others.of(units)
    return cell


def descriptor_units(descriptors: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Returns descriptors, a row each, as unit vectors whose product compares histograms (RootSIFT)."""
    values = descriptors.astype(np.float32)
    return np.asarray(np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1)), dtype=np.float32)


def coarse(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns units (n, 32) of descriptors with a quarter of the bins, to choose a cell by."""
    bins = descriptors.reshape(-1, 2, 2, 2, 2, 8)
    return descriptor_units(bins.sum(axis=(2, 4), dtype=np.uint16).reshape(-1, 32))


def _centres(units: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Returns coarse centres (cells, 32) that halve the work: cells of any descriptors differ in size more.

    Spherical k-means (Dhillon and Modha 2001).
    """
    centres = units[:cells]
    for _ in range(ROUNDS):
        own = _most_like(units, centres)
        members = coo_array((np.ones(len(own), np.float32), (own, np.arange(len(own)))), (cells, len(own)))
        sums = members @ units
        empty = np.bincount(own, minlength=cells) == 0
        sums[empty] = centres[empty]
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    return np.asarray(centres, dtype=np.float32)


def _most_like(units: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns for each unit vector the most like of the centres."""
    found = np.empty(len(units), dtype=np.int64)
    for start in range(0, len(units), ROWS):
        found[start : start + ROWS] = (units[start : start + ROWS] @ centres.T).argmax(axis=1)
    return found
