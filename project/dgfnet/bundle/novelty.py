"""Out-of-distribution checks of new pictures: how unlike those of training a crop is, and in what.

A crop is described by FEATURES of its grey values and of its detail; its distance from the training crops is
Mahalanobis's. Networks cannot be asked: they are sure of pictures that they know nothing about (Hein 2019,
CVPR). docs/explanation/abstention.md has what this catches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dgfnet.vocabulary import Modality

Array = NDArray[np.float64]
Level = Literal["answer", "caution", "no answer"]

BLACK, WHITE = 2, 253  # grey values at or beyond which a pixel shows nothing
OCTAVES = 3  # detail is measured at full, half and quarter resolution
PERCENTILES = (5, 25, 50, 75, 95)
FEATURES = (
    *("grey mean", *(f"grey {percent}" for percent in PERCENTILES), "contrast", "black", "white"),
    *(f"detail {octave} {direction}" for octave in range(OCTAVES) for direction in ("across", "down")),
    "centre",
)
# by the first word of a feature: what less and more of it look like, and what a person can check
WORDS = {
    "grey": ("darker", "brighter", "gain or window"),
    "contrast": ("of less contrast", "of more contrast", "dynamic range or window"),
    "black": ("with less black", "with more black", "the place of the nodule, and the edge of the picture"),
    "white": ("with less white", "with more white", "gain or window, and what is drawn on the picture"),
    "detail": ("smoother", "more grainy", "zoom, smoothing and reconstruction"),
    "centre": ("darker inside than outside", "brighter inside than outside", "the place of the nodule"),
}
NAMES: Mapping[Modality, str] = {"us": "ultrasound", "ct": "CT"}
# spread of a feature that is believed at least: crops of one scanner are no proof that none may differ
SPREADS = {"grey": 2.0, "detail": 0.2}
LEAST = np.array([SPREADS.get(name.split()[0], 0.1) for name in FEATURES])


def features(crops: NDArray[np.uint8]) -> Array:
    """Returns FEATURES of crops (N, S, S), S at least 8, as (N, features).

    `grey` are mean and percentiles, 0 to 255; `contrast` the log of the standard deviation; `black` and
    `white` logs of the share of such pixels; `detail` the log of the mean difference of neighbours, in
    standard deviations; `centre` the mean of the middle quarter less that of all, in standard deviations.
    """
    values = crops.astype(np.float64)
    flat = values.reshape(len(crops), -1)
    spread = flat.std(axis=1) + 1  # an even crop has none
    columns = [flat.mean(axis=1), *np.percentile(flat, PERCENTILES, axis=1), np.log(spread)]
    columns += [np.log(pixels.mean(axis=1) + 0.005) for pixels in (flat <= BLACK, flat >= WHITE)]
    octave = values
    for _ in range(OCTAVES):
        for axis in (2, 1):
            change = np.abs(np.diff(octave, axis=axis)).mean(axis=(1, 2))
            columns.append(np.log(change / spread + 0.01))
        half = octave.shape[1] // 2
        octave = octave[:, : 2 * half, : 2 * half].reshape(-1, half, 2, half, 2).mean(axis=(2, 4))
    quarter = values.shape[1] // 4
    middle = values[:, quarter:-quarter, quarter:-quarter].mean(axis=(1, 2))
    columns.append((middle - columns[0]) / spread)
    return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class Typical:
    """The training crops of a modality.

    Attributes:
        mean: of the features, (F,).
        scale: their spread, (F,).
        precision: inverse covariance of the scaled features, (F, F).
        caution: distance of a nodule from which on an answer is given with caution.
        refusal: distance from which on none is given.
    """

    mean: Array
    scale: Array
    precision: Array
    caution: float
    refusal: float

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Typical:
        """Makes it of a part of bundle.json."""
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("mean", "scale", "precision")}
        return cls(**arrays, caution=float(plain["caution"]), refusal=float(plain["refusal"]))

    def distance(self, values: Array) -> float:
        """Returns the mean distance of a nodule's crops by their features, (K, F); about 1 in training."""
        scaled = (values - self.mean) / self.scale
        squares = np.einsum("kf,fg,kg->k", scaled, self.precision, scaled) / len(self.mean)
        return float(np.sqrt(np.maximum(squares, 0)).mean())

    def words(self, values: Array) -> tuple[str, str]:
        """Says in what a nodule's crops differ most by their features, (K, F), and what to check."""
        mean = (values.mean(axis=0) - self.mean) / self.scale
        most = int(np.abs(mean).argmax())
        less, more, check = WORDS[FEATURES[most].split()[0]]
        return (more if mean[most] > 0 else less), check


@dataclass(frozen=True)
class Verdict:
    """The level of a nodule's answer, and its reasons.

    Attributes:
        level: of the answer.
        reasons: sentences, for `caution` and `no answer`.
        novelty: per modality that is read the distance from the training cohort, in limits of caution.
    """

    level: Level
    reasons: tuple[str, ...]
    novelty: Mapping[Modality, float]

    def warned(self, more: Sequence[str]) -> Verdict:
        """Returns the verdict with more reasons for caution."""
        level: Level = "caution" if more and self.level == "answer" else self.level
        return replace(self, level=level, reasons=(*self.reasons, *more))


def judge(typical: Mapping[Modality, Typical], nodule: Mapping[Modality, Array]) -> Verdict:
    """Says whether a nodule may be answered, with a reason per modality that is unlike the training cohort.

    Args:
        typical: the training crops of each modality; also of those that the model does not read.
        nodule: per modality that is read the features of its crops, (K, F).
    """
    distances = {name: typical[name].distance(values) for name, values in nodule.items()}
    novelty = {name: distance / typical[name].caution for name, distance in distances.items()}
    level: Level = "answer"
    reasons = []
    for modality, times in novelty.items():
        if times <= 1:
            continue
        own, values = typical[modality], nodule[modality]
        refused = distances[modality] > own.refusal
        level = "no answer" if refused or level == "no answer" else "caution"
        name, (words, check) = NAMES[modality], own.words(values)
        taken = [
            NAMES[other]
            for other, limits in typical.items()
            if refused and other != modality and limits.distance(values) <= limits.refusal
        ]
        if taken:
            reasons.append(f"the {name} picture looks like {taken[0]}; check that it is in the right place")
        else:
            reasons.append(
                f"{name} {words} than in the training cohort ({times:.1f} times the usual limit); check "
                f"{check}"
            )
    return Verdict(level, tuple(reasons), novelty)
