"""The network of a fold: the fit, the nodules it was trained on and those held out, its references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgfnet.attribution.baselines import Baselines, References, find_baselines, references
from dgfnet.attribution.gradients import Attributions, Effort, Paths, Score, integrate
from dgfnet.attribution.networks import Pictures, pictures, scorer, with_frozen_batch
from dgfnet.dataset.pairs import Nodules
from dgfnet.network.tlr import Model
from dgfnet.preprocess.archive import Archive
from dgfnet.results import check_current, load_metrics
from dgfnet.settings import Settings
from dgfnet.sweep.plan import classification, gather, places
from dgfnet.tabular.design import unknown
from dgfnet.training.partition import split
from dgfnet.training.start import restore
from dgfnet.training.task import Task, finished
from dgfnet.unseen import terms_of_fit, unseen
from dgfnet.vocabulary import Site, Variant

PANELS, HALVINGS = 8, 7  # up to 1025 gradients per path


@dataclass(frozen=True)
class Explanation:
    """Attributions of N nodules, and the baselines they start from."""

    attributions: Attributions
    baselines: Baselines


@dataclass(frozen=True)
class FoldNetwork:
    """A trained network of one fold.

    Attributes:
        task: of its fit.
        record: fit.json.
        model: in evaluation mode, on the CPU.
        score: its log odds, made for explaining.
        training: nodules it was trained on.
        held_out: nodules of the fold, which it was not trained on.
        archive: where their pictures lie.
        rows: most pictures of a modality that go through it at once.
    """

    task: Task
    record: Mapping[str, Any]
    model: Model
    score: Score
    training: Nodules
    held_out: Nodules
    archive: Archive
    rows: int

    def pictures(self, at: np.ndarray | None = None) -> Pictures:
        """Returns its pictures of the held-out nodules at these positions, or of all."""
        return pictures(self.model, self.archive, self.held_out if at is None else self.held_out.take(at))

    def pictures_of(self, rows: pd.DataFrame) -> Pictures:
        """Returns its pictures of nodules that it never saw, rows of nodules.parquet."""
        return pictures(self.model, self.archive, unseen(self.task, self.record, rows, self.archive))

    @property
    def unknown(self) -> Tensor | None:
        """Its input for a record of which nothing is known, (T,) float64; None where it reads none."""
        terms = terms_of_fit(self.record)
        return torch.from_numpy(unknown(terms)) if terms else None

    @cached_property
    def references(self) -> References:
        """The references of its training nodules."""
        training = pictures(self.model, self.archive, self.training)
        return references(self.score, training, self.training.labels, self.rows)


def effort(settings: Settings) -> Effort:
    """Returns the bounds of an integration that the settings ask for."""
    return Effort(settings.attribute.tolerance, PANELS, HALVINGS, settings.attribute.rows)


def load(settings: Settings, site: Site, variant: Variant, fold: int) -> FoldNetwork:
    """Loads the network of a fold; one that attends over the batch does so over its held-out nodules.

    Raises:
        InputError: when it was not cross-validated with these settings, data and code.
    """
    task, _ = classification(settings, gather(settings, (variant,)), site, variant, fold)
    where = places(settings)
    record = finished(where, task.key)
    key = "" if record is None else task.key
    check_current(load_metrics(settings, site, variant), fold, key, f"{site} {variant} fold {fold}")
    archive = Archive.open(where.archive)
    training, held_out = split(task, where, archive)
    model = with_frozen_batch(restore(task, where), archive, held_out)
    rows = settings.attribute.rows
    return FoldNetwork(task, record or {}, model, scorer(model), training, held_out, archive, rows)


def explain(network: FoldNetwork, pictures: Pictures, family: str, effort: Effort) -> Explanation:
    """Computes integrated gradients of nodules, from a baseline of this family each."""
    base = find_baselines(network.score, pictures, network.references, family, effort.rows)
    paths = Paths(pictures.images, base.images, pictures.fixed)
    return Explanation(integrate(network.score, paths, effort), base)


def spread(count: int, wanted: int) -> NDArray[np.int64]:
    """Returns at most `wanted` of `count` positions, evenly spread, so that nobody chooses."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round()).astype(np.int64)
