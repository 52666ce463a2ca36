"""Integrated gradients (Sundararajan 2017, ICML) of many nodules at once, to a given completeness error.

The path from baseline b to input x is straight. A panel of it, [l, r], is integrated by Gauss-Legendre
quadrature. By completeness the attributions of a panel sum to F(r) - F(l), which is known: the error of every
panel is exact, and only panels that miss their share of the tolerance are halved. Every nodule gets as many
gradients as its path needs, and the network's batches are filled with the panels of all nodules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.vocabulary import Modality

Images = Mapping[Modality, Tensor]
# (B, S, S) float images per modality and (B,) patient keys become (B,) log odds; rows must not mix
Score = Callable[[Images, Tensor], Tensor]
Panel = tuple[int, float, float, float, float, int]  # nodule, left, right, F(left), F(right), halvings
RETRIES = 3  # of nodules whose panels' errors happened to add up, each with half the tolerance


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    Attributes:
        tolerance: largest |sum of attributions - (F(x) - F(b))|, log odds.
        nodes: gradients per panel.
        halvings: a panel is halved at most so often; what is left then is told as error.
        rows: most images of a modality that go through the network at once.
    """

    tolerance: float
    nodes: int
    halvings: int
    rows: int


@dataclass(frozen=True)
class Attributions:
    """Attributions of N nodules, in log odds of metastasis.

    Attributes:
        maps: per modality (N, S, S) float32, one number per pixel.
        sums: per modality (N,) their sums.
        at_input, at_baseline: (N,) log odds F at both ends of the path.
        gradients: (N,) gradients computed.
    """

    maps: Mapping[Modality, Tensor]
    sums: Mapping[Modality, NDArray[np.float64]]
    at_input: NDArray[np.float64]
    at_baseline: NDArray[np.float64]
    gradients: NDArray[np.int64]

    @property
    def error(self) -> NDArray[np.float64]:
        """(N,) completeness error: |sum of all attributions - (F(x) - F(b))|, log odds."""
        total = np.sum([values for values in self.sums.values()], axis=0)
        return np.asarray(np.abs(total - (self.at_input - self.at_baseline)), dtype=np.float64)


def log_odds(score: Score, images: Images, patients: Tensor, rows: int) -> NDArray[np.float64]:
    """F of N nodules, at most `rows` at once, (N,)."""
    with torch.inference_mode():
        parts = [
            score({name: values[at] for name, values in images.items()}, patients[at]).double().cpu()
            for at in torch.split(torch.arange(len(patients)), rows)
        ]
    return torch.cat(parts).numpy() if parts else np.empty(0)


def integrate(
    score: Score, images: Images, baselines: Images, patients: Tensor, effort: Effort
) -> Attributions:
    """Integrated gradients from the baselines to the images.

    Args:
        score: the network.
        images: per modality (N, S, S) float32.
        baselines: alike.
        patients: (N,) patient keys.
        effort: tolerance and bounds.
    """
    found = _pass(score, images, baselines, patients, effort, effort.tolerance)
    for again in range(1, RETRIES + 1):
        late = torch.from_numpy(np.flatnonzero(found.error > effort.tolerance))
        if not len(late):
            break
        part = _pass(
            *(score, {m: v[late] for m, v in images.items()}, {m: v[late] for m, v in baselines.items()}),
            *(patients[late], effort, effort.tolerance / 2**again),
        )
        for name in images:
            found.maps[name][late] = part.maps[name]
            found.sums[name][late.numpy()] = part.sums[name]
        found.gradients[late.numpy()] += part.gradients
    return found


def _pass(
    score: Score, images: Images, baselines: Images, patients: Tensor, effort: Effort, tolerance: float
) -> Attributions:
    """One integration: a panel of length w may miss tolerance * sqrt(w).

    The errors of ReLU networks come from kinks along the path and have either sign, so those of panels add up
    like a random walk, to about the tolerance.
    """
    count = len(patients)
    steps = {name: images[name] - baselines[name] for name in images}
    maps = {name: torch.zeros_like(values) for name, values in images.items()}
    sums = {name: np.zeros(count) for name in images}
    ends = [log_odds(score, each, patients, effort.rows) for each in (baselines, images)]
    used = np.zeros(count, dtype=np.int64)
    nodes, weights = _gauss_legendre(effort.nodes)
    waiting: deque[Panel] = deque((n, 0.0, 1.0, ends[0][n], ends[1][n], 0) for n in range(count))
    together = max(1, effort.rows // effort.nodes)
    while waiting:
        panels = [waiting.popleft() for _ in range(min(together, len(waiting)))]
        index, left, right, low, high, depth = (np.array(column) for column in zip(*panels, strict=True))
        own, width = torch.from_numpy(index), right - left
        places = left[:, None] + width[:, None] * nodes  # (P, M)
        mean = _mean_gradient(score, baselines, steps, patients, own, places, weights)
        part = {name: steps[name][own] * values * _column(width, values) for name, values in mean.items()}
        shares = {name: values.double().sum(dim=(1, 2)).numpy() for name, values in part.items()}
        miss = np.abs(np.sum(list(shares.values()), axis=0) - (high - low))
        done = (miss <= tolerance * np.sqrt(width)) | (depth >= effort.halvings)
        np.add.at(used, index, effort.nodes)
        kept = torch.from_numpy(np.flatnonzero(done))
        for name, values in part.items():
            maps[name].index_add_(0, own[kept], values[kept])
            np.add.at(sums[name], index[done], shares[name][done])
        open_panels = [panels[p] for p in np.flatnonzero(~done)]
        waiting.extend(_halves(score, baselines, steps, patients, open_panels, effort))
    return Attributions(maps, sums, ends[1], ends[0], used)


def _halves(
    score: Score, baselines: Images, steps: Images, patients: Tensor, panels: list[Panel], effort: Effort
) -> list[Panel]:
    """Both halves of each panel."""
    if not panels:
        return []
    own = torch.tensor([panel[0] for panel in panels])
    middle = np.array([(panel[1] + panel[2]) / 2 for panel in panels])
    between = {
        name: baselines[name][own] + _column(middle, values) * values[own] for name, values in steps.items()
    }
    values = log_odds(score, between, patients[own], effort.rows)
    halves: list[Panel] = []
    for (n, left, right, low, high, depth), mid, value in zip(panels, middle, values, strict=True):
        halves += [(n, left, mid, low, value, depth + 1), (n, mid, right, value, high, depth + 1)]
    return halves


def _mean_gradient(
    score: Score,
    baselines: Images,
    steps: Images,
    patients: Tensor,
    own: Tensor,
    places: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[Modality, Tensor]:
    """Quadrature of the gradient over each of P panels, (P, S, S) per modality, for a panel of length 1."""
    panels, nodes = places.shape
    rows = own.repeat_interleave(nodes)
    points: dict[Modality, Tensor] = {}
    for name, step in steps.items():
        values = baselines[name][rows] + _column(places.reshape(-1), step) * step[rows]
        points[name] = values.requires_grad_(True)
    total = score(points, patients[rows]).sum()
    found = torch.autograd.grad(total, list(points.values()), allow_unused=True, materialize_grads=True)
    weight = torch.from_numpy(weights)
    return {
        name: torch.einsum(
            "pmhw,m->phw", gradient.view(panels, nodes, *gradient.shape[1:]), weight.to(gradient)
        )
        for name, gradient in zip(points, found, strict=True)
    }


def _column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """(K,) numbers as (K, 1, 1) beside images."""
    return torch.from_numpy(values).to(like)[:, None, None]


def _gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1]; exact for polynomials up to degree 2 count - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
