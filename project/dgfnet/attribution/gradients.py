"""Integrated gradients (Sundararajan 2017, ICML) of many nodules at once, to a given completeness error.

The path from baseline b to input x is straight. A panel of it, [l, r], is integrated by Gauss-Legendre
quadrature. By completeness the attributions of a panel sum to F(r) - F(l), which is known: the error of every
panel is exact, and only panels that miss their share of the tolerance are halved. Every nodule gets as many
gradients as its path needs, and the network's batches are filled with the panels of all nodules.

Shapley values, Grad-CAM, infidelity and sensitivity come from captum; this does not, since
`captum.attr.IntegratedGradients` (0.9) lacks what the stage promises:

- an error bound: `n_steps` is one number for the whole batch and `return_convergence_delta` only reports the
  error afterwards; nothing refines the path of the nodules that miss, or spends less on the others;
- a subdivision of the path: its rules span all of [0, 1] at once, while the error of a ReLU network comes
  from a few kinks, and more points cannot be placed there;
- batches shared by nodules whose paths need different numbers of gradients: all examples of a call get the
  same steps, and `internal_batch_size` only cuts along them.

With many steps the two agree; a test holds them against each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.vocabulary import Modality

Images = Mapping[Modality, Tensor]
# (B, S, S) float images per modality, and what is held fixed, become (B,) log odds; rows must not mix
Score = Callable[[Images, Tensor], Tensor]
Panel = tuple[int, float, float, float, float, int]  # nodule, left, right, F(left), F(right), halvings
RETRIES = 3  # of nodules whose panels' errors happened to add up, each with half the tolerance


@dataclass(frozen=True)
class Paths:
    """The straight paths of N nodules, from a baseline to the nodule's pictures.

    Attributes:
        images: per modality (N, S, S) float32, grey 0..255; the ends of the paths.
        baselines: alike, their starts.
        fixed: (N,) or (N, more) int64, what the network knows of a nodule beside the pictures, the same all
            along its path: `networks.fixed_of`.
    """

    images: Images
    baselines: Images
    fixed: Tensor

    def __len__(self) -> int:
        return len(self.fixed)

    def take(self, at: Tensor) -> Paths:
        """Returns the paths at these positions."""
        images, baselines = (
            {name: values[at] for name, values in each.items()} for each in (self.images, self.baselines)
        )
        return Paths(images, baselines, self.fixed[at])

    def split(self, rows: int) -> Iterator[Paths]:
        """Yields the paths in their order, at most `rows` at once."""
        yield from (self.take(at) for at in chunks(len(self), rows))

    def steps(self) -> dict[Modality, Tensor]:
        """Returns the pictures minus their baselines, (N, S, S) per modality."""
        return {name: values - self.baselines[name] for name, values in self.images.items()}


@dataclass(frozen=True)
class Effort:
    """The bounds of an integration.

    Attributes:
        tolerance: largest |sum of attributions - (F(x) - F(b))|, log odds.
        nodes: gradients per panel.
        halvings: a panel is halved at most so often; what is left then is reported as error.
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


def chunks(count: int, rows: int) -> list[Tensor]:
    """Returns the positions 0..count - 1 in parts of at most `rows`, none of them empty."""
    return [at for at in torch.split(torch.arange(count), rows) if len(at)]


def log_odds(score: Score, images: Images, fixed: Tensor, rows: int) -> NDArray[np.float64]:
    """Computes F of N nodules, (N,), with at most `rows` pictures of a modality in the network at once."""
    with torch.inference_mode():
        parts = [
            score({name: values[at] for name, values in images.items()}, fixed[at]).double().cpu()
            for at in chunks(len(fixed), rows)
        ]
    return torch.cat(parts).numpy() if parts else np.empty(0)


def integrate(score: Score, paths: Paths, effort: Effort) -> Attributions:
    """Computes integrated gradients along N paths.

    Args:
        score: the network.
        paths: from the baselines to the images.
        effort: tolerance and bounds.
    """
    attributions = _integrate_once(score, paths, effort, effort.tolerance)
    for retry in range(1, RETRIES + 1):
        late = torch.from_numpy(np.flatnonzero(attributions.error > effort.tolerance))
        if not len(late):
            break
        part = _integrate_once(score, paths.take(late), effort, effort.tolerance / 2**retry)
        for name in paths.images:
            attributions.maps[name][late] = part.maps[name]
            attributions.sums[name][late.numpy()] = part.sums[name]
        attributions.gradients[late.numpy()] += part.gradients
    return attributions


