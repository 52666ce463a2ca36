"""Scoring nodules with a trained network in evaluation mode: all their images, or the largest-area pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dgfnet.dataset.pairs import Nodules, evaluation_batches, pairs_of
from dgfnet.metrics.segmentation import dice, iou
from dgfnet.network.dgf import DiverseGranularityFusion
from dgfnet.network.tlr import Model
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware
from dgfnet.vocabulary import Scored

BATCH = 64
TARGETS = ("nodule", "boundary")


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network for nodules.

    Attributes:
        probability: (N,) as the network was trained, before any correction for prevalence.
        dice: mean Dice per modality and target on the largest images, for example `us_nodule`; empty when
            masks were not asked for.
        iou: mean intersection over union of the same.
    """

    probability: NDArray[np.float64]
    dice: dict[str, float]
    iou: dict[str, float]


@torch.inference_mode()
def predict(
    model: Model, archive: Archive, nodules: Nodules, hardware: Hardware, images: Scored, segment: bool
) -> Predictions:
    """Predicts probabilities and, if `segment`, measures the overlap of the masks of the largest images.

    Log odds are averaged over the pairs of a nodule, and not probabilities: so what each modality brought
    still adds up to the answer.
    """
    model.eval()
    pairs = pairs_of(nodules, model.modalities, images)
    is_largest = np.diff(pairs.nodule, prepend=-1) > 0
    logits = np.empty(len(pairs.nodule))
    overlaps: dict[str, list[tuple[float, float]]] = {}
    for chosen, with_masks in ((is_largest, segment), (~is_largest, False)):
        scored = []
        for batch in evaluation_batches(archive, nodules, pairs.take(chosen), BATCH, model.rectangle):
            moved = batch.to(hardware.device)
            output = model(moved.inputs, moved.patients, segment=with_masks)
            scored.append(output.logit.double().cpu().numpy())
            for modality, masks in output.masks.items():
                predicted, truth = (masks > 0).cpu().numpy(), batch.targets[modality].numpy() > 0
                for index, target in enumerate(TARGETS):
                    pair = predicted[:, index], truth[:, index]
                    measured = zip(dice(*pair), iou(*pair), strict=True)
                    overlaps.setdefault(f"{modality}_{target}", []).extend(measured)
        if scored:
            logits[chosen] = np.concatenate(scored)
    probability = 1 / (1 + np.exp(-pairs.average(logits)))
    means = {name: np.mean(rows, axis=0) for name, rows in overlaps.items()}
    both = [{name: float(mean[place]) for name, mean in means.items()} for place in (0, 1)]
    return Predictions(probability, *both)


@dataclass(frozen=True)
class Attention:
    """The attention of a fusion, and what it does for its answers.

    Attributes:
        entropy: per level the mean entropy over pairs, in shares of that of uniform attention.
        uniform: (N,) probability of nodules with uniform attention at every level, before any correction for
            prevalence.
    """

    entropy: dict[str, float]
    uniform: NDArray[np.float64]


@torch.inference_mode()
def examine_attention(
    model: Model, archive: Archive, nodules: Nodules, hardware: Hardware, images: Scored
) -> Attention | None:
    """Measures the attention of a fusion on nodules; None for a network that has none."""
    if not isinstance(model, DGFNet) or not isinstance(model.fusion, DiverseGranularityFusion):
        return None
    model.eval()
    pairs = pairs_of(nodules, model.modalities, images)
    logits, entropies = [], []
    for batch in evaluation_batches(archive, nodules, pairs, BATCH):
        moved = batch.to(hardware.device)
        us, ct = model.features(moved.inputs)
        fused = model.fusion(us, ct, moved.patients, uniform=True)
        logits.append(model.classifier(fused)[:, 0].double().cpu().numpy())
        entropies.append(model.fusion.entropy(us, ct, moved.patients))
    entropy = {name: float(torch.cat([part[name] for part in entropies]).mean()) for name in entropies[0]}
    return Attention(entropy, 1 / (1 + np.exp(-pairs.average(np.concatenate(logits)))))


@torch.no_grad()  # not inference_mode: the bank is a buffer that later loads write into
def build_bank(model: Model, archive: Archive, nodules: Nodules, hardware: Hardware) -> None:
    """Freezes the training nodules as the reference bank, if the model has one."""
    level = model.nodule_level
    if level is None or not isinstance(model, DGFNet):
        return
    model.eval()
    keys, values = [], []
    for batch in evaluation_batches(archive, nodules, pairs_of(nodules, model.modalities, "largest"), BATCH):
        us, ct = model.features(batch.to(hardware.device).inputs)
        key, value = level.entries(us, ct)
        keys.append(key)
        values.append(value)
    patients = torch.from_numpy(nodules.patients).to(hardware.device)
    level.set_bank(torch.cat(keys).clone(), torch.cat(values).clone(), patients)
