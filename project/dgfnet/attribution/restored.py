"""The network that never saw a nodule: the fit of its fold, its held-out nodules and its references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dgfnet.attribution.baselines import Baselines, References, find, references
from dgfnet.attribution.gradients import Attributions, Effort, Score, integrate
from dgfnet.attribution.networks import Pictures, pictures, scorer
from dgfnet.dataset.pairs import Nodules
from dgfnet.errors import InputError
from dgfnet.network.tlr import Model
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import Settings
from dgfnet.sweep.plan import classification, gather, places
from dgfnet.training.partition import split
from dgfnet.training.start import restore
from dgfnet.training.task import finished
from dgfnet.vocabulary import Site, Variant

NODES, HALVINGS = 8, 7  # gradients per panel; up to 1024 per path

Explanation = tuple[Attributions, Baselines]

MIXES = "network.dgf.nodule_level is batch: steps of one path would attend to each other; use bank"


@dataclass(frozen=True)
class Restored:
    """A trained network of one fold.

    Attributes:
        model: in evaluation mode, on the CPU.
        score: its log odds, made for explaining.
        training: nodules it was trained on.
        held_out: those it never saw.
        archive: where their pictures lie.
        rows: most pictures that go through it at once.
    """

    model: Model
    score: Score
    training: Nodules
    held_out: Nodules
    archive: Archive
    rows: int

    def pictures(self, at: np.ndarray | None = None) -> Pictures:
        """What it sees of the held-out nodules at these positions, or of all."""
        return pictures(self.model, self.archive, self.held_out if at is None else self.held_out.take(at))

    @cached_property
    def references(self) -> References:
        """From its training nodules."""
        seen = pictures(self.model, self.archive, self.training)
        return references(self.score, seen, self.training.labels, self.rows)


def mixes_rows(settings: Settings) -> bool:
    """Whether DGF would attend over whoever is scored with it."""
    return "nodule" in settings.network.dgf.branches and settings.network.dgf.nodule_level == "batch"


def effort(settings: Settings) -> Effort:
    """How much is computed for each nodule."""
    return Effort(settings.attribute.tolerance, NODES, HALVINGS, settings.attribute.rows)


def load(settings: Settings, site: Site, variant: Variant, fold: int) -> Restored:
    """The network of a fold.

    Raises:
        InputError: when it was not cross-validated with these settings, data and code, or mixes rows.
    """
    task, _ = classification(settings, gather(settings, (variant,)), site, variant, fold)
    where = places(settings)
    path = settings.artifacts("crossval", site, variant, "metrics.json")
    if not path.is_file():
        raise InputError(f"{site} {variant} was not cross-validated; run the stage crossval")
    folds = json.loads(path.read_text(encoding="utf-8"))["folds"]
    if finished(where, task.key) is None or folds[fold]["key"] != task.key:
        raise InputError(
            f"{site} {variant} fold {fold}: settings, data or code have changed since crossval; run it again"
        )
    if variant == "dgf" and mixes_rows(settings):
        raise InputError(f"{site} {variant} fold {fold}: {MIXES}")
    archive = Archive.open(where.archive)
    training, held_out = split(task, where, archive)
    model = restore(task, where)
    return Restored(model, scorer(model), training, held_out, archive, settings.attribute.rows)


def explained(network: Restored, pictures: Pictures, family: str, effort: Effort) -> Explanation:
    """Integrated gradients from a baseline of this family."""
    base = find(network.score, pictures, network.references, family, effort.rows)
    return integrate(network.score, pictures.images, base.images, pictures.patients, effort), base


def spread(count: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` of `count` positions, evenly spread: no choice by anybody."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round()).astype(np.int64)
