"""All explanations of one fold, so that folds can be explained side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dgfnet.attribution import localisation, randomised, repeatability, sanity
from dgfnet.attribution.contributions import shapley, towards_truth
from dgfnet.attribution.fidelity import Explain, Maps
from dgfnet.attribution.fold_network import PANELS, Explanation, FoldNetwork, effort, explain, load, spread
from dgfnet.attribution.gradients import Effort, Images, Paths, Score, integrate
from dgfnet.attribution.networks import Pictures, inputs_of, last_layers
from dgfnet.attribution.randomised import RandomLabelModel
from dgfnet.attribution.repeatability import ExternalExplanation
from dgfnet.attribution.saliency import Picture, SaliencyCase, grad_cam, masses
from dgfnet.settings import Settings
from dgfnet.vocabulary import SPECS, Modality, Site


@dataclass(frozen=True)
class Job:
    """One fold of one site.

    Attributes:
        cases: nodules for Figure 4; those of other folds are passed over.
        check: also run the sanity checks.
        single_process: no other process computes beside this one.
    """

    settings: Settings
    site: Site
    fold: int
    cases: tuple[str, ...]
    check: bool
    single_process: bool


@dataclass(frozen=True)
class FoldExplanation:
    """The explanations of one fold.

    Attributes:
        table: one row per held-out nodule, for contributions.csv.
        others: the same numbers from the other baselines, of a subset, with the column `baseline`.
        masses: where the attributions lie, of the same subset, a row per modality.
        located: the same against the phantom's truth, a row per region; empty where there is none.
        cases: for Figure 4.
        checks: the content of checks.json; None when they were not asked for.
        external: of the nodules that every fold's network explains; None when there are none.
        random_labels: of the same nodules by the random-label model; None when there is none.
    """

    table: pd.DataFrame
    others: pd.DataFrame
    masses: pd.DataFrame
    located: pd.DataFrame
    cases: tuple[SaliencyCase, ...]
    checks: dict[str, Any] | None
    external: ExternalExplanation | None
    random_labels: ExternalExplanation | None


@dataclass(frozen=True)
class _Multimodal:
    """The fusion's explanation of all held-out nodules."""

    network: FoldNetwork
    pictures: Pictures
    explanation: Explanation


@dataclass(frozen=True)
class _Saliency:
    """Maps of some held-out nodules.

    Attributes:
        at: (K,) their positions among the held-out nodules.
        unimodal: per modality the unimodal network's explanation, in the order of `at`.
        grad_cams: per network (unimodal, multimodal) and modality Grad-CAM, (K, S, S) alike.
    """

    at: NDArray[np.int64]
    unimodal: Mapping[Modality, Explanation]
    grad_cams: Mapping[str, Images]


def explain_fold(job: Job) -> FoldExplanation:
    """Explains the held-out nodules of one fold by the networks that were not trained on them."""
    if not job.single_process:
        torch.set_num_threads(1)
    settings, wanted = job.settings, job.settings.attribute
    network = load(settings, job.site, wanted.variant, job.fold)
    pictures, ids = network.pictures(), network.held_out.ids
    explanation = explain(network, pictures, wanted.baselines[0], effort(settings))
    fusion = _Multimodal(network, pictures, explanation)
    subset = spread(len(ids), wanted.subset)
    chosen = np.array([i for i, name in enumerate(ids) if name in job.cases], dtype=np.int64)
    saliency = _saliency(job, fusion, np.concatenate([subset, np.setdiff1d(chosen, subset)]))
    located = localisation.locate(settings, network, pictures, explanation, saliency.unimodal, subset)
    random_label_model = None
    if job.check and wanted.random_labels:
        random_label_model = randomised.load(settings, job.site, job.fold)
    external = random_labels = None
    checks = _checks(fusion, random_label_model, settings) if job.check else None
    if repeatability.why_not(settings) is None:
        external = repeatability.explain_external(settings, network)
        if random_label_model is not None:
            random_labels = repeatability.explain_external(settings, random_label_model.network)
    return FoldExplanation(
        _contributions(job, fusion),
        _others(job, fusion, subset),
        _masses(job, fusion, saliency, len(subset)),
        located.assign(fold=job.fold),
        tuple(_cases(fusion, saliency, chosen)),
        checks,
        external,
        random_labels,
    )


def _contributions(job: Job, fusion: _Multimodal) -> pd.DataFrame:
    """Returns a row per held-out nodule, with Shapley values."""
    network, pictures, label = fusion.network, fusion.pictures, fusion.network.held_out.labels
    paths = Paths(pictures.images, fusion.explanation.baselines.images, pictures.fixed)
    values = shapley(network.score, paths, job.settings.attribute.rows, network.unknown)
    return _rows(network.held_out.ids, label, job.fold, fusion.explanation).assign(
        **{f"shapley_{name}": towards_truth(own, label) for name, own in values.items()}
    )


def _others(job: Job, fusion: _Multimodal, subset: NDArray[np.int64]) -> pd.DataFrame:
    """Explains the nodules of the subset from the other baselines."""
    network, pictures = fusion.network, fusion.pictures.take(torch.from_numpy(subset))
    ids, label = [network.held_out.ids[i] for i in subset], network.held_out.labels[subset]
    tables = [
        _rows(ids, label, job.fold, explain(network, pictures, family, effort(job.settings))).assign(
            baseline=family
        )
        for family in job.settings.attribute.baselines[1:]
    ]
    if not tables:
        return pd.DataFrame(columns=["nodule_id", "us", "ct", "baseline"])
    return pd.concat(tables, ignore_index=True)


