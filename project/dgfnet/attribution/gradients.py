"""Integrated gradients (Sundararajan 2017, ICML) of many nodules at once, to a given completeness error.

The path from baseline b to input x is straight. It is integrated by the trapezoidal rule between nodes on it.
A gradient at a node comes with F there, and by completeness the attributions of a panel between two nodes sum
to the difference of theirs: the error of every panel is exact and costs nothing. As long as a nodule misses
its tolerance, the panels with most of its error are halved, which keeps every gradient there is. So every
nodule gets as many gradients as its path needs, and batches are filled with those of all nodules.

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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.vocabulary import Modality

Images = Mapping[Modality, Tensor]
# (B, S, S) float images per modality, and what is held fixed, become (B,) log odds; rows must not mix
Score = Callable[[Images, Tensor], Tensor]
HALVED = 0.5  # share of a nodule's squared error in the panels that are halved at once


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
        tolerance: largest |sum of attributions - (F(x) - F(b))|, log odds, and largest root of the sum of the
            squared errors of the panels: these have either sign, and must not be small by chance alone.
        panels: of equal length, to begin with.
        halvings: a panel is halved at most so often; what is left then is reported as error.
        rows: most images of a modality that go through the network at once, and most nodules whose gradients
            are in memory: those of a nodule until it is within its tolerance.
    """

    tolerance: float
    panels: int
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
    maps = {name: torch.zeros_like(values) for name, values in paths.images.items()}
    sums = {name: np.zeros(len(paths)) for name in paths.images}
    ends, used = np.zeros((2, len(paths))), np.zeros(len(paths), dtype=np.int64)
    for rows in chunks(len(paths), effort.rows):
        for number, nodes in _integrated(score, paths.take(rows), effort):
            own, weights = int(rows[number]), _weights(nodes)
            for name, values in maps.items():
                values[own] = sum(w * node.parts[name] for w, node in zip(weights, nodes, strict=True))
                sums[name][own] = weights @ np.array([node.slopes[name] for node in nodes])
            ends[:, own], used[own] = (nodes[0].value, nodes[-1].value), len(nodes)
    return Attributions(maps, sums, ends[1], ends[0], used)


@dataclass(frozen=True, eq=False)
class _Node:
    """A point of a path, and what the network says there.

    Attributes:
        place: 0 at the baseline, 1 at the input.
        value: F.
        parts: per modality (S, S) gradient of F times the length of the path, pixel by pixel.
        slopes: per modality the sum of its parts: together the derivative of F along the path.
    """

    place: float
    value: float
    parts: Mapping[Modality, Tensor]
    slopes: Mapping[Modality, float]


def _integrated(score: Score, paths: Paths, effort: Effort) -> Iterator[tuple[int, list[_Node]]]:
    """Yields each path's number, as soon as it needs no more, and its nodes from baseline to input."""
    nodes: dict[int, list[_Node]] = {number: [] for number in range(len(paths))}
    first = np.linspace(0, 1, effort.panels + 1)
    wanted = [(number, float(place)) for number in nodes for place in first]
    while wanted:
        for at in chunks(len(wanted), effort.rows):
            whose, places = zip(*(wanted[row] for row in at.tolist()), strict=True)
            made = _evaluate(score, paths.take(torch.tensor(whose)), np.array(places))
            for number, node in zip(whose, made, strict=True):
                nodes[number].append(node)
        wanted = []
        for number in list(nodes):
            nodes[number].sort(key=lambda node: node.place)
            middles = _middles(nodes[number], effort)
            wanted += [(number, place) for place in middles]
            if not middles:
                yield number, nodes.pop(number)


def _middles(nodes: Sequence[_Node], effort: Effort) -> list[float]:
    """Returns the middles of the panels to be halved; none where a path is within its tolerance."""
    places, values = (np.array([getattr(node, name) for node in nodes]) for name in ("place", "value"))
    slopes = np.array([sum(node.slopes.values()) for node in nodes])
    widths = np.diff(places)
    miss = widths * (slopes[:-1] + slopes[1:]) / 2 - np.diff(values)
    missed = max(abs(miss.sum()), np.sqrt(np.square(miss).sum()))
    if not missed > effort.tolerance:  # also where F is no number
        return []
    smallest = 1.5 / effort.panels / 2**effort.halvings  # half a panel more, as widths are rounded
    order = [panel for panel in np.argsort(-np.abs(miss)) if widths[panel] > smallest]
    squares = np.cumsum(np.square(miss[order]))
    halved = order[: 1 + int(np.count_nonzero(squares < HALVED * np.square(miss).sum()))]
    return [float(places[panel] + places[panel + 1]) / 2 for panel in halved]


def _weights(nodes: Sequence[_Node]) -> NDArray[np.float64]:
    """Returns the weights of the trapezoidal rule."""
    widths = np.diff([node.place for node in nodes])
    return np.asarray((np.append(widths, 0) + np.append(0, widths)) / 2)


def _evaluate(score: Score, paths: Paths, places: NDArray[np.float64]) -> list[_Node]:
    """Returns the node of each of K paths at its place, (K,)."""
    steps, points = paths.steps(), {}
    for name, step in steps.items():
        column = torch.from_numpy(places).to(step)[:, None, None]
        points[name] = (paths.baselines[name] + column * step).requires_grad_(True)
    odds = score(points, paths.fixed)
    gradients = torch.autograd.grad(
        odds.sum(), list(points.values()), allow_unused=True, materialize_grads=True
    )
    parts = {name: gradient * steps[name] for name, gradient in zip(points, gradients, strict=True)}
    slopes = {name: values.double().sum(dim=(1, 2)).tolist() for name, values in parts.items()}
    return [
        _Node(
            float(place),
            value,
            {name: values[row].clone() for name, values in parts.items()},  # lets go of the others
            {name: values[row] for name, values in slopes.items()},
        )
        for row, (place, value) in enumerate(zip(places, odds.detach().double().tolist(), strict=True))
    ]
