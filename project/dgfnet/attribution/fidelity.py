"""Infidelity and maximal sensitivity of attributions (Yeh 2019, NeurIPS), measured by captum.

Infidelity: blocks of the pictures are replaced by their baseline; the squared difference between the sum of
the attributions there and the change of F. 0 means that attributions predict every such change; those of a
linear network do. Maximal sensitivity: the largest relative change of an attribution under small noise.
Neither is judged: infidelity has the unit of squared log odds and sensitivity depends on the noise, so they
are compared with their like only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from dgfnet.attribution.gradients import Images, Paths, Score, chunks
from dgfnet.vocabulary import Modality

Maps = dict[Modality, Tensor]
Explain = Callable[[Score, Paths], Maps]
Tensors = tuple[Tensor, ...]

BLOCKS = 8  # along a side; each is replaced with probability 1/2, as in the coalitions of Shapley values
REPLACEMENTS = 20  # per nodule
RADIUS = 2.55  # of the uniform noise, grey values: 1 % of the range
NOISES = 5  # per nodule; the largest change of more would be larger


def infidelities(
    score: Score, maps: Images, paths: Paths, rows: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Computes the infidelity of the attributions of N nodules.

    Args:
        score: the network.
        maps: its attributions, (N, S, S) per modality; for path methods, whose sum is F(x) - F(b).
        paths: pictures and baselines of the nodules, two modalities at least.
        rows: most pictures of a modality that go through the network at once.
        rng: chooses the blocks.

    Returns:
        (N,) squared log odds, at least 0.
    """
    names = list(paths.images)

    def log_odds(*inputs: Tensor) -> Tensor:
        return score(dict(zip(names, inputs[:-1], strict=True)), inputs[-1]).double()

    def replace_blocks(images: Tensors, baselines: Tensors) -> tuple[Tensors, Tensors]:
        masks, changed = [], []
        for image, baseline in zip(images, baselines, strict=True):
            # drawn in the shape of the images: captum repeats a baseline only where there are two or more
            blocks = torch.from_numpy(rng.random((len(image), 1, BLOCKS, BLOCKS)) < 0.5).to(image)
            mask = interpolate(blocks, size=tuple(image.shape[-2:]), mode="nearest")[:, 0]
            masks.append(mask)
            changed.append(torch.where(mask > 0, baseline, image))
        return tuple(masks), tuple(changed)

    parts = [
        infidelity(
            log_odds,
            replace_blocks,
            tuple(part.images.values()),
            tuple(maps[name][at] for name in names),
            baselines=tuple(part.baselines[name] for name in names),
            additional_forward_args=part.fixed,
            n_perturb_samples=REPLACEMENTS,
            max_examples_per_batch=min(rows, len(part) * REPLACEMENTS),
        ).numpy()
        for at, part in zip(chunks(len(paths), rows), paths.split(rows), strict=True)
    ]
    return np.concatenate([np.empty(0), *parts])


def sensitivities(
    score: Score, explain: Explain, paths: Paths, rows: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Computes the largest change of the attributions of N nodules under noise on their pictures.

    Args:
        score: the network.
        explain: the attribution: network and paths become maps.
        paths: pictures and baselines of the nodules, two modalities at least; baselines stay.
        rows: most pictures of a modality that are explained at once.
        rng: draws the noise.

    Returns:
        (N,) norm of the change over the norm of the attribution, at least 0; where all attributions are 0 the
        norm of the change.
    """
    names = list(paths.images)

    def explanation(images: Tensors, baselines: Tensors, additional_forward_args: Tensors) -> Tensors:
        (fixed,) = additional_forward_args
        starts = {
            name: baseline.expand_as(image)  # captum leaves the baseline of a batch of one as it is
            for name, image, baseline in zip(names, images, baselines, strict=True)
        }
        with torch.enable_grad():  # captum calls this without gradients
            maps = explain(score, Paths(dict(zip(names, images, strict=True)), starts, fixed))
        return tuple(maps[name] for name in names)

    def add_noise(images: Tensors) -> Tensors:
        return tuple(
            image + torch.from_numpy(rng.uniform(-RADIUS, RADIUS, tuple(image.shape))).to(image)
            for image in images
        )

    parts = [
        sensitivity_max(
            explanation,
            tuple(part.images.values()),
            add_noise,
            n_perturb_samples=NOISES,
            max_examples_per_batch=min(rows, len(part) * NOISES),
            baselines=tuple(part.baselines[name] for name in names),
            additional_forward_args=(part.fixed,),
        )
        .double()
        .numpy()
        for part in paths.split(rows)
    ]
    return np.concatenate([np.empty(0), *parts])


def describe(
    score: Score, explain: Explain, maps: Maps, paths: Paths, rows: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Measures both, for checks.json.

    Returns:
        `infidelity`: mean over nodules of the attribution and, for comparison, of one that is 0 everywhere,
        on the same blocks; number of replacements. `sensitivity_max`: median and largest over nodules; number
        of noises and their radius.
    """
    blocks, noise = rng.spawn(2)
    seed = int(blocks.integers(2**32))
    zero = {name: torch.zeros_like(values) for name, values in maps.items()}
    own, none = (infidelities(score, each, paths, rows, np.random.default_rng(seed)) for each in (maps, zero))
    change = sensitivities(score, explain, paths, rows, noise)
    return {
        "infidelity": {
            **{"attribution": float(own.mean()), "zero": float(none.mean())},
            **{"replacements": REPLACEMENTS, "blocks": BLOCKS},
        },
        "sensitivity_max": {
            **{"median": float(np.median(change)), "largest": float(change.max())},
            **{"noises": NOISES, "radius": RADIUS},
        },
    }
