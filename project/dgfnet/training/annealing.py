"""The head of `us_tlr`: its hyper-parameters by simulated annealing, inside the training part of a fold.

The blocks below the head do not change meanwhile, so their values are computed once per nodule, and a trial
trains the head alone on them. The search is scipy's generalised simulated annealing without local search
(Tsallis and Stariolo 1996, Physica A 233:395-406).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dgfnet.adam import Adam
from dgfnet.dataset.pairs import Nodules, evaluation_batches, pairs_of
from dgfnet.network.tlr import Head, TransferNet
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware

PLAIN = Head(width=64, depth=1, dropout=0.2, learning_rate=1e-3, weight_decay=1e-4)
EPOCHS, BATCH = 40, 64
WIDTH, DEPTH, DROPOUT = (16, 256), (1, 3), (0.0, 0.7)
LEARNING_RATE, WEIGHT_DECAY = (1e-4, 1e-2), (1e-6, 1e-2)


@torch.inference_mode()
def features(
    model: TransferNet, archive: Archive, nodules: Nodules, hardware: Hardware
) -> NDArray[np.float32]:
    """Computes the values under the head of every nodule's largest image, (N, 2048)."""
    model.eval()
    pairs = pairs_of(nodules, model.modalities, "largest")
    batches = evaluation_batches(archive, nodules, pairs, BATCH, model.rectangle)
    parts = [model.pooled(batch.to(hardware.device).inputs).float().cpu() for batch in batches]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def head_at(point: NDArray[np.float64]) -> Head:
    """Maps a point of the unit cube to a head; width, learning rate and weight decay are logarithmic."""

    def linear(value: float, limits: tuple[float, float]) -> float:
        return limits[0] + value * (limits[1] - limits[0])

    def logarithmic(value: float, limits: tuple[float, float]) -> float:
        return float(np.exp(linear(value, (np.log(limits[0]), np.log(limits[1])))))

    return Head(
        width=round(logarithmic(point[0], WIDTH)),
        depth=DEPTH[0] + min(int(point[1] * (DEPTH[1] - DEPTH[0] + 1)), DEPTH[1] - DEPTH[0]),
        dropout=float(linear(point[2], DROPOUT)),
        learning_rate=logarithmic(point[3], LEARNING_RATE),
        weight_decay=logarithmic(point[4], WEIGHT_DECAY),
    )


def anneal(
    values: NDArray[np.float32],
    labels: NDArray[np.float32],
    inner: NDArray[np.int64],
    score: NDArray[np.int64],
    heads: int,
    seed: int,
) -> tuple[Head, list[dict[str, Any]]]:
    """Searches the best of `heads` heads; returns it, and all of them with their losses.

    Args:
        values: (N, 2048) under the head.
        labels: (N,) 0 or 1.
        inner: positions that train a trial.
        score: positions that judge it, of other patients; both lie in the training part of the outer fold.
        heads: number to try; the first is PLAIN.
        seed: of the search and of every trial.
    """
    from scipy.optimize import dual_annealing  # slow to import, and only `us_tlr` needs it

    tried: list[dict[str, Any]] = []

    def cost(head: Head) -> float:
        loss = _loss(head, values, labels, inner, score, seed)
        tried.append({**asdict(head), "loss": loss})
        return loss

    cost(PLAIN)
    if heads > 1:
        dual_annealing(
            lambda point: cost(head_at(point)),
            bounds=[(0.0, 1.0)] * 5,
            maxfun=heads - 1,
            no_local_search=True,
            rng=np.random.default_rng(seed),
        )
    best = min(tried[:heads], key=lambda trial: trial["loss"])
    return Head(**{name: value for name, value in best.items() if name != "loss"}), tried[:heads]


def _loss(
    head: Head,
    values: NDArray[np.float32],
    labels: NDArray[np.float32],
    inner: NDArray[np.int64],
    score: NDArray[np.int64],
    seed: int,
) -> float:
    """Trains a head; returns class-weighted cross-entropy on the judging nodules, infinite if diverged."""
    torch.manual_seed(seed)
    layers = head.layers().train()
    x, y = torch.from_numpy(values), torch.from_numpy(labels)
    weight = torch.where(y == 1, 0.5 / y[inner].mean(), 0.5 / (1 - y[inner].mean()))
    optimiser = Adam(layers.parameters(), lr=head.learning_rate, weight_decay=head.weight_decay, fused=True)
    order = torch.from_numpy(inner)
    for _ in range(EPOCHS):
        for rows in torch.split(order[torch.randperm(len(order))], BATCH):
            optimiser.zero_grad(set_to_none=True)
            F.binary_cross_entropy_with_logits(layers(x[rows])[:, 0], y[rows], weight[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.inference_mode():
        logits = layers.eval()(x[score])[:, 0]
        loss = float(F.binary_cross_entropy_with_logits(logits, y[score], weight[score]))
    return loss if np.isfinite(loss) else float("inf")
