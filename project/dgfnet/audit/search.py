"""Pairs of pictures that may be one: points with like descriptors that agree on how one lies on the other.

Points are sorted into cells by their descriptors (`cells.py`), so that each is compared with some hundred
others only; a match of two points, which have a size and a direction, says how one picture lies on the other,
and matches that agree are counted (Philbin et al. 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgfnet.audit.cells import ORDERS, assign, descriptor_units, learn
from dgfnet.audit.fingerprint import SIDE, Fingerprint

ROWS = 4096  # points compared with a cell at a time
NEAREST, SIMILAR = 3, 0.88  # matches of a point in its cell at most, and how like (cosine) they are at least
AGREE = 3  # matches
MATCHES = 24  # looked at of a pair, at most
TOLERANCE, TURN, SCALE = 0.08 * SIDE, 0.5, 0.7  # pixels, radians, logarithm of the factor
KEPT, CERTAIN = 6, 8  # candidates of a picture at most, but all with so many matches


@dataclass(frozen=True, eq=False)
class Proposal:
    """Two pictures that may be one.

    Attributes:
        first: row of the one.
        second: row of the other.
        votes: matches that agree.
        mirrored: one shows the mirror image of the other.
        inverted: what is bright in one is dark in the other.
        transform: (2, 3); where a point of the second structure lies in the first.
    """

    first: int
    second: int
    votes: int
    mirrored: bool
    inverted: bool
    transform: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Matches:
    """Matches of points: points of the first and of the second picture, order, pair with order; (n,) each."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    order: NDArray[np.int64]
    group: NDArray[np.int64]

    def __getitem__(self, which: NDArray[np.generic]) -> _Matches:
        return _Matches(self.a[which], self.b[which], self.order[which], self.group[which])


def candidates(prints: Sequence[Fingerprint], persons: Sequence[str]) -> list[Proposal]:
    """Returns the pairs of pictures of different persons that may be one, most votes first.

    Args:
        prints: of the pictures.
        persons: owners of the pictures; pairs of one person are not returned.
    """
    owner = np.unique(np.asarray(persons, dtype=str), return_inverse=True)[1]
    picture = np.repeat(np.arange(len(prints)), [len(one.points) for one in prints])
    if not picture.size:
        return []
    descriptors = np.concatenate([one.descriptors for one in prints])
    points = np.concatenate([one.points for one in prints]).astype(np.float64)
    matches = _grouped(_near(descriptors, owner[picture]), picture, len(prints))
    best: dict[tuple[int, int], Proposal] = {}
    for part in _parts(matches):
        for found in _agreeing(part, points, picture):
            pair = found.first, found.second
            if pair not in best or best[pair].votes < found.votes:
                best[pair] = found
    return _strongest(sorted(best.values(), key=lambda one: (-one.votes, one.first, one.second)), len(prints))


def _near(descriptors: NDArray[np.uint8], owner: NDArray[np.intp]) -> NDArray[np.int32]:
    """Returns matches (n, 3): a point, a like point of another owner, the order in which they are alike."""
    cells = learn(descriptors)
    cell = assign(descriptors, cells)
    members = np.lexsort((owner, cell[:, 0]))
    ends = np.searchsorted(cell[members, 0], np.arange(cells.count + 1))
    found = [np.zeros((0, 3), dtype=np.int32)]
    for order, to in enumerate(ORDERS):
        asked = np.argsort(cell[:, order], kind="stable")
        limits = np.searchsorted(cell[asked, order], np.arange(cells.count + 1))
        for number in range(cells.count):
            inside = members[ends[number] : ends[number + 1]]
            if not inside.size:
                continue
            units = descriptor_units(descriptors[inside]).T
            for start in range(limits[number], limits[number + 1], ROWS):
                rows = asked[start : min(start + ROWS, limits[number + 1])]
                alike = descriptor_units(descriptors[rows])[:, to] @ units
                _blank_own(alike, owner[rows], owner[inside])
                for row, column in _largest(alike):
                    found.append(
                        np.stack([rows[row], inside[column], np.full(row.size, order)], axis=1).astype(
                            np.int32
                        )
                    )
    return np.concatenate(found)


def _blank_own(alike: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
    """Sets what compares points of one owner to -1; the owners of the columns are sorted."""
    low, high = np.searchsorted(columns, rows, "left"), np.searchsorted(columns, rows, "right")
    count = high - low
    row = np.repeat(np.arange(len(rows)), count)
    alike[row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count - low, count)] = -1