def _rows(
    ids: Sequence[str], label: NDArray[np.float32], fold: int, explanation: Explanation
) -> pd.DataFrame:
    """Returns a row per nodule: contributions towards the truth, and how they were computed."""
    attributions, baselines = explanation.attributions, explanation.baselines
    return pd.DataFrame(
        {
            "nodule_id": list(ids),
            "fold": fold,
            **{name: towards_truth(attributions.sums[name], label) for name in ("us", "ct")},
            "baseline_probability": baselines.probability,
            "completeness_error": attributions.error,
            "log_odds": attributions.at_input,
            "gradients": attributions.gradients,
            "partner": baselines.partner,
        }
    )


def _saliency(job: Job, fusion: _Multimodal, at: NDArray[np.int64]) -> _Saliency:
    """Explains nodules by the unimodal networks that the fusion starts from, and all by Grad-CAM too."""
    settings, spec = job.settings, SPECS[job.settings.attribute.variant]
    unimodal: dict[Modality, Explanation] = {}
    cams: Maps = {}
    for modality, variant in zip(spec.modalities, spec.parents, strict=True):
        network = load(settings, job.site, variant, job.fold)
        pictures = network.pictures(at)
        unimodal[modality] = explain(network, pictures, settings.attribute.baselines[0], effort(settings))
        cams |= _grad_cam(network, pictures)
    both = _grad_cam(fusion.network, fusion.pictures.take(torch.from_numpy(at)))
    return _Saliency(at, unimodal, {"unimodal": cams, "multimodal": both})


def _grad_cam(network: FoldNetwork, pictures: Pictures) -> Maps:
    """Computes Grad-CAM of the model itself: its copy made for explaining does not name its layers."""
    model = network.model

    def score(images: Images, fixed: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = model(*inputs_of(model, images, fixed)).logit
        return logit

    return grad_cam(score, last_layers(model), pictures, network.rows)


def _masses(job: Job, fusion: _Multimodal, saliency: _Saliency, count: int) -> pd.DataFrame:
    """Returns where the maps of the first `count` nodules lie, a row per nodule and modality."""
    rows = []
    for modality, own in saliency.unimodal.items():
        for k, i in enumerate(saliency.at[:count]):
            maps = {
                "unimodal_": own.attributions.maps[modality][k],
                "multimodal_": fusion.explanation.attributions.maps[modality][i],
                **{f"{name}_grad_cam_": cams[modality][k] for name, cams in saliency.grad_cams.items()},
            }
            mask = fusion.pictures.masks[modality][i].numpy()
            row: dict[str, Any] = {
                **{"nodule_id": fusion.network.held_out.ids[i], "fold": job.fold, "modality": modality}
            }
            for prefix, values in maps.items():
                row |= {f"{prefix}{region}": share for region, share in masses(values.numpy(), mask).items()}
            rows.append(row)
    return pd.DataFrame(rows)


def _cases(fusion: _Multimodal, saliency: _Saliency, chosen: NDArray[np.int64]) -> list[SaliencyCase]:
    """Returns the cases of Figure 4 at these positions among the held-out nodules."""
    order = list(saliency.at)
    cases = []
    for i in chosen:
        k = order.index(i)
        cases.append(
            SaliencyCase(
                fusion.network.held_out.ids[i],
                _planes(fusion.pictures.images, i),
                {name: values[i].numpy() for name, values in fusion.pictures.masks.items()},
                {name: own.attributions.maps[name][k].numpy() for name, own in saliency.unimodal.items()},
                _planes(fusion.explanation.attributions.maps, i),
                _planes(saliency.grad_cams["multimodal"], k),
            )
        )
    return cases


def _planes(maps: Images, row: int) -> dict[Modality, Picture]:
    return {name: values[row].numpy() for name, values in maps.items()}


def _checks(fusion: _Multimodal, other: RandomLabelModel | None, settings: Settings) -> dict[str, Any]:
    """Makes the sanity checks on `attribute.checks` of the held-out nodules."""
    at = torch.from_numpy(spread(len(fusion.pictures.fixed), settings.attribute.checks))
    pictures, rows = fusion.pictures.take(at), settings.attribute.rows
    baselines = {name: values[at] for name, values in fusion.explanation.baselines.images.items()}
    checks = sanity.check(
        fusion.network.model,
        None if other is None else other.network.model,
        _evenly(rows),
        Paths(pictures.images, baselines, pictures.fixed),
        rows,
        np.random.default_rng(settings.base.seed),
    ).describe()
    if other is not None:
        known = {name: value for name, value in vars(other).items() if name != "network"}
        checks["random_labels"] = checks["random_labels"] | known
    return checks | {"nodules": len(at)}


def _evenly(rows: int) -> Explain:
    """Returns integrated gradients without a tolerance: the odds of a shuffled network can be anything."""
    plain = Effort(float("inf"), 4 * PANELS, 0, rows)

    def explain_evenly(score: Score, paths: Paths) -> Maps:
        return dict(integrate(score, paths, plain).maps)

    return explain_evenly
