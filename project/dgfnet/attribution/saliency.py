"""Where the networks look: maps of US and CT, unimodal beside multimodal (the paper's Figure 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.attribution.contributions import correct
from dgfnet.metrics.intervals import bootstrap_interval
from dgfnet.vocabulary import MODALITIES, Modality

REGIONS = ("inside", "rim", "outside")
RIM = 0.08  # width of the rim on either side of the outline, share of the picture's side (as the paper's f)

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One nodule for Figure 4.

    Attributes:
        nodule_id: whose.
        images: per modality (S, S), grey 0..255.
        masks: per modality (S, S) bool, the nodule.
        unimodal: per modality (S, S) attributions of the unimodal network, log odds.
        multimodal: per modality (S, S) those of the multimodal one.
    """

    nodule_id: str
    images: dict[Modality, Picture]
    masks: dict[Modality, NDArray[np.bool_]]
    unimodal: dict[Modality, Picture]
    multimodal: dict[Modality, Picture]


def regions(mask: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Nodule without its rim, rim on either side of the outline, and the rest: (S, S) each, a partition."""
    width = max(1, round(RIM * mask.shape[-1] / 2))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    plain = mask.astype(np.uint8)
    inner = cv2.erode(plain, kernel) > 0
    outer = cv2.dilate(plain, kernel) > 0
    return {"inside": inner, "rim": outer & ~inner, "outside": ~outer}


def masses(attributions: Picture, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Share of the sum of |attribution| in each region; nan where all is zero."""
    absolute = np.abs(attributions.astype(np.float64))
    total = absolute.sum()
    return {
        name: float(absolute[region].sum() / total) if total > 0 else float("nan")
        for name, region in regions(mask).items()
    }


def mass_differences(
    table: pd.DataFrame, confidence: float, replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Mean share of each region in the multimodal minus the unimodal network, paired, patients resampled.

    Args:
        table: masses.csv: modality, patient_id and `<network>_<region>`.
        confidence: of the intervals.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = []
    for modality in MODALITIES:
        part = table[table["modality"] == modality].dropna()
        for region in REGIONS:
            if part.empty:
                continue
            both = part[f"multimodal_{region}"].to_numpy(dtype=float)
            alone = part[f"unimodal_{region}"].to_numpy(dtype=float)
            change = bootstrap_interval(
                _mean_of(both - alone),
                part["patient_id"].to_numpy(),
                confidence,
                replicates,
                np.random.default_rng(seed),
            )
            rows.append(
                {
                    **{"modality": modality, "region": region, "n": len(part)},
                    **{"unimodal": float(alone.mean()), "multimodal": float(both.mean())},
                    **{"difference": change.estimate, "low": change.low, "high": change.high},
                }
            )
    return rows


def _mean_of(values: NDArray[np.float64]) -> Any:
    return lambda rows: float(values[rows].mean())


def pick(us: pd.DataFrame, ct: pd.DataFrame, both: pd.DataFrame, wanted: int) -> list[str]:
    """Nodules that both unimodal networks had wrong and the multimodal one right.

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
