"""One picture laid on another, and how much of what both show is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.audit.cells import ORDERS, descriptor_units
from dgfnet.audit.fingerprint import SIDE, Fingerprint
from dgfnet.audit.search import Proposal

NEAR = (SIDE / 8, SIDE / 16)  # pixels that points may lie beside each other while the match is refined
LIKE = 0.7  # cosine of their descriptors
SCALE, ASPECT = (0.4, 2.5), 2.0  # factors of size between two pictures, and of width to height
OVERLAP = 0.5  # of the smaller picture's structure that both show, at least
COARSE = 0.1  # correlation of smoothed structure, below which there is nothing to refine
PROMISING = 0.3  # correlation after a coarse registration
TILE, TILES = 12, 4  # side in pixels; tiles that must show something
Transform = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Registration:
    """The second picture of a candidate laid on the first.

    Attributes:
        transform: (2, 3); where a point of the second structure lies in the first.
        correlation: of the structure that both show: over all, or the median over tiles if that is lower.
        grain: of the grain, the lowest fifth of the tiles.
    """

    transform: Transform
    correlation: float
    grain: float


def register(first: Fingerprint, second: Fingerprint, candidate: Proposal) -> Registration | None:
    """Lays the second picture of a candidate on the first; None when they do not fit or hardly overlap."""
    moving = (
        np.negative(second.structure) if candidate.inverted else second.structure
    )  # 256 - values, 0 stays
    pair = _Pair(first.structure, moving)
    level, transform = max(
        ((pair.smooth_correlation(start), start) for start in _starts(first, second, candidate)),
        key=lambda scored: scored[0],
    )
    if level < COARSE:
        return None
    refined = pair.refine(transform, 0.5, 5)
    if refined is None or pair.smooth_correlation(refined) < PROMISING:
        return None
    refined = pair.refine(refined, 1, 3)
    if refined is None or pair.overlap(refined) is None:
        return None
    return _judge(first, second, pair, refined, candidate.inverted)


class _Pair:
    """Structures of two pictures, 128 where they are flat."""

    def __init__(self, fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> None:
        self.shows = (fixed > 0).astype(np.uint8), (moving > 0).astype(np.uint8)
        self.fixed, self.moving = (np.where(one == 0, 128, one).astype(np.uint8) for one in (fixed, moving))
        self.smooth = _smoothed(self.fixed)

    def lay(self, values: NDArray[np.generic], transform: Transform, border: float) -> NDArray[np.float32]:
        """Moves values of the second picture onto the first."""
        size = self.fixed.shape[::-1]
        return np.asarray(
            cv2.warpAffine(values.astype(np.float32), transform, size, borderValue=border), dtype=np.float32
        )

    def overlap(self, transform: Transform) -> NDArray[np.bool_] | None:
        """Returns where both show structure; None for a distorting transform or a small overlap."""
        strong, weak = np.linalg.svd(transform[:, :2], compute_uv=False)
        if weak < SCALE[0] or strong > SCALE[1] or strong > ASPECT * weak:
            return None
        both = (self.lay(self.shows[1], transform, 0) > 0.99) & (self.shows[0] > 0)
        smaller = min(np.count_nonzero(self.shows[0]), np.count_nonzero(self.shows[1]) * strong * weak)
        return both if np.count_nonzero(both) >= max(OVERLAP * smaller, TILES * TILE**2) else None

    def smooth_correlation(self, transform: Transform) -> float:
        """Returns the correlation of what is coarse in both; -1 where they do not fit."""
        both = self.overlap(transform)
        if both is None:
            return -1.0
        return _correlation(self.smooth[both], _smoothed(self.lay(self.moving, transform, 128))[both])

    def refine(self, transform: Transform, scale: float, blur: int) -> Transform | None:
        """Registers both, reduced to a scale, by enhanced correlation (Evangelidis and Psarakis 2008)."""
        fixed, moving, shows = (
            cv2.resize(one, None, fx=scale, fy=scale, interpolation=how)
            for one, how in (
                (self.fixed, cv2.INTER_AREA),
                (self.moving, cv2.INTER_AREA),
                (self.shows[1], cv2.INTER_NEAREST),
            )
        )
        shift = (scale - 1) / 2  # pixels have their centre at 0.5
        reduce = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
        start = reduce @ np.linalg.inv(lift(transform)) @ np.linalg.inv(reduce)
        stop = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 25, 2e-4)
        try:
            found = cv2.findTransformECC(
                fixed, moving, start[:2].astype(np.float32), cv2.MOTION_AFFINE, stop, shows, blur
            )[1]
        except cv2.error:  # it has run away
            return None
        found = np.linalg.inv(reduce) @ lift(np.asarray(found, dtype=np.float64)) @ reduce
        return np.asarray(np.linalg.inv(found)[:2], dtype=np.float64)


def lift(transform: Transform) -> Transform:
    """Returns the (3, 3) matrix of a (2, 3) transform."""
    return np.vstack([transform, [0, 0, 1]])


def _starts(first: Fingerprint, second: Fingerprint, candidate: Proposal) -> list[Transform]:
    """Returns what to begin with: the match itself, and what the points around it say together."""
    order = ORDERS[candidate.mirrored + 2 * candidate.inverted]
    alike = descriptor_units(first.descriptors) @ descriptor_units(second.descriptors)[:, order].T
    start = candidate.transform
    starts = [start]
    for near in NEAR:
        a, b = _matched(first, second, alike, start, near)
        if len(a) >= 3:
            start = _fitted(a, b, start)
    starts.append(start)
    a, b = _matched(first, second, alike, candidate.transform, NEAR[0])
    if len(a) >= 4:
        cv2.setRNGSeed(0)
        found = cv2.estimateAffine2D(b, a, method=cv2.RANSAC, ransacReprojThreshold=2.5, maxIters=300)[0]
        if found is not None:
            starts.append(np.asarray(found, dtype=np.float64))
    return starts


def _matched(
    first: Fingerprint, second: Fingerprint, alike: NDArray[np.float32], transform: Transform, near: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns places of points of both that lie near each other and are alike, (n, 2) each."""
    a, b = first.points[:, :2].astype(np.float64), second.points[:, :2].astype(np.float64)
    lies = b @ transform[:, :2].T + transform[:, 2]
    beside = np.linalg.norm(lies[None] - a[:, None], axis=2) < near
    like = np.where(beside, alike, 0)
    rows = np.flatnonzero(like.max(axis=1) > LIKE)
    return a[rows], b[like[rows].argmax(axis=1)]


