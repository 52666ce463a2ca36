"""One HTML page from the inputs: the order of its blocks, and notices of missing ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dgfnet.report import (
    applicability,
    attribution,
    audit,
    comparison,
    diagram,
    enrolment,
    external,
    figures,
    statements,
    tables,
)
from dgfnet.report.card import card
from dgfnet.report.cells import finite, limits, number, percent, short, text
from dgfnet.report.checklists import checklists
from dgfnet.report.figures import Picture
from dgfnet.report.inputs import DRAWN, Json, ReportInputs, SiteInputs
from dgfnet.report.tables import Table
from dgfnet.report.verdict import verdict
from dgfnet.settings import Settings


@dataclass(frozen=True)
class Missing:
    """A block that cannot be shown, and the stage that makes it; without a stage, only the reason."""

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
    """The blocks of the page about one site."""

    name: str
    analysed: tuple[str, ...]
    beaten: tuple[str, ...]
    beaten_from: tuple[str, ...]
    results: tuple[Table | Missing, ...]
    pictures: tuple[Picture | Missing, ...]
    folds: Table | None
    explained: str
    attribution: tuple[Table | Picture | Missing, ...]
    attribution_statements: tuple[str, ...]
    applicability: tuple[Table | Missing, ...]
    applicability_pictures: tuple[Picture, ...]
    applicability_statements: tuple[str, ...]
    promoted: tuple[tuple[str, str], ...] | Missing
    card: tuple[tuple[str, str], ...] | None
    external: tuple[Table | Missing, ...]
    external_pictures: tuple[Picture | Missing, ...]
    external_statements: tuple[str, ...]


Block = Table | Picture | Missing


def render(settings: Settings, inputs: ReportInputs, own: Mapping[str, Any], written: date) -> str:
    """Renders the page as HTML.

    Args:
        settings: for the title, the sites and the reference variant.
        inputs: artifacts of the other stages.
        own: provenance of this very page.
        written: its date.
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
        written=written,
        verdict=verdict(settings, inputs),
        origin=inputs.origin,
        about=inputs.about,
        cards=_cards(settings, inputs),
        flows=_flows(inputs),
        case_mix=Missing("The two cohorts side by side", "external")
        if inputs.case_mix is None
        else external.case_mix(inputs.case_mix),
        audit=() if inputs.audit is None else audit.statements(inputs.enrolment, inputs.audit),
        shortcuts=Missing("Leaks and shortcuts", "audit")
        if inputs.audit is None
        else audit.shortcuts(inputs.audit),
        sites=[_site(settings, inputs, site) for site in inputs.sites],
        run=statements.training_run(inputs) or Missing("Settings of the cross-validation", "crossval"),
        model=diagram.model(used) if (used := statements.settings_used(inputs)) else None,
        width=statements.width(inputs),
        lineage=tables.lineage(provenance),
        warnings=statements.warnings(inputs),
        checklists=checklists(inputs),
        versions=_versions(provenance),
    )


def _cards(settings: Settings, inputs: ReportInputs) -> list[list[Card]]:
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
            variant: _area(metrics)
            for variant, metrics in site.variants.items()
            if variant.startswith(("us_", "ct_"))
        }
        areas = {variant: area for variant, area in single.items() if area is not None}
        if areas:
            best = max(areas, key=lambda variant: areas[variant])
            source = f"artifacts/crossval/{site.site}/{best}/metrics.json"
            cards.append(_card(f"{site.site}: best single modality, AUC", site.variants[best], best, source))
        record = site.external or {}
        if record.get("external"):
            version = f"{text(record.get('variant'))} version {text(record.get('version'))}"
            size = f"{version}, {text(record['external'].get('n'))} nodules"
            source = f"artifacts/external/{site.site}/metrics.json"
            cards.append(_card(f"{site.site}: external AUC", record["external"], size, source))
        rows.append(cards)
    return [cards for cards in rows if cards]


def _card(label: str, metrics: Json, detail: str, source: str) -> Card:
    interval = metrics.get("auc_interval") or {}
    words = f"{percent(interval.get('confidence'))} interval {limits(interval)}"
    return Card(label, number(interval.get("estimate")), f"{words}; {detail}", source)


def _area(metrics: Json) -> float | None:
    return finite((metrics.get("auc_interval") or {}).get("estimate"))


def _flows(inputs: ReportInputs) -> list[enrolment.Flow] | Missing:
    if inputs.enrolment is None:
        return Missing("Cohort flow", "cohort")
    parts = {name: inputs.enrolment.get(name) for name in ("main", "external")}
    return [enrolment.flow(name, record, inputs.sites) for name, record in parts.items() if record]


def _site(settings: Settings, inputs: ReportInputs, site: SiteInputs) -> SiteView:
    reference = settings.compare.reference
    confidence = settings.base.confidence
    return SiteView(
        name=site.site,
        analysed=statements.analysed(site, settings),
        beaten=statements.beaten(site, settings),
        beaten_from=statements.beaten_from(site),
        results=_results(site, reference),
        pictures=_pictures(site, reference, confidence),
        folds=tables.folds(site) if site.variants else None,
        explained=str((site.attribution or {}).get("variant") or "it"),
        **_attribution(site),
        **_applicability(site, _settings_of(inputs, "applicability")),
        promoted=_promoted(site),
        card=card(inputs, site),
        external=_external(site),
        external_pictures=(figures.external_roc(site) or Missing("ROC on the external cohort", "external"),)
        if site.external
        else (),
        external_statements=statements.external_interval(site),
    )


