"""Saliency maps of US and CT, unimodal beside multimodal (the paper's Figure 4), and where they lie.

Integrated gradients say it per pixel. Grad-CAM (Selvaraju 2017, ICCV; captum's `LayerGradCam`) says it per
cell of the last feature map, from which the fusion takes everything: coarse, but of another kind, with no
baseline and no path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from dgfnet.attribution.contributions import correct
from dgfnet.attribution.gradients import Score, chunks
from dgfnet.attribution.networks import Pictures
from dgfnet.metrics.intervals import bootstrap_interval
from dgfnet.vocabulary import MODALITIES, Modality

REGIONS = ("inside", "rim", "outside")
RIM = 0.08  # width of the rim on either side of the outline, share of the picture's side (as the paper's f)

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class SaliencyCase:
    """One nodule for Figure 4.

    Attributes:
        nodule_id: whose.
        images: per modality (S, S), grey 0..255.
        masks: per modality (S, S) bool, the nodule.
        unimodal: per modality (S, S) attributions of the unimodal network, log odds.
        multimodal: per modality (S, S) those of the multimodal one.
        grad_cam: per modality (S, S) Grad-CAM of the multimodal one, log odds.
    """

    nodule_id: str
    images: dict[Modality, Picture]
    masks: dict[Modality, NDArray[np.bool_]]
    unimodal: dict[Modality, Picture]
    multimodal: dict[Modality, Picture]
    grad_cam: dict[Modality, Picture]


def grad_cam(
    score: Score, layers: Mapping[Modality, nn.Module], pictures: Pictures, rows: int
) -> dict[Modality, Tensor]:
    """Computes Grad-CAM of each stream's layer, with signs: positive towards metastasis.

    The channels of the layer's output are added up, each weighted by the mean of its gradient. The ReLU of
    the original is left out: for one logit a negative value is evidence against metastasis.

    Args:
        score: the network; its rows must not mix, and it must call each layer once.
        layers: per modality one whose output is (B, C, h, w).
        pictures: N nodules.
        rows: most pictures of a modality that go through the network at once.

    Returns:
        Per modality (N, S, S), interpolated bilinearly from (N, h, w).
    """
    names = list(pictures.images)

    def log_odds(*inputs: Tensor) -> Tensor:
        return score(dict(zip(names, inputs[:-1], strict=True)), inputs[-1])

    maps = {}
    for name, layer in layers.items():
        explainer, parts = LayerGradCam(log_odds, layer), []
        for at in chunks(len(pictures.fixed), rows):
            part = pictures.take(at)
            cells = explainer.attribute(
                tuple(part.images.values()), additional_forward_args=part.fixed
            ).detach()  # captum leaves it in the graph
            size = tuple(part.images[name].shape[-2:])
            parts.append(LayerAttribution.interpolate(cells, size, "bilinear")[:, 0])
        maps[name] = torch.cat(parts) if parts else torch.zeros_like(pictures.images[name])
    return maps


def regions(mask: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Parts a picture into nodule without its rim, rim on both sides of the outline, and rest: (S, S)."""
    width = max(1, round(RIM * mask.shape[-1] / 2))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    plain = mask.astype(np.uint8)
    inner = cv2.erode(plain, kernel) > 0
    outer = cv2.dilate(plain, kernel) > 0
    return {"inside": inner, "rim": outer & ~inner, "outside": ~outer}


def masses(attributions: Picture, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Computes the share of the sum of |attribution| in each region; nan where all is zero."""
    absolute = np.abs(attributions.astype(np.float64))
    total = absolute.sum()
    return {
        name: float(absolute[region].sum() / total) if total > 0 else float("nan")
        for name, region in regions(mask).items()
    }


def mass_differences(
    table: pd.DataFrame, confidence: float, replicates: int, seed: int, kind: str = ""
) -> list[dict[str, Any]]:
    """Computes the mean share of each region in the multimodal minus the unimodal network.

    Differences are paired over nodules, and whole patients are resampled.

    Args:
        table: masses.csv: modality, patient_id and `<network>_<kind><region>`.
        confidence: of the intervals.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        kind: of saliency: "" for integrated gradients, `grad_cam_` for Grad-CAM.

    Returns:
        A row per modality and region; none of a modality without nodules.
    """
    columns = [f"{network}_{kind}{region}" for network in ("unimodal", "multimodal") for region in REGIONS]
    rows = []
    for modality in MODALITIES:
        part = table[table["modality"] == modality].dropna(subset=columns)
        for region in REGIONS:
            if part.empty:
                continue
            multimodal, unimodal = (
                part[f"{network}_{kind}{region}"].to_numpy(dtype=float)
                for network in ("multimodal", "unimodal")
            )
            change = bootstrap_interval(
                _mean_of(multimodal - unimodal),
                part["patient_id"].to_numpy(),
                confidence,
                replicates,
                np.random.default_rng(seed),
            )
            rows.append(
                {
                    **{"modality": modality, "region": region, "n": len(part)},
                    **{"unimodal": float(unimodal.mean()), "multimodal": float(multimodal.mean())},
                    **{"difference": change.estimate, "low": change.low, "high": change.high},
                }
            )
    return rows


def _mean_of(values: NDArray[np.float64]) -> Any:
    return lambda rows: float(values[rows].mean())


def pick(us: pd.DataFrame, ct: pd.DataFrame, both: pd.DataFrame, wanted: int) -> list[str]:
    """Picks nodules that both unimodal networks had wrong and the multimodal one right.

    Args:
        us: out-of-fold table, the same nodules in the same order as the others.
        ct: alike.
        both: alike, of the multimodal network.
        wanted: at most so many.

    Returns:
        Ids, first where the multimodal network is furthest on the right side of its threshold; both classes
        take turns, so that one does not fill the figure.
    """
    saved = (correct(us) == 0) & (correct(ct) == 0) & (correct(both) == 1)
    table = both[saved]
    odds = [np.log(values / (1 - values)) for values in (table["probability"], table["threshold"])]
    table = table.assign(margin=(odds[0] - odds[1]).abs()).sort_values(
        ["margin", "nodule_id"], ascending=[False, True]
    )
    turn = table.groupby("label").cumcount()
    return list(table.assign(turn=turn).sort_values("turn", kind="stable")["nodule_id"][:wanted])