def _fitted(a: NDArray[np.float64], b: NDArray[np.float64], transform: Transform) -> Transform:
    """Returns the affine transform of least squares, held near the given one where points say little."""
    rows = np.column_stack([b, np.ones(len(b))])
    hold = np.diag([200.0, 200.0, 5e-4])  # square pixels
    return np.asarray(
        np.linalg.solve(rows.T @ rows + hold, rows.T @ a + hold @ transform.T).T, dtype=np.float64
    )


def _judge(
    first: Fingerprint, second: Fingerprint, pair: _Pair, transform: Transform, inverted: bool
) -> Registration | None:
    both = pair.overlap(transform)
    if both is None:
        return None
    fixed, laid = _band(pair.fixed), _band(pair.lay(pair.moving, transform, 128))
    tiles = _tiles(fixed, laid, both)
    grain = pair.lay(second.grain, transform, 0) * (-1 if inverted else 1)
    grains = _tiles(first.grain.astype(np.float32), grain, both)
    if min(tiles.size, grains.size) < TILES:
        return None
    correlation = min(_correlation(fixed[both], laid[both]), float(np.median(tiles)))
    return Registration(transform, correlation, float(np.percentile(grains, 20)))


def _tiles(
    one: NDArray[np.float32], other: NDArray[np.float32], both: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Returns the correlation in each tile that shows structure of both nearly everywhere."""

    def sums(values: NDArray[np.generic]) -> NDArray[np.float32]:
        rows, columns = (-side % TILE for side in values.shape)
        whole = np.pad(values.astype(np.float32), ((0, rows), (0, columns)))
        shape = (whole.shape[0] // TILE, TILE, whole.shape[1] // TILE, TILE)
        return np.asarray(whole.reshape(shape).sum(axis=(1, 3)), dtype=np.float32)

    count = np.maximum(sums(both), 1)
    one, other = one * both, other * both
    product = sums(one * other) - sums(one) * sums(other) / count
    squares = [sums(values**2) - sums(values) ** 2 / count for values in (one, other)]
    shown = (count > 0.4 * TILE**2) & (squares[0] > 10 * count) & (squares[1] > 10 * count)
    return np.asarray(product[shown] / np.sqrt(squares[0] * squares[1])[shown], dtype=np.float32)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(np.vdot(one, other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-6))


def _smoothed(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), 2.5), dtype=np.float32)


def _band(values: NDArray[Any]) -> NDArray[np.float32]:
    """Returns what is neither as fine as noise nor as coarse as shading."""
    values = values.astype(np.float32)
    fine, coarse = (np.asarray(cv2.GaussianBlur(values, (0, 0), sigma)) for sigma in (0.8, 3))
    return np.asarray(fine - coarse, dtype=np.float32)
