"""Occlusion maps: the parts of a picture that move an answer, covered one at a time (Zeiler 2014, ECCV).

For any case that a registered model answers, without torch; the stage `attribute` has maps per pixel of the
nodules of the cohort, by integrated gradients.
"""

from __future__ import annotations

import time
from math import inf

import numpy as np
from numpy.typing import NDArray

from dgfnet.bundle.crops import Album, ScoredPairs
from dgfnet.bundle.joint import joined_log_odds
from dgfnet.bundle.model import GRAPHS, ScoringModel
from dgfnet.bundle.record import inputs_of
from dgfnet.preprocess.archive import paired
from dgfnet.vocabulary import Modality

BLOCKS = 8  # along a side: a block is about a quarter of a nodule across on US, half of one on CT


def occlusion(
    model: ScoringModel, album: Album, modality: Modality, blocks: int = BLOCKS, end: float = inf
) -> NDArray[np.float64]:
    """Covers each block of a nodule's largest picture by that of the mean crop of the training nodules.

    Other pictures of the nodule, its masks, what was measured of it and its record stay as they are: the map
    says what the networks read.

    Args:
        model: that answers.
        album: of one nodule.
        modality: of the picture; one that the networks read.
        blocks: along a side.
        end: until when on the monotonic clock.

    Returns:
        (blocks, blocks): log odds of the answer less those with the block covered; above 0 where the picture
        speaks for metastasis.

    Raises:
        InputError: naming the modality whose crops are missing or of another shape or type.
        TimeoutError: when the end comes first.
    """
    pairs = model.pairs(album)
    counts = [len(album[name][0]) for name in model.modalities]
    place = model.modalities.index(modality)
    shown = [at for at, pair in enumerate(paired(counts, model.images)) if pair[place] == 0]
    picture, mean = pairs.crops[modality][shown[0]], model.reference[modality]
    edges = np.linspace(0, len(picture), blocks + 1).round().astype(int)
    covered = np.repeat(picture[None], blocks**2, axis=0)
    for number, (row, column) in enumerate(np.ndindex(blocks, blocks)):
        block = np.s_[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        covered[number][block] = mean[block]
    crops = {name: np.repeat(values[shown], blocks**2, axis=0) for name, values in pairs.crops.items()}
    crops[modality] = np.tile(covered, (len(shown), 1, 1))

    given = [inputs_of(pairs.crops, pairs.nodule, album, member.stream) for member in model.scoring]
    before = [member.log_odds(inputs) for member, inputs in zip(model.scoring, given, strict=True)]
    changed = ScoredPairs(crops, np.zeros(len(crops[modality]), dtype=np.int64))
    parts = []
    for each in zip(*(member.parts(changed, album) for member in model.scoring), strict=True):
        if time.monotonic() > end:
            raise TimeoutError
        runs = [GRAPHS.submit(m.log_odds, part) for m, part in zip(model.scoring, each, strict=True)]
        parts.append([run.result() for run in runs])
    effects = []
    for member, own, after in zip(model.scoring, before, zip(*parts, strict=True), strict=True):
        change = (np.concatenate(after).reshape(len(shown), -1) - own[shown, None]).sum(axis=0) / len(own)
        network = joined_log_odds(member.joint, own.mean() + np.append(change, 0.0), album)
        effects.append(network[-1] - network[:-1])
    return np.asarray(np.mean(effects, axis=0)).reshape(blocks, blocks)
