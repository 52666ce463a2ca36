"""Reads the artifacts of the other stages once; an absent one is None or empty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet.compare import centres
from dgfnet.errors import InputError
from dgfnet.formulas import unguarded_table
from dgfnet.results import ABLATION, METRICS, OUT_OF_FOLD, check_sources, existing, load_registered
from dgfnet.settings import Settings
from dgfnet.vocabulary import TABULAR, VARIANTS, Site

STAGES = (
    "cohort",
    "audit",
    "preprocess",
    "pretrain",
    "tune",
    "crossval",
    "compare",
    "register",
    "external",
    "holdout",
    "attribution",
    "applicability",
)
ORIGINS = {"phantom": "phantom.json", "public": "import.json"}

DRAWN = ("saliency",)  # the paper's Figure 4

Json = dict[str, Any]


@dataclass(frozen=True)
class SiteInputs:
    """Results of one site.

    Attributes:
        site: its name.
        variants: metrics.json of each cross-validated variant, in the paper's order, then of each baseline.
        not_learned: per baseline or stack that was skipped the reason.
        tables: out_of_fold.csv of the same variants, where there is one.
        skipped: reason for not cross-validating the site.
        differences: paired AUC differences; columns a, b, estimate, low, high, p, p_holm.
        pairs: every pair of variants, by three tests.
        baselines: networks against baselines; columns variant, baseline, estimate, low, high, p.
        modalities: sensitivity and specificity of US minus CT, each alone.
        centres: every variant at every centre, where the settings name them.
        heterogeneity: of each variant the AUC over centres by random effects.
        calibration: of each variant, before and after correction.
        decision: net benefit per variant and threshold.
        groups: groups of nodules: correct share and AUC of each model, gain of CT.
        interactions: tests of differences in that gain between the groups of an attribute.
        frontier: AUC per share of nodules that get CT and way of choosing them.
        rule: AUC and net benefit of the rule for CT.
        rule_external: the same on the external cohort, or the reason for not trying it.
        attribution: summary of the contributions of US and CT and of the attribution maps.
        sanity: checks of these attributions.
        contributions: contributions.csv, what US and CT say of every nodule.
        drawn: PNG figures of the attributions by name.
        not_explained: reason for their absence.
        optimism: of searched settings; columns variant, fold, inner, outer, optimism.
        registered: the promotion record.
        external: metrics.json of the external validation.
        predictions: predictions.csv of the external validation.
        external_skipped: reason for the absence of an external validation.
        holdout: metrics.json of the paper's protocol, one split and its best epoch.
        not_split: reason for its absence.
    """

    site: str
    variants: dict[str, Json]
    not_learned: dict[str, str]
    tables: dict[str, pd.DataFrame]
    skipped: str | None
    differences: pd.DataFrame | None
    pairs: pd.DataFrame | None
    baselines: pd.DataFrame | None
    modalities: pd.DataFrame | None
    centres: pd.DataFrame | None
    heterogeneity: pd.DataFrame | None
    calibration: pd.DataFrame | None
    decision: pd.DataFrame | None
    groups: pd.DataFrame | None
    interactions: pd.DataFrame | None
    frontier: pd.DataFrame | None
    rule: Json | None
    rule_external: Json | None
    attribution: Json | None
    sanity: Json | None
    contributions: pd.DataFrame | None
    drawn: dict[str, bytes]
    not_explained: str | None
    optimism: pd.DataFrame | None
    registered: Json | None
    external: Json | None
    predictions: pd.DataFrame | None
    external_skipped: str | None
    holdout: Json | None
    not_split: str | None


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the page is made of.

    Attributes:
        origin: where the cohort comes from: `phantom`, `public`, `own`, or `unknown`: its folder is not here.
        about: content of phantom.json or import.json.
        enrolment: the screening counts.
        audit: audit.json.
        reading: reading.csv of the stage pretrain.
        case_mix: attributes of the main and the external cohort.
        sites: one per site of the settings.
        provenance: provenance.json of each stage that ran.
    """

    origin: str
    about: Json
    enrolment: Json | None
    audit: Json | None
    reading: pd.DataFrame | None
    case_mix: pd.DataFrame | None
    sites: tuple[SiteInputs, ...]
    provenance: dict[str, Json]