def _integrate_once(score: Score, paths: Paths, effort: Effort, tolerance: float) -> Attributions:
    """Integrates every path once; a panel of length w may miss tolerance * sqrt(w).

    The errors of ReLU networks come from kinks along the path and have either sign, so those of panels add up
    like a random walk, to about the tolerance.
    """
    count, steps = len(paths), paths.steps()
    maps = {name: torch.zeros_like(values) for name, values in paths.images.items()}
    sums = {name: np.zeros(count) for name in paths.images}
    ends = [log_odds(score, each, paths.fixed, effort.rows) for each in (paths.baselines, paths.images)]
    used = np.zeros(count, dtype=np.int64)
    nodes, weights = _gauss_legendre(effort.nodes)
    waiting: deque[Panel] = deque((n, 0.0, 1.0, ends[0][n], ends[1][n], 0) for n in range(count))
    together = max(1, effort.rows // effort.nodes)
    while waiting:
        panels = [waiting.popleft() for _ in range(min(together, len(waiting)))]
        index, left, right, low, high, depth = (np.array(column) for column in zip(*panels, strict=True))
        own, width = torch.from_numpy(index), right - left
        places = left[:, None] + width[:, None] * nodes  # (P, M)
        mean = _mean_gradient(score, paths.take(own), places, weights)
        part = {name: steps[name][own] * values * _column(width, values) for name, values in mean.items()}
        shares = {name: values.double().sum(dim=(1, 2)).numpy() for name, values in part.items()}
        miss = np.abs(np.sum(list(shares.values()), axis=0) - (high - low))
        done = (miss <= tolerance * np.sqrt(width)) | (depth >= effort.halvings)
        np.add.at(used, index, effort.nodes)
        kept = torch.from_numpy(np.flatnonzero(done))
        for name, values in part.items():
            maps[name].index_add_(0, own[kept], values[kept])
            np.add.at(sums[name], index[done], shares[name][done])
        waiting.extend(_halves(score, paths, [panels[p] for p in np.flatnonzero(~done)], effort.rows))
    return Attributions(maps, sums, ends[1], ends[0], used)


def _halves(score: Score, paths: Paths, panels: list[Panel], rows: int) -> list[Panel]:
    """Returns both halves of each panel."""
    if not panels:
        return []
    own = paths.take(torch.tensor([panel[0] for panel in panels]))
    middle = np.array([(panel[1] + panel[2]) / 2 for panel in panels])
    between = {
        name: own.baselines[name] + _column(middle, values) * values for name, values in own.steps().items()
    }
    values = log_odds(score, between, own.fixed, rows)
    halves: list[Panel] = []
    for (n, left, right, low, high, depth), mid, value in zip(panels, middle, values, strict=True):
        halves += [(n, left, mid, low, value, depth + 1), (n, mid, right, value, high, depth + 1)]
    return halves


def _mean_gradient(
    score: Score, paths: Paths, places: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[Modality, Tensor]:
    """Integrates the gradient over each of P panels by quadrature, as if a panel had length 1.

    Args:
        score: the network.
        paths: P of them, one per panel.
        places: (P, M) on the paths, 0..1.
        weights: (M,) of the quadrature.

    Returns:
        Per modality (P, S, S).
    """
    panels, nodes = places.shape
    rows = torch.arange(panels).repeat_interleave(nodes)
    points: dict[Modality, Tensor] = {}
    for name, step in paths.steps().items():
        values = paths.baselines[name][rows] + _column(places.reshape(-1), step) * step[rows]
        points[name] = values.requires_grad_(True)
    total = score(points, paths.fixed[rows]).sum()
    gradients = torch.autograd.grad(total, list(points.values()), allow_unused=True, materialize_grads=True)
    weight = torch.from_numpy(weights)
    return {
        name: torch.einsum(
            "pmhw,m->phw", gradient.view(panels, nodes, *gradient.shape[1:]), weight.to(gradient)
        )
        for name, gradient in zip(points, gradients, strict=True)
    }


def _column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """Returns (K,) numbers as (K, 1, 1), to stand beside images."""
    return torch.from_numpy(values).to(like)[:, None, None]


def _gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns nodes and weights on [0, 1]; exact for polynomials up to degree 2 count - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