def _largest(alike: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields rows and columns of the NEAREST largest values of each row that are SIMILAR."""
    row = np.arange(len(alike))
    for _ in range(min(NEAREST, alike.shape[1])):
        column = alike.argmax(axis=1)
        like = np.flatnonzero(alike[np.arange(len(alike)), column] > SIMILAR)
        row, column, alike = row[like], column[like], alike[like]
        yield row, column
        alike[np.arange(len(alike)), column] = -1


def _grouped(found: NDArray[np.int32], picture: NDArray[np.intp], pictures: int) -> _Matches:
    """Sorts matches by pair of pictures and order, and drops groups of fewer than AGREE."""
    swap = picture[found[:, 0]] > picture[found[:, 1]]
    a, b = np.where(swap, found[:, 1], found[:, 0]), np.where(swap, found[:, 0], found[:, 1])
    group = (picture[a] * pictures + picture[b]) * len(ORDERS) + found[:, 2]
    ordered = np.sort(group)
    often = ordered[AGREE - 1 :][ordered[AGREE - 1 :] == ordered[: max(0, len(ordered) - AGREE + 1)]]
    many = np.isin(group, np.unique(often))
    kept = np.unique(
        np.stack([group[many], a[many], b[many]], axis=1), axis=0
    )  # some were found from both sides
    return _Matches(kept[:, 1], kept[:, 2], kept[:, 0] % len(ORDERS), kept[:, 0])


def _parts(matches: _Matches) -> Iterator[_Matches]:
    """Yields some thousand groups at a time, each with MATCHES matches at most."""
    if not matches.group.size:
        return
    new = np.r_[True, np.diff(matches.group) > 0]
    first = np.flatnonzero(new)
    number = np.cumsum(new) - 1
    kept = np.arange(len(new)) - first[number] < MATCHES
    for start in range(0, len(first), ROWS):
        yield matches[np.flatnonzero(kept & (number >= start) & (number < start + ROWS))]


def _agreeing(
    matches: _Matches, points: NDArray[np.float64], picture: NDArray[np.intp]
) -> Iterator[Proposal]:
    """Yields of each group the match that most matches agree with, when they are AGREE."""
    linear, shift, turn, factor = _transforms(matches, points)
    _, first, count = np.unique(matches.group, return_index=True, return_counts=True)
    size = np.repeat(count, count)
    one = np.repeat(np.arange(size.size), size)
    other = (
        np.arange(one.size)
        - np.repeat(np.cumsum(size) - size, size)
        + np.repeat(np.repeat(first, count), size)
    )
    lies = np.einsum("nij,nj->ni", linear[one], points[matches.b[other], :2]) + shift[one]
    agrees = np.linalg.norm(lies - points[matches.a[other], :2], axis=1) < TOLERANCE
    agrees &= np.abs(np.angle(np.exp(1j * (turn[one] - turn[other])))) < TURN
    agrees &= np.abs(np.log(factor[one] / factor[other])) < SCALE
    votes = np.bincount(one, agrees, minlength=size.size).astype(int)
    best = np.lexsort((-votes, matches.group))[first]  # groups are in order
    for index in best[votes[best] >= AGREE]:
        order = int(matches.order[index])
        yield Proposal(
            int(picture[matches.a[index]]),
            int(picture[matches.b[index]]),
            int(votes[index]),
            order % 2 == 1,
            order >= 2,
            np.column_stack([linear[index], shift[index]]),
        )


def _transforms(matches: _Matches, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Returns what lays the second point of a match on the first: (n, 2, 2), shift (n, 2), angle, factor."""
    a, b = points[matches.a], points[matches.b]
    mirror = np.where(matches.order % 2 == 1, -1.0, 1.0)
    direction = b[:, 3] + np.where(matches.order >= 2, np.pi, 0)  # of bright to dark, the other way round
    turn, factor = a[:, 3] - mirror * direction, a[:, 2] / b[:, 2]
    cosine, sine = np.cos(turn) * factor, np.sin(turn) * factor
    linear = np.stack([cosine, -sine * mirror, sine, cosine * mirror], axis=1).reshape(-1, 2, 2)
    return linear, a[:, :2] - np.einsum("nij,nj->ni", linear, b[:, :2]), turn, factor


def _strongest(found: list[Proposal], pictures: int) -> list[Proposal]:
    """Drops candidates of pictures that have KEPT with more votes: what many share tells nothing."""
    seen, kept = np.zeros(pictures, dtype=int), []
    for one in found:
        if one.votes >= CERTAIN or max(seen[one.first], seen[one.second]) < KEPT:
            seen[[one.first, one.second]] += 1
            kept.append(one)
    return kept
