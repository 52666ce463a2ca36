"""The stage `applicability`: subgroups of nodules (the paper's Figure 5), and the rule for CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet import digests, files, provenance
from dgfnet.applicability import figures, rule
from dgfnet.applicability.attributes import ASPECT, DIAMETER, NAMED, combined, grouped, measured
from dgfnet.applicability.groups import by_group, interactions
from dgfnet.cohort.screened import load_screened
from dgfnet.errors import InputError
from dgfnet.parallel import workers
from dgfnet.results import (
    check_same,
    is_cross_validated,
    load_external,
    load_nodules,
    load_results,
    load_table,
    required,
    sources,
    tables_of,
)
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

SECTIONS = ("base", "applicability")
PREDICTIONS = "predictions.csv"


def run(settings: Settings) -> None:
    """Writes artifacts/applicability: attributes, and per site the subgroup analysis and the rule.

    Per site: groups.csv, interactions.csv, frontier.csv, rule.json, groups.png, rule.png; and of the rule on
    the external cohort, where the champion was validated there, frontier_external.csv, rule_external.json or
    in it the reason why not.
    attributes.csv holds every nodule's attributes, attributes.json the agreement of measurement and manifest.
    A site for which one of the three variants was not cross-validated is skipped, and skipped.json says so.

    Raises:
        InputError: for a column of the settings that the cohort does not have.
    """
    nodules = load_nodules(settings).set_index("nodule_id")
    columns = (DIAMETER, ASPECT, *NAMED, *settings.applicability.columns)
    if absent := [name for name in settings.applicability.columns if name not in nodules]:
        raise InputError(
            f"applicability.columns: {', '.join(absent)} is no column of nodules.csv; it has "
            f"{', '.join(map(str, nodules.columns))}"
        )
    screened = load_screened(settings)
    table, agreement = combined(nodules, measured(screened.nodules, workers(settings.resources.memory_mb)))
    folder = settings.artifacts("applicability")
    attributes = table[[name for name in columns if name in table]]
    files.write_csv(attributes.reset_index(), folder / "attributes.csv")
    files.write_json(folder / "attributes.json", agreement)
    for site in settings.base.sites:
        _site(settings, site, attributes, folder / site)
    provenance.write(folder, settings, SECTIONS)


def _site(settings: Settings, site: Site, attributes: pd.DataFrame, folder: Path) -> None:
    chosen = settings.applicability
    variants = {"us": chosen.us, "ct": chosen.ct, "both": chosen.both}
    for name in (
        "groups.csv",
        "interactions.csv",
        "frontier.csv",
        "rule.json",
        "frontier_external.csv",
        "rule_external.json",
        "skipped.json",
        "groups.png",
        "rule.png",
        digests.NAME,
    ):
        (folder / name).unlink(missing_ok=True)
    absent = [name for name in variants.values() if not is_cross_validated(settings, site, name)]
    if absent:
        reason = f"not cross-validated: {', '.join(absent)}"
        files.write_json(folder / "skipped.json", {"reason": reason})
        return
    tables = {name: load_table(settings, site, variant) for name, variant in variants.items()}
    check_same(tables)
    groups = pd.DataFrame({name: grouped(attributes[name]) for name in attributes.columns})
    rows = by_group(tables, groups, chosen.smallest, settings.base.confidence)
    files.write_csv(rows, folder / "groups.csv")
    files.write_csv(interactions(rows, settings.base.confidence), folder / "interactions.csv")
    files.write_figure(figures.groups(site, rows), folder / "groups.png")
    us, both = tables["us"], tables["both"]
    numbers = attributes[[DIAMETER, ASPECT]].apply(pd.to_numeric, errors="coerce")
    curve, record = _evaluated(settings, us, both, rule.learned(us, both, numbers))
    files.write_csv(curve, folder / "frontier.csv")
    files.write_json(folder / "rule.json", record)
    files.write_figure(figures.frontier(site, curve, chosen.ct_share), folder / "rule.png")
    external = _external(settings, site)
    made_from = tables_of(settings, site, variants.values())
    if isinstance(external, str):
        files.write_json(folder / "rule_external.json", {"reason": external})
        digests.keep(folder, made_from)
        return
    expected = rule.expected_externally(us, both, numbers, external["us"], numbers)
    curve, record = _evaluated(settings, external["us"], external["both"], expected)
    files.write_csv(curve, folder / "frontier_external.csv")
    files.write_json(folder / "rule_external.json", {"n": len(expected), **record})
    made_from |= sources(settings, settings.artifacts("external", site, PREDICTIONS))
    digests.keep(folder, made_from)


def _external(settings: Settings, site: Site) -> dict[str, pd.DataFrame] | str:
    """Reads predictions of champion and US model on the external cohort; returns the reason if none."""
    metrics = load_external(settings, site)
    if metrics is None:
        return "the external cohort was not validated on at this site"
    if "fit" not in metrics:
        return "the external validation is of an earlier release; run the stage external again"
    us = metrics["alone"].get("us", {})
    if (us.get("variant"), metrics["variant"]) != (settings.applicability.us, settings.applicability.both):
        return (
            f"the champion is {metrics['variant']} with {us.get('variant', 'no model')} for US alone, "
            f"the rule is for {settings.applicability.both} and {settings.applicability.us}"
        )
    folds = load_results(settings, site)[metrics["variant"]]["folds"]
    if metrics["fit"] not in {fold["key"] for fold in folds}:
        return f"version {metrics['version']}, which was validated, is of another cross-validation"
    text = {"nodule_id": str, "patient_id": str}
    table = pd.read_csv(required(settings, "external", site, PREDICTIONS), dtype=text).assign(fold=0)
    return {
        "us": table.assign(probability=table["us_probability"], threshold=us["threshold"]),
        "both": table.assign(threshold=metrics["threshold"]),
    }


def _evaluated(
    settings: Settings, us: pd.DataFrame, both: pd.DataFrame, expected: rule.Scores
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluates the rule at every share of CT, and tests it at the chosen share."""
    chosen = settings.applicability
    curve = rule.frontier(us, both, expected, settings.base.seed)
    at = curve.iloc[(curve["ct_share"] - chosen.ct_share).abs().groupby(curve["policy"]).idxmin()]
    test = rule.better_than_chance(
        us, both, expected, chosen.ct_share, chosen.permutations, settings.base.seed
    )
    ends = curve[curve["policy"] == "rule"].iloc[[0, -1]]
    record = {
        "ct_share": chosen.ct_share,
        "policies": {row.policy: {"auc": row.auc, "net_benefit": row.net_benefit} for row in at.itertuples()},
        "us_for_all": {"auc": ends["auc"].iloc[0], "net_benefit": ends["net_benefit"].iloc[0]},
        "ct_for_all": {"auc": ends["auc"].iloc[1], "net_benefit": ends["net_benefit"].iloc[1]},
        "chosen_against_chance": test,
        "finds_who_benefits": bool(test["p"] < 1 - settings.base.confidence and test["improvement"] > 0),
    }
    return curve, record