def read(settings: Settings) -> ReportInputs:
    """Reads the artifacts that exist.

    Raises:
        InputError: for a file that is not what its stage wrote, cannot be read, or whose sources have
            changed.
    """
    origin, about = _origin(settings)
    records = {stage: _json(existing(settings, stage, "provenance.json")) for stage in STAGES}
    return ReportInputs(
        origin=origin,
        about=about,
        enrolment=_json(existing(settings, "cohort", "enrolment.json")),
        case_mix=_csv(existing(settings, "external", "case_mix.csv")),
        audit=_json(existing(settings, "audit", "audit.json")),
        reading=_csv(existing(settings, "pretrain", "reading.csv")),
        sites=tuple(_site(settings, site) for site in settings.base.sites),
        provenance={stage: record for stage, record in records.items() if record is not None},
    )


def _origin(settings: Settings) -> tuple[str, Json]:
    for origin, name in ORIGINS.items():
        path = settings.data / name
        about = _json(path) if path.is_file() else None
        if about is not None and (origin == "phantom" or "notice" in about):  # own imports have no notice
            return origin, about
    return ("own" if settings.data.is_dir() else "unknown"), {}


def _site(settings: Settings, site: Site) -> SiteInputs:
    crossval = settings.artifacts("crossval", site)
    names = sorted((path.parent.name for path in crossval.glob(f"*/{METRICS}")), key=_rank)
    metrics = {name: _json(existing(settings, "crossval", site, name, METRICS)) or {} for name in names}
    tables = {name: _csv(existing(settings, "crossval", site, name, OUT_OF_FOLD)) for name in names}
    for stage in ("compare", "applicability", "attribution"):
        check_sources(settings, stage, site)
    drawn = {name: existing(settings, "attribution", site, f"{name}.png") for name in DRAWN}
    return SiteInputs(
        site=site,
        variants=metrics,
        not_learned={name: why for name in TABULAR if (why := _reason(settings, "crossval", site, name))},
        tables={name: table for name, table in tables.items() if table is not None},
        skipped=_reason(settings, "crossval", site),
        differences=_csv(existing(settings, "compare", site, "differences.csv")),
        pairs=_csv(existing(settings, "compare", site, "pairs.csv")),
        baselines=_csv(existing(settings, "compare", site, "baselines.csv")),
        modalities=_csv(existing(settings, "compare", site, "modalities.csv")),
        centres=_csv(existing(settings, "compare", site, centres.FILE)),
        heterogeneity=_csv(existing(settings, "compare", site, centres.HETEROGENEITY)),
        calibration=_csv(existing(settings, "compare", site, "calibration.csv")),
        decision=_csv(existing(settings, "compare", site, "decision.csv")),
        groups=_csv(existing(settings, "applicability", site, "groups.csv")),
        interactions=_csv(existing(settings, "applicability", site, "interactions.csv")),
        frontier=_csv(existing(settings, "applicability", site, "frontier.csv")),
        rule=_json(existing(settings, "applicability", site, "rule.json")),
        rule_external=_json(existing(settings, "applicability", site, "rule_external.json")),
        attribution=_json(existing(settings, "attribution", site, "summary.json")),
        sanity=_json(existing(settings, "attribution", site, "checks.json")),
        contributions=_csv(existing(settings, "attribution", site, "contributions.csv")),
        drawn={name: path.read_bytes() for name, path in drawn.items() if path is not None},
        not_explained=_reason(settings, "attribution", site),
        optimism=_csv(existing(settings, "compare", site, "optimism.csv")),
        registered=load_registered(settings, site),
        external=_json(existing(settings, "external", site, METRICS)),
        predictions=_csv(existing(settings, "external", site, "predictions.csv")),
        external_skipped=_reason(settings, "external", site),
        holdout=_json(existing(settings, "holdout", site, METRICS)),
        not_split=_reason(settings, "holdout", site),
    )


def _rank(name: str) -> tuple[int, str]:
    order = (*VARIANTS, *TABULAR)
    own = "dgf" if name.startswith(ABLATION) else name  # beside what it differs from
    return (order.index(own) if own in order else len(order), name)


def _reason(settings: Settings, stage: str, *names: str) -> str | None:
    record = _json(existing(settings, stage, *names, "skipped.json"))
    return None if record is None else str(record.get("reason", "no reason given"))


def _json(path: Path | None) -> Json | None:
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); run the stage that writes it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object, found {type(content).__name__}")
    return content


def _csv(path: Path | None) -> pd.DataFrame | None:
    if path is None:
        return None
    text = dict.fromkeys(("nodule_id", "patient_id", "a", "b"), "str")
    try:
        return unguarded_table(pd.read_csv(path, dtype=text))
    except ValueError as error:  # pandas' parser and empty-file errors are ValueErrors
        raise InputError(
            f"{path}: not a readable table ({error}); run the stage that writes it again"
        ) from None
