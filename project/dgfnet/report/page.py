"""Inputs to one HTML page: which block stands where, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dgfnet.report import checks, comparison, diagram, elsewhere, figures, sentences, tables, whom, why
from dgfnet.report.card import card
from dgfnet.report.cells import known, limits, number, percent, short, text
from dgfnet.report.checklists import checklists
from dgfnet.report.figures import Picture
from dgfnet.report.inputs import DRAWN, Inputs, Json, SiteInputs
from dgfnet.report.tables import Table
from dgfnet.settings import Settings


@dataclass(frozen=True)
class Missing:
    """What cannot be shown, and the stage that makes it; without a stage, the reason alone."""

    what: str
    stage: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Card:
    """One figure at the top of the page."""

    label: str
    value: str
    detail: str
    source: str


@dataclass(frozen=True)
class SiteView:
    """Everything the page says about one site."""

    name: str
    facts: tuple[str, ...]
    results: tuple[Table | Missing, ...]
    pictures: tuple[Picture | Missing, ...]
    folds: Table | None
    why: tuple[Table | Picture | Missing, ...]
    why_reading: tuple[str, ...]
    whom: tuple[Table | Missing, ...]
    whom_pictures: tuple[Picture, ...]
    whom_reading: tuple[str, ...]
    promoted: tuple[tuple[str, str], ...] | Missing
    card: tuple[tuple[str, str], ...] | None
    external: tuple[Table | Missing, ...]
    external_pictures: tuple[Picture | Missing, ...]
    reading: tuple[str, ...]


Block = Table | Picture | Missing


def render(settings: Settings, inputs: Inputs, own: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        settings: for the title, the sites and the reference variant.
        inputs: what the other stages left.
        own: provenance of this very page.
    """
    environment = Environment(
        loader=PackageLoader("dgfnet.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    provenance = {**inputs.provenance, "report": dict(own)}
    return environment.get_template("page.html.j2").render(
        title=settings.report.title,
        origin=inputs.origin,
        about=inputs.about,
        cards=_cards(settings, inputs),
        flows=_flows(inputs),
        case_mix=Missing("The two cohorts side by side", "external")
        if inputs.case_mix is None
        else elsewhere.case_mix(inputs.case_mix),
        looked=() if inputs.audit is None else checks.sentences(inputs.enrolment, inputs.audit),
        shortcuts=Missing("Leaks and shortcuts", "audit")
        if inputs.audit is None
        else checks.shortcuts(inputs.audit),
        sites=[_site(settings, inputs, site) for site in inputs.sites],
        run=sentences.run_facts(inputs) or Missing("Settings of the cross-validation", "crossval"),
        model=diagram.model(used) if (used := sentences.settings_used(inputs)) else None,
        width=sentences.width(inputs),
        lineage=tables.lineage(provenance),
        warnings=sentences.warnings(inputs),
        checklists=checklists(inputs),
        versions=_versions(provenance),
        runs=tables.runs(inputs.sites) if any(site.variants for site in inputs.sites) else None,
    )


def _cards(settings: Settings, inputs: Inputs) -> list[list[Card]]:
    """Per site: the reference variant, the best model of one modality, and the external cohort."""
    rows, name = [], settings.compare.reference
    for site in inputs.sites:
        cards = []
        metrics = site.variants.get(name)
        if metrics:
            size = f"{text(metrics.get('n'))} nodules, {text(metrics.get('positives'))} positive"
            source = f"artifacts/crossval/{site.site}/{name}/metrics.json"
            cards.append(_card(f"{site.site}: {name}, out-of-fold AUC", metrics, size, source))
        single = {
            one: _area(metrics) for one, metrics in site.variants.items() if one.startswith(("us_", "ct_"))
        }
        areas = {one: area for one, area in single.items() if area is not None}
        if areas:
            best = max(areas, key=lambda one: areas[one])
            source = f"artifacts/crossval/{site.site}/{best}/metrics.json"
            cards.append(_card(f"{site.site}: best single modality, AUC", site.variants[best], best, source))
        record = site.external or {}
        if record.get("external"):
            size = f"version {text(record.get('version'))}, {text(record['external'].get('n'))} nodules"
            source = f"artifacts/external/{site.site}/metrics.json"
            cards.append(_card(f"{site.site}: external AUC", record["external"], size, source))
        rows.append(cards)
    return [cards for cards in rows if cards]


def _card(label: str, metrics: Json, detail: str, source: str) -> Card:
    interval = metrics.get("auc_interval") or {}
    words = f"{percent(interval.get('confidence'))} interval {limits(interval)}"
    return Card(label, number(interval.get("estimate")), f"{words}; {detail}", source)


def _area(metrics: Json) -> float | None:
    return known((metrics.get("auc_interval") or {}).get("estimate"))


def _flows(inputs: Inputs) -> list[tables.Flow] | Missing:
    if inputs.enrolment is None:
        return Missing("Cohort flow", "cohort")
    parts = {name: inputs.enrolment.get(name) for name in ("main", "external")}
    return [tables.flow(name, record, inputs.sites) for name, record in parts.items() if record]


def _site(settings: Settings, inputs: Inputs, site: SiteInputs) -> SiteView:
    reference = settings.compare.reference
    confidence = settings.base.confidence
    return SiteView(
        name=site.site,
        facts=sentences.facts(site, settings),
        results=_results(site, reference),
        pictures=_pictures(site, reference, confidence),
        folds=tables.folds(site) if site.variants else None,
        **_why(site),
        **_whom(site),
        promoted=_promoted(site),
        card=card(inputs, site),
        external=_external(site),
        external_pictures=(figures.external_roc(site) or Missing("ROC on the external cohort", "external"),)
        if site.external
        else (),
        reading=sentences.reading(site),
    )


def _why(site: SiteInputs) -> dict[str, Any]:
    """What the modalities say and where networks look, or what is missing."""
    facts, sound = site.attribution, site.sanity
    if facts is None or sound is None:
        missing = Missing("What each modality says", "attribute", site.not_explained or "")
        return {"why": (missing,), "why_reading": ()}
    located = why.located(site.site, facts)
    shown: list[Table | Picture | Missing] = [*why.pictures(site.site, site.drawn, facts, sound)]
    shown += [Missing(f"Figure {name}.png", "attribute") for name in DRAWN if name not in site.drawn]
    return {
        "why": (*shown, why.masses(site.site, facts), *([located] if located else [])),
        "why_reading": why.sentences(site.site, facts, sound),
    }


def _whom(site: SiteInputs) -> dict[str, Any]:
    """Groups of nodules and the rule for CT, or what is missing."""
    rows, tests, curve, facts = site.groups, site.interactions, site.frontier, site.rule
    if rows is None or tests is None or curve is None or facts is None:
        missing = Missing("Groups of nodules, and who needs CT", "applicability")
        return {"whom": (missing,), "whom_pictures": (), "whom_reading": ()}
    return {
        "whom": (whom.groups(site.site, rows),),
        "whom_pictures": whom.pictures(site.site, rows, curve, facts),
        "whom_reading": (*whom.sentences(tests, facts), *whom.elsewhere(site.rule_external)),
    }


def _results(site: SiteInputs, reference: str) -> tuple[Table | Missing, ...]:
    if not site.variants:
        return (Missing(f"Cross-validation, {site.site}", "crossval", site.skipped or ""),)
    found: list[Table | Missing] = [tables.performance(site, reference)]
    if site.differences is None:
        found.append(Missing("Paired AUC differences", "compare"))
    elif len(site.differences):
        found.append(tables.differences(site, site.differences))
    else:
        found.append(
            Missing("Paired AUC differences", "compare", f"there is no pair with {reference} to compare")
        )
    if site.pairs is None:
        found.append(Missing("All pairs of variants", "compare"))
    elif len(site.pairs) > len(site.variants) - 1:  # else all are in the table above
        found.append(comparison.pairs(site.site, site.pairs))
    found.append(
        Missing("Calibration", "compare")
        if site.calibration is None
        else comparison.calibration(site.site, site.calibration)
    )
    if site.optimism is not None and len(site.optimism):
        found.append(tables.optimism(site, site.optimism))
    for kind, name in tables.OVERLAPS.items():
        missing = Missing(f"Segmentation ({name})", "crossval", f"no fold reports {name}")
        found.append(tables.segmentation(site, kind) or missing)
    return tuple(found)


def _pictures(site: SiteInputs, reference: str, confidence: float) -> tuple[Picture | Missing, ...]:
    if not site.variants:
        return ()
    return (
        figures.ranking(site),
        figures.roc(site) or Missing("ROC", "crossval"),
        figures.calibration(site, reference, confidence)
        or Missing(f"Calibration of {reference}", "crossval"),
        Missing("Decision curves", "compare")
        if site.decision is None
        else comparison.decision(site.site, site.decision),
    )


def _promoted(site: SiteInputs) -> tuple[tuple[str, str], ...] | Missing:
    record = site.registered
    if record is None:
        return Missing(
            "Promoted model", "register", "the site was not cross-validated" if site.skipped else ""
        )
    criterion = record.get("criterion") or {}
    return (
        ("Model", f"{text(record.get('model'))} version {text(record.get('version'))}"),
        ("Alias", text(record.get("alias"))),
        ("Promoted", "yes" if record.get("promoted") else "no"),
        ("Why", text(record.get("reason"))),
        (
            "Chosen by",
            f"{text(criterion.get('name'))} of the held-out fold, {number(criterion.get('value'))}",
        ),
        ("Fold", text(record.get("fold"))),
        ("Threshold", number(record.get("threshold"))),
        ("MLflow run", text(record.get("source_run_id"))),
        ("Git commit", short(record.get("git_commit"))),
        ("Data md5", short(record.get("data_md5"))),
    )


def _external(site: SiteInputs) -> tuple[Table | Missing, ...]:
    if site.external is None:
        return (Missing("External validation", "external", site.external_skipped or ""),)
    return tables.transport(site), elsewhere.calls(site.site, site.external)


def _versions(provenance: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Releases of the libraries; of the cross-validation if it ran, else of this page."""
    record = provenance.get("crossval") or provenance["report"]
    libraries = [(name, str(release)) for name, release in (record.get("versions") or {}).items() if release]
    return [("python", text(record.get("python"))), *libraries, ("machine", text(record.get("machine")))]
