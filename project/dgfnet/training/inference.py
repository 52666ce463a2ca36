"""Scoring nodules with a trained network in evaluation mode: all their images, or the largest-area pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dgfnet.dataset.pairs import Features, Nodules, evaluation_batches, pairs_of
from dgfnet.measured.definitions import NAMES
from dgfnet.metrics.calibration import shift_prevalence
from dgfnet.metrics.segmentation import dice, iou
from dgfnet.network.dgf import DiverseGranularityFusion
from dgfnet.network.tlr import Model
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware
from dgfnet.vocabulary import Modality, Scored

Array = NDArray[np.float64]
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
        measured_r2: share of the variance of each measured feature that the encoders tell, on the largest
            images, for example `us_solidity`; without those that do not vary there.
    """

    probability: NDArray[np.float64]
    dice: dict[str, float]
    iou: dict[str, float]
    measured_r2: dict[str, float]


@torch.inference_mode()
def predict(
    model: Model,
    archive: Archive,
    nodules: Nodules,
    hardware: Hardware,
    images: Scored,
    segment: bool,
    features: Features | None = None,
) -> Predictions:
    """Predicts probabilities and, if `segment`, measures the overlap of the masks of the largest images.

    With `features` it also measures how well the encoders tell what was measured of these.

    Log odds are averaged over the pairs of a nodule, and not probabilities: so what each modality brought
    still adds up to the answer.
    """
    model.eval()
    pairs = pairs_of(nodules, model.modalities, images)
    is_largest = np.diff(pairs.nodule, prepend=-1) > 0
    logits = np.empty(len(pairs.nodule))
    overlaps: dict[str, list[tuple[float, float]]] = {}
    read: dict[Modality, list[tuple[Array, Array]]] = {}
    for chosen, with_masks in ((is_largest, segment), (~is_largest, False)):
        scored = []
        own = pairs.take(chosen)
        for batch in evaluation_batches(archive, nodules, own, BATCH, model.rectangle, features):
            moved = batch.to(hardware.device)
            output = model(moved.inputs, moved.patients, segment=with_masks)
            scored.append(output.logit.double().cpu().numpy())
            for modality, masks in output.masks.items():
                predicted, truth = (masks > 0).cpu().numpy(), batch.targets[modality].numpy() > 0
                for index, target in enumerate(TARGETS):
                    pair = predicted[:, index], truth[:, index]
                    measured = zip(dice(*pair), iou(*pair), strict=True)
                    overlaps.setdefault(f"{modality}_{target}", []).extend(measured)
            if features is not None:
                for modality, values in output.features.items():
                    both = values.double().cpu().numpy(), batch.features[modality].double().numpy()
                    read.setdefault(modality, []).append(both)
        if scored:
            logits[chosen] = np.concatenate(scored)
    probability = 1 / (1 + np.exp(-pairs.average(logits)))
    means = {name: np.mean(rows, axis=0) for name, rows in overlaps.items()}
    overlap = [{name: float(mean[place]) for name, mean in means.items()} for place in (0, 1)]
    return Predictions(probability, overlap[0], overlap[1], _told(read))


def corrected(raw: Array, sampling: str, prevalence: float) -> tuple[Array, float]:
    """Corrects probabilities for undersampling; returns them and the threshold that was 0.5 before.

    Args:
        raw: of a network, as it was trained.
        sampling: `training.sampling` of the fit.
        prevalence: of its training nodules.
    """
    if sampling != "train_only":
        return raw, 0.5
    return shift_prevalence(raw, 0.5, prevalence), prevalence


def _told(read: Mapping[Modality, Sequence[tuple[Array, Array]]]) -> dict[str, float]:
    """Returns R2 of each feature that varies, of pairs of what was told and what was measured."""
    shares = {}
    for modality, parts in read.items():
        told, measured = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        for name, said, truth in zip(NAMES[modality], told.T, measured.T, strict=True):
            known = np.isfinite(truth)
            spread = np.square(truth[known] - truth[known].mean()).sum() if known.any() else 0.0
            if spread > 0:
                shares[f"{modality}_{name}"] = float(1 - np.square(said - truth)[known].sum() / spread)
    return shares


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
        streams = model.features(moved.inputs)
        fused = model.fusion(streams, moved.patients, uniform=True)
        logits.append(model.classifier(fused)[:, 0].double().cpu().numpy())
        entropies.append(model.fusion.entropy(streams, moved.patients))
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
        key, value = level.entries(model.features(batch.to(hardware.device).inputs))
        keys.append(key)
        values.append(value)
    patients = torch.from_numpy(nodules.patients).to(hardware.device)
    level.set_bank(torch.cat(keys).clone(), torch.cat(values).clone(), patients)
