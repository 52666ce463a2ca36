"""Everything that is explained of one fold, so that folds can be explained side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dgfnet.attribution import localisation, randomised, repeatability, sanity
from dgfnet.attribution.baselines import Baselines
from dgfnet.attribution.contributions import shapley, towards_truth
from dgfnet.attribution.gradients import Attributions, Effort, Images, Score, integrate
from dgfnet.attribution.networks import Pictures
from dgfnet.attribution.randomised import Relabelled
from dgfnet.attribution.repeatability import Elsewhere
from dgfnet.attribution.restored import NODES, Explanation, Restored, effort, explained, load, spread
from dgfnet.attribution.saliency import Case, masses
from dgfnet.settings import Settings
from dgfnet.vocabulary import SPECS, Modality, Site


@dataclass(frozen=True)
class Job:
    """One fold of one site.

    Attributes:
        cases: nodules for Figure 4; those of other folds are passed over.
        check: also run the sanity checks.
        alone: no other process computes beside this one.
    """

    settings: Settings
    site: Site
    fold: int
    cases: tuple[str, ...]
    check: bool
    alone: bool


@dataclass(frozen=True)
class Explained:
    """What came of it.

    Attributes:
        table: one row per held-out nodule, for contributions.csv.
        others: the same numbers from the other baselines, of a subset, with the column `baseline`.
        masses: where the attributions lie, of the same subset, a row per modality.
        located: the same against the phantom's truth, a row per region; empty where there is none.
        cases: for Figure 4.
        checks: what checks.json holds; None when they were not asked for.
        elsewhere: what this network says of nodules that every fold's explains; None when there are none.
        senseless: what the network of the label check says of them; None when there is none.
    """

    table: pd.DataFrame
    others: pd.DataFrame
    masses: pd.DataFrame
    located: pd.DataFrame
    cases: tuple[Case, ...]
    checks: dict[str, Any] | None
    elsewhere: Elsewhere | None
    senseless: Elsewhere | None


def explain_fold(job: Job) -> Explained:
    """Explains the held-out nodules of one fold by the networks that never saw them."""
    if not job.alone:
        torch.set_num_threads(1)
    settings, wanted = job.settings, job.settings.attribute
    both = load(settings, job.site, wanted.variant, job.fold)
    pictures, ids = both.pictures(), both.held_out.ids
    found, base = explained(both, pictures, wanted.baselines[0], effort(settings))
    values = shapley(both.score, pictures.images, base.images, pictures.patients, wanted.rows)
    label = both.held_out.labels
    table = _rows(ids, label, job.fold, found, base).assign(
        shapley_us=towards_truth(values[0], label), shapley_ct=towards_truth(values[1], label)
    )
    subset = spread(len(ids), wanted.subset)
    chosen = np.array([i for i, name in enumerate(ids) if name in job.cases], dtype=np.int64)
    at = np.concatenate([subset, np.setdiff1d(chosen, subset)])
    alone = _unimodal(settings, job, at)
    rows = [
        {"nodule_id": ids[i], "fold": job.fold, "modality": modality}
        | _masses("unimodal", own.maps[modality][k].numpy(), pictures, modality, i)
        | _masses("multimodal", found.maps[modality][i].numpy(), pictures, modality, i)
        for modality, (own, _) in alone.items()
        for k, i in enumerate(at[: len(subset)])
    ]
    located = localisation.locate(settings, both, pictures, (found, base), alone, at[: len(subset)])
    senseless = None
    if job.check and settings.attribute.random_labels:
        senseless = randomised.load(settings, job.site, job.fold)
    again = repeatability.why_not(settings) is None
    cases = [_case(ids[i], int(i), list(at).index(i), pictures, found, alone) for i in chosen]
    return Explained(
        table,
        _others(job, both, pictures, subset),
        pd.DataFrame(rows),
        located.assign(fold=job.fold),
        tuple(cases),
        _checks(both, senseless, pictures, base, settings) if job.check else None,
        repeatability.explain(settings, job.site, both) if again else None,
        repeatability.explain(settings, job.site, senseless.network) if again and senseless else None,
    )


def _others(job: Job, both: Restored, pictures: Pictures, subset: NDArray[np.int64]) -> pd.DataFrame:
    """The nodules of the subset from the other baselines."""
    own, ids = pictures.take(torch.from_numpy(subset)), [both.held_out.ids[i] for i in subset]
    label = both.held_out.labels[subset]
    found = [
        _rows(ids, label, job.fold, *explained(both, own, name, effort(job.settings))).assign(baseline=name)
        for name in job.settings.attribute.baselines[1:]
    ]
    if not found:
        return pd.DataFrame(columns=["nodule_id", "us", "ct", "baseline"])
    return pd.concat(found, ignore_index=True)


def _rows(
    ids: Any, label: NDArray[np.float32], fold: int, found: Attributions, base: Baselines
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "nodule_id": list(ids),
            "fold": fold,
            **{name: towards_truth(found.sums[name], label) for name in ("us", "ct")},
            "baseline_probability": base.probability,
            "completeness_error": found.error,
            "log_odds": found.at_input,
            "gradients": found.gradients,
            "partner": base.partner,
        }
    )


def _unimodal(settings: Settings, job: Job, at: NDArray[np.int64]) -> dict[Modality, Explanation]:
    """What the unimodal networks say that a fusion starts from, of len(at) nodules."""
    spec = SPECS[settings.attribute.variant]
    said = {}
    for modality, variant in zip(spec.modalities, spec.parents, strict=True):
        network = load(settings, job.site, variant, job.fold)
        first = settings.attribute.baselines[0]
        said[modality] = explained(network, network.pictures(at), first, effort(settings))
    return said


def _masses(
    network: str, maps: NDArray[np.float32], pictures: Pictures, modality: Modality, row: int
) -> dict[str, float]:
    found = masses(maps, pictures.masks[modality][row].numpy())
    return {f"{network}_{region}": share for region, share in found.items()}


def _case(
    nodule_id: str,
    row: int,
    place: int,
    pictures: Pictures,
    found: Attributions,
    alone: Mapping[Modality, Explanation],
) -> Case:
    return Case(
        nodule_id,
        {name: values[row].numpy() for name, values in pictures.images.items()},
        {name: values[row].numpy() for name, values in pictures.masks.items()},
        {name: own.maps[name][place].numpy() for name, (own, _) in alone.items()},
        {name: values[row].numpy() for name, values in found.maps.items()},
    )


def _checks(
    network: Restored, other: Relabelled | None, pictures: Pictures, base: Baselines, settings: Settings
) -> dict[str, Any]:
    at = torch.from_numpy(spread(len(pictures.patients), settings.attribute.checks))
    own, rows = pictures.take(at), settings.attribute.rows
    baselines = {name: values[at] for name, values in base.images.items()}
    rng = np.random.default_rng(settings.base.seed)
    senseless = None if other is None else other.network.model
    found = sanity.check(
        *(network.model, senseless, _evenly(rows)), *(own.images, baselines, own.patients), rows, rng
    ).describe()
    if other is not None:
        facts = {name: value for name, value in vars(other).items() if name != "network"}
        found["random_labels"] = found["random_labels"] | facts
    return found | {"nodules": len(at)}


def _evenly(rows: int) -> sanity.Explain:
    """Integrated gradients without a tolerance: the odds of a shuffled network can be anything."""
    plain = Effort(float("inf"), 4 * NODES, 0, rows)

    def explain(score: Score, images: Images, baselines: Images, patients: torch.Tensor) -> sanity.Maps:
        return dict(integrate(score, images, baselines, patients, plain).maps)

    return explain
