"""The random-label model, which learnt labels without meaning (Adebayo 2018, NeurIPS: data randomisation).

In the training part of a fold whole patients exchange their labels. Pictures, seeds, settings and number of
epochs stay, and so does the segmentation phase, which knows no label. The unimodal parents are trained on the
exchanged labels too: those of the cross-validation would hand the true ones on. The labels of the held-out
fold stay true. The AUC there is 0.5 on average over permutations; a single one lies on either side, for what
a network learns by heart follows some trait of the pictures, and traits go with the truth or against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dgfnet.attribution.fold_network import FoldNetwork
from dgfnet.attribution.gradients import log_odds
from dgfnet.attribution.networks import pictures, scorer, with_frozen_batch
from dgfnet.cohort.folds import Folds
from dgfnet.files import replacing
from dgfnet.metrics.discrimination import scores
from dgfnet.preprocess.archive import Archive
from dgfnet.results import load_nodules
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.group import open_group
from dgfnet.sweep.group import train as train_fits
from dgfnet.sweep.plan import Inputs, classification, gather, places
from dgfnet.training.partition import split
from dgfnet.training.start import restore
from dgfnet.training.task import Places, Task, finished
from dgfnet.vocabulary import Site

LABELS = "labels without meaning"  # tag of the runs, so that nobody takes them for results


@dataclass(frozen=True)
class Plan:
    """The fits of one site.

    Attributes:
        where: as everywhere, but with the table of exchanged labels.
        fusion: the fit that is compared with the explained one.
        parents: the unimodal fits it starts from.
        kept: share of the training nodules whose label is the true one all the same, by chance.
    """

    where: Places
    fusion: Task
    parents: tuple[Task, ...]
    kept: float


@dataclass(frozen=True)
class RandomLabelModel:
    """The network trained on exchanged labels, and signs that it learnt them.

    Attributes:
        network: with the exchanged labels of its training nodules.
        kept: see `Plan`.
        training_auc: on the exchanged labels it was trained on: above 0.5 where it learnt them by heart.
        held_out_auc: on the true labels of the held-out fold; None without both classes.
    """

    network: FoldNetwork
    kept: float
    training_auc: float
    held_out_auc: float | None


def exchanged(table: pd.DataFrame, training: pd.Series, site: Site, seed: int) -> pd.DataFrame:
    """Permutes the labels of a site over the patients of the training part.

    A patient hands over the labels of all nodules at once, to a patient with as many labelled nodules: which
    nodules share a label, and how many have which, stays. A patient whose number nobody shares keeps theirs.

    Args:
        table: nodule_id, patient_id and the labels of the site.
        training: bool, of the same index; other rows, and those without a label, stay as they are.
        site: whose labels.
        seed: of the permutation.
    """
    name = f"lnm_{site}"
    rng = np.random.default_rng([seed, 3])
    rows = table[training & table[name].notna()].sort_values(["patient_id", "nodule_id"])
    places = [group.index.to_numpy() for _, group in rows.groupby("patient_id", sort=True)]
    permuted = table.copy()
    for size in sorted({len(place) for place in places}):
        alike = [place for place in places if len(place) == size]
        for to, origin in zip(alike, rng.permutation(len(alike)), strict=True):
            permuted.loc[to, name] = table.loc[alike[origin], name].to_numpy()
    return permuted


def plan(settings: Settings, inputs: Inputs, site: Site, fold: int) -> Plan:
    """Plans the fits of one site, with keys of their own; writes the table of labels they are trained on."""
    usual = places(settings)
    table = load_nodules(settings)
    own = Folds.read(usual.folds).fold
    training = (table["cohort"] == "main") & (table["nodule_id"].map(own) != fold)
    changed = exchanged(table, training, site, settings.base.seed)
    before, after = (each.loc[training, f"lnm_{site}"].dropna() for each in (table, changed))
    digest = fingerprint(inputs.folds[site], LABELS, after.astype(int).tolist())
    path = settings.work / "random_labels" / digest[:20] / "nodules.parquet"
    if not path.is_file():
        with replacing(path) as temporary:
            changed.to_parquet(temporary, index=False)
    theirs = replace(inputs, folds={**inputs.folds, site: digest})
    fusion, parents = classification(settings, theirs, site, settings.attribute.variant, fold)
    kept = float((before == after).mean())
    return Plan(replace(usual, nodules=path), fusion, tuple(parents), kept)


def train(settings: Settings, wanted: Sequence[tuple[Site, int]]) -> None:
    """Trains what is not trained yet, unimodal networks first; a run in MLflow per site.

    Args:
        settings: of the run.
        wanted: sites, each with the fold whose network is checked.

    Raises:
        InputError: when a fit fails.
    """
    inputs = gather(settings, (settings.attribute.variant,))
    plans = {site: plan(settings, inputs, site, fold) for site, fold in wanted}
    with ExitStack() as stack:
        trials = []
        for site, each in plans.items():
            name, identity = f"{each.fusion.variant}, {LABELS}", fingerprint([LABELS, each.fusion.key])
            tags = {"stage": "attribute", "labels": LABELS, "site": site}
            opened = open_group(settings, site, name, identity, tags, part="checks")
            group = stack.enter_context(opened)
            for task in (*each.parents, each.fusion):
                trials.append(group.trial(task, where=each.where, variant=task.variant))
        train_fits(settings, "random labels", trials)


def load(settings: Settings, site: Site, fold: int) -> RandomLabelModel:
    """Loads the network that `train` has trained."""
    each = plan(settings, gather(settings, (settings.attribute.variant,)), site, fold)
    archive = Archive.open(each.where.archive)
    nodules, rows = split(each.fusion, each.where, archive), settings.attribute.rows
    model = with_frozen_batch(restore(each.fusion, each.where), archive, nodules[1])
    record = finished(each.where, each.fusion.key) or {}
    network = FoldNetwork(each.fusion, record, model, scorer(model), *nodules, archive, rows)
    training = pictures(model, archive, network.training)
    odds = log_odds(network.score, training.images, training.fixed, rows)
    on_training = scores(network.training.labels, 1 / (1 + np.exp(-odds)), 0.5)
    return RandomLabelModel(network, each.kept, on_training["auc"], record["scores"]["auc"])
