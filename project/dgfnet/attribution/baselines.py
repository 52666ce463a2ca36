"""Baselines of paths: image pairs on which the network is undecided (paper section 5).

Two references on either side of 0.5 are joined by a line, and the line is searched for |p - 0.5| < 1e-3.
The family of a baseline says where the line starts: with the nodule's own pictures, blurred; with the mean
picture of the training nodules; with their mean grey; or with black. It ends with the first partner on the
other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.attribution.gradients import Images, Paths, Score, log_odds
from dgfnet.attribution.networks import Pictures
from dgfnet.vocabulary import Modality

UNDECIDED = 1e-3  # |p - 0.5| of a baseline
BLUR = 0.1  # standard deviation of the blur, share of the picture's side: no border of a nodule survives it
STEPS = 60  # of the search; each at least halves the line every second time
FAMILIES = ("blurred", "mean", "grey", "black")
# partners that are the picture of one training nodule: a baseline on the line to it has some of it in it
OTHER_PATIENTS = ("blurred positive", "blurred negative", "surest positive", "surest negative")


@dataclass(frozen=True)
class Baselines:
    """Baselines of N nodules.

    Attributes:
        images: per modality (N, S, S) float32.
        probability: (N,) of metastasis at the baseline, before any correction for prevalence.
        partner: per nodule where its line ends; `none` where no partner was on the other side: the start of
            the line is the baseline then, however decided.
    """

    images: Images
    probability: NDArray[np.float64]
    partner: tuple[str, ...]


@dataclass(frozen=True)
class References:
    """Reference pictures between which lines are drawn, from the training nodules of a network.

    Attributes:
        fixed: per name one picture per modality, (S, S): mean, grey, black; mean of the metastatic and of the
            other nodules; the training nodules the network is surest of, for and against, blurred and plain.
    """

    fixed: Mapping[str, Mapping[Modality, Tensor]]


def references(score: Score, training: Pictures, labels: NDArray[np.float32], rows: int) -> References:
    """Computes the references of a network from its training nodules."""
    images = training.images
    mean = {name: values.mean(dim=0) for name, values in images.items()}
    fixed: dict[str, dict[Modality, Tensor]] = {
        "mean": mean,
        "grey": {name: torch.full_like(values, float(values.mean())) for name, values in mean.items()},
        "black": {name: torch.zeros_like(values) for name, values in mean.items()},
    }
    for word, value in (("mean positive", 1), ("mean negative", 0)):
        at = torch.from_numpy(np.flatnonzero(labels == value))
        if len(at):
            fixed[word] = {name: values[at].mean(dim=0) for name, values in images.items()}
    values = log_odds(score, images, training.fixed, rows)
    surest = {"positive": int(values.argmax()), "negative": int(values.argmin())}
    for word, row in surest.items():  # without another patient's details first
        plain = {name: pictures[row : row + 1] for name, pictures in images.items()}
        fixed[f"blurred {word}"] = {name: picture[0] for name, picture in blurred(plain).items()}
    for word, row in surest.items():
        fixed[f"surest {word}"] = {name: pictures[row] for name, pictures in images.items()}
    return References(fixed)


def blurred(images: Images) -> dict[Modality, Tensor]:
    """Blurs pictures until nothing small is left, (N, S, S) per modality."""
    return {
        name: torch.stack(
            [
                torch.from_numpy(cv2.GaussianBlur(picture, (0, 0), BLUR * picture.shape[-1]))
                for picture in values.numpy()
            ]
        )
        for name, values in images.items()
    }


def find_baselines(
    score: Score, pictures: Pictures, references: References, family: str, rows: int
) -> Baselines:
    """Finds a baseline of one family for every nodule.

    Args:
        score: the network.
        pictures: N nodules.
        references: of the network.
        family: one of FAMILIES.
        rows: most pictures that go through the network at once.
    """
    count = len(pictures.fixed)
    candidates = {"blurred": blurred(pictures.images)} | {
        word: {name: picture.expand(count, -1, -1) for name, picture in each.items()}
        for word, each in references.fixed.items()
    }
    ends = {word: log_odds(score, each, pictures.fixed, rows) for word, each in candidates.items()}
    start, low = candidates.pop(family), ends.pop(family)
    partner = np.full(count, "none", dtype=object)
    stop = {name: values.clone() for name, values in start.items()}
    high = low.copy()
    for word, value in ends.items():
        new = (partner == "none") & (np.sign(value) != np.sign(low))
        partner[new], high[new] = word, value[new]
        at = torch.from_numpy(np.flatnonzero(new))
        for name, values in candidates[word].items():
            stop[name][at] = values[at]
    images, odds = _search(score, Paths(stop, start, pictures.fixed), low, high, rows)
    return Baselines(images, 1 / (1 + np.exp(-odds)), tuple(map(str, partner)))


def _search(
    score: Score, lines: Paths, low: NDArray[np.float64], high: NDArray[np.float64], rows: int
) -> tuple[dict[Modality, Tensor], NDArray[np.float64]]:
    """Finds the points on N lines where the odds are even.

    Secant and bisection take turns: fast where the line is smooth, safe where it is not. Rows that have no
    sign change stay at their start.

    Args:
        score: the network.
        lines: from their starts (`baselines`) to their ends (`images`).
        low: (N,) log odds at the starts.
        high: (N,) log odds at the ends.
        rows: most pictures of a modality that go through the network at once.

    Returns:
        The points, (N, S, S) per modality, and their log odds, (N,).
    """
    left, right = np.zeros(len(low)), np.ones(len(low))
    low, high = low.copy(), high.copy()
    place, value = np.zeros(len(low)), low.copy()
    for step in range(STEPS):
        todo = np.flatnonzero((np.abs(np.tanh(value / 2)) / 2 >= UNDECIDED) & (np.sign(low) != np.sign(high)))
        if not len(todo):
            break
        share = 0.5 if step % 2 else low[todo] / (low[todo] - high[todo])
        place[todo] = left[todo] + (right[todo] - left[todo]) * share
        part = lines.take(torch.from_numpy(todo))
        value[todo] = log_odds(score, _points(part, place[todo]), part.fixed, rows)
        same = np.sign(value[todo]) == np.sign(low[todo])
        left[todo[same]], low[todo[same]] = place[todo[same]], value[todo[same]]
        right[todo[~same]], high[todo[~same]] = place[todo[~same]], value[todo[~same]]
    return _points(lines, place), value


def _points(lines: Paths, place: NDArray[np.float64]) -> dict[Modality, Tensor]:
    """Returns the points at these places, 0 at the start and 1 at the end of a line."""
    return {
        name: torch.lerp(start, lines.images[name], torch.from_numpy(place).to(start)[:, None, None])
        for name, start in lines.baselines.items()
    }