def _attribution(site: SiteInputs) -> dict[str, Any]:
    """Contributions of the modalities and attribution maps, or what is missing."""
    summary, checks = site.attribution, site.sanity
    if summary is None or checks is None:
        missing = Missing("What each modality says", "attribute", site.not_explained or "")
        return {"attribution": (missing,), "attribution_statements": ()}
    located = attribution.located(site.site, summary)
    shown: list[Table | Picture | Missing] = [
        Missing("Figure 3", "attribute")
        if site.contributions is None
        else attribution.contributions(site.site, site.contributions, summary, checks),
        *attribution.pictures(site.site, site.drawn, checks),
    ]
    shown += [Missing(f"Figure {name}.png", "attribute") for name in DRAWN if name not in site.drawn]
    return {
        "attribution": (*shown, attribution.masses(site.site, summary), *([located] if located else [])),
        "attribution_statements": attribution.statements(site.site, summary, checks),
    }


def _settings_of(inputs: ReportInputs, stage: str) -> Json:
    """Returns the section of a stage's own settings that it recorded; empty when it has not run."""
    used: Json = (inputs.provenance.get(stage) or {}).get("settings") or {}
    return used.get(stage) or {}


def _applicability(site: SiteInputs, models: Json) -> dict[str, Any]:
    """Groups of nodules and the rule for CT, or what is missing."""
    rows, tests, curve, rule = site.groups, site.interactions, site.frontier, site.rule
    if rows is None or tests is None or curve is None or rule is None:
        missing = Missing("Groups of nodules, and who needs CT", "applicability")
        return {"applicability": (missing,), "applicability_pictures": (), "applicability_statements": ()}
    return {
        "applicability": (applicability.groups(site.site, rows, models),),
        "applicability_pictures": applicability.pictures(site.site, rows, curve, rule),
        "applicability_statements": (
            *applicability.statements(tests, rule),
            *applicability.external_statements(site.rule_external),
        ),
    }


def _results(site: SiteInputs, reference: str) -> tuple[Table | Missing, ...]:
    if not site.variants:
        return (Missing(f"Cross-validation, {site.site}", "crossval", site.skipped or ""),)
    shown: list[Table | Missing] = [tables.performance(site, reference)]
    if site.differences is None:
        shown.append(Missing("Paired AUC differences", "compare"))
    elif len(site.differences):
        shown.append(tables.differences(site, site.differences))
    else:
        shown.append(
            Missing("Paired AUC differences", "compare", f"there is no pair with {reference} to compare")
        )
    if site.pairs is None:
        shown.append(Missing("All pairs of variants", "compare"))
    elif len(site.pairs) > len(site.variants) - 1:  # else all are in the table above
        shown.append(comparison.pairs(site.site, site.pairs))
    if site.baselines is None:
        shown.append(Missing("Networks against baselines", "compare"))
    elif len(site.baselines):
        shown.append(tables.baselines(site, site.baselines))
    chosen = (site.registered or {}).get("variant", reference)
    if site.centres is not None and site.heterogeneity is not None:
        shown.append(comparison.centres(site.site, chosen, site.centres, site.heterogeneity))
    shown.append(
        Missing("Calibration", "compare")
        if site.calibration is None
        else comparison.calibration(site.site, site.calibration)
    )
    if site.optimism is not None and len(site.optimism):
        shown.append(tables.optimism(site, site.optimism))
    if (boxes := (site.registered or {}).get("boxes")) is not None:
        shown.append(external.boxes_inside(site.site, boxes))
    if (site.registered or {}).get("sets") is not None:
        shown.append(external.abstention(site.site, site.registered or {}, site.external or {}))
    for kind, name in tables.OVERLAPS.items():
        missing = Missing(f"Segmentation ({name})", "crossval", f"no fold reports {name}")
        shown.append(tables.segmentation(site, kind) or missing)
    return tuple(shown)


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
    return (
        ("Model", f"{text(record.get('model'))} version {text(record.get('version'))}"),
        ("Variant", text(record.get("variant"))),
        ("Alias", text(record.get("alias"))),
        ("Promoted", "yes" if record.get("promoted") else "no"),
        ("Why", text(record.get("reason"))),
        *_networks(record),
        ("Threshold", number(record.get("threshold"))),
        ("Git commit", short(record.get("git_commit"))),
        ("Data md5", short(record.get("data_md5"))),
    )


def _networks(record: Json) -> tuple[tuple[str, str], ...]:
    if record.get("scoring") == "ensemble":
        return (("Networks", "those of all folds, their log odds averaged"),)
    criterion = record.get("criterion") or {}
    chosen = f"{text(criterion.get('name'))} of the held-out fold, {number(criterion.get('value'))}"
    return ("Chosen by", chosen), ("Fold", text(record.get("fold")))


def _external(site: SiteInputs) -> tuple[Table | Missing, ...]:
    split = (
        Missing("One split and its best epoch", "holdout", site.not_split or "")
        if site.holdout is None
        else external.split_once(site, site.holdout)
    )
    if site.external is None:
        return Missing("External validation", "external", site.external_skipped or ""), split
    boxes = [external.boxes_outside(site.site, site.external)] if site.external.get("boxes") else []
    return external.transport(site), external.calls(site.site, site.external), *boxes, split


def _versions(provenance: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Returns the releases of the libraries: of the cross-validation if it ran, else of this page."""
    record = provenance.get("crossval") or provenance["report"]
    libraries = [(name, str(release)) for name, release in (record.get("versions") or {}).items() if release]
    return [("python", text(record.get("python"))), *libraries, ("machine", text(record.get("machine")))]
