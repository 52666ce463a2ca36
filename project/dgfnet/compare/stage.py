"""The stage `compare`: variants and baselines side by side, from their out-of-fold tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet import digests, files, provenance
from dgfnet.compare import attention, baselines, centres, curves, figures, modalities, pairs, usefulness
from dgfnet.compare.tables import or_nan, paper_markdown, paper_rows, variant_markdown, variant_rows
from dgfnet.errors import InputError
from dgfnet.results import check_same, load_chosen, load_nodules, load_results, load_table, tables_of
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

BANDS = 200  # resamples of a ROC curve's band, drawn and not read off


def run(settings: Settings) -> None:
    """Writes tables, tests, curves and figures of each site to artifacts/compare.

    Per site: table.csv and .md (all variants), differences.csv (reference against each), pairs.csv (all
    against all), baselines.csv (networks against baselines), modalities.csv (US against CT), attention.csv,
    calibration.csv, decision.csv, optimism.csv, roc_curve.csv, calibration_curve.csv, roc.png,
    calibration.png, decision.png; with `cohort.centre` centres.csv (every centre by itself) and
    heterogeneity.csv (how much they differ). For both: tables.csv and tables.md (the paper's tables 1-3),
    metrics.json (what `dvc metrics` shows).

    Raises:
        InputError: when no variant of any site has been cross-validated, or variants not on the same nodules.
    """
    folder = settings.artifacts("compare")
    pooled: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for site in settings.base.sites:
        results = load_results(settings, site)
        if results:
            tables = {name: load_table(settings, site, name) for name in results}
            check_same(tables)
            pooled[site] = _compare(folder / site, settings, site, results, tables)
            digests.keep(folder / site, tables_of(settings, site, tables))
            rows += paper_rows(site, results)
    if not pooled:
        raise InputError(
            f"{settings.artifacts('crossval')}: no cross-validated variant; run the stage crossval first"
        )
    layout = pd.DataFrame(rows)
    files.write_csv(layout, folder / "tables.csv")
    files.write_text(paper_markdown(layout), folder / "tables.md")
    files.write_json(folder / "metrics.json", pooled)
    provenance.write(folder, settings, sections=("base", "cohort", "compare"))


def _compare(
    folder: Path,
    settings: Settings,
    site: Site,
    results: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
) -> dict[str, dict[str, Any]]:
    """Writes everything about one site; returns its part of metrics.json."""
    base, section = settings.base, settings.compare
    rows = variant_rows(results)
    files.write_csv(rows, folder / "table.csv")
    beaten = baselines.against(tables, base.confidence)
    files.write_csv(beaten, folder / "baselines.csv")
    attended = attention.table(results)
    files.write_csv(attended, folder / "attention.csv")
    single = modalities.table(tables, base.confidence)
    files.write_csv(single, folder / "modalities.csv")
    said = [baselines.best(beaten, base.confidence), *map(attention.sentence, attended.to_dict("records"))]
    said += modalities.sentences(single)
    every = pairs.all_pairs(tables, results, base.confidence, section.replicates, base.seed)
    files.write_csv(every, folder / "pairs.csv")
    said += pairs.record_sentences(every, base.confidence)
    said += _by_centre(folder, settings, tables)
    files.write_text(
        variant_markdown(rows) + "".join(f"\n{words}\n" for words in said if words), folder / "table.md"
    )
    files.write_csv(pairs.differences(tables, section.reference, base.confidence), folder / "differences.csv")
    balanced = [name for name, result in results.items() if result["sampling"] == "train_only"]
    calibrated = usefulness.calibration(tables, balanced)
    files.write_csv(calibrated, folder / "calibration.csv")
    decisions = usefulness.decisions(tables)
    files.write_csv(decisions, folder / "decision.csv")
    files.write_csv(curves.roc(tables), folder / "roc_curve.csv")
    files.write_csv(curves.calibration(tables), folder / "calibration_curve.csv")
    files.write_csv(_optimism(settings, site, results), folder / "optimism.csv")
    band = (section.reference, base.confidence, BANDS, base.seed)
    files.write_figure(figures.roc(site, tables, *band), folder / "roc.png")
    files.write_figure(figures.calibration(site, tables), folder / "calibration.png")
    files.write_figure(figures.decision(site, decisions), folder / "decision.png")
    return curves.metrics(results, calibrated)


def _by_centre(folder: Path, settings: Settings, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Writes results by centre where settings name them, removes earlier ones; says what they mean."""
    column, confidence = settings.cohort.centre, settings.base.confidence
    if column is None:
        for name in (centres.FILE, centres.HETEROGENEITY):
            (folder / name).unlink(missing_ok=True)
        return []
    nodules = load_nodules(settings).set_index("nodule_id")
    if column not in nodules:
        raise InputError(
            f"cohort.centre: the nodules of the stage cohort have no column {column}; add it to nodules.csv "
            "and run the stage cohort again, or name another"
        )
    of = nodules[column].astype(str).str.strip()
    rows = centres.table(tables, of, confidence)
    combined = centres.summary(rows, confidence)
    files.write_csv(rows, folder / centres.FILE)
    files.write_csv(combined, folder / centres.HETEROGENEITY)
    return [centres.sentence(row) for row in combined.to_dict("records")]


def _optimism(settings: Settings, site: Site, results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Per searched variant and fold: inner AUC of the chosen trial, outer AUC of its settings, the gap."""
    chosen = load_chosen(settings)
    rows = []
    for variant, record in (chosen.get(site) or {}).items():
        if not results.get(variant, {}).get("searched"):
            continue
        pairs = zip(record["inner_score"], results[variant]["folds"], strict=True)
        for fold, (inner, result) in enumerate(pairs):
            outer = or_nan(result["scores"]["auc"])
            gap = or_nan(inner) - outer
            rows.append({"variant": variant, "fold": fold, "inner": inner, "outer": outer, "optimism": gap})
    return pd.DataFrame(rows, columns=["variant", "fold", "inner", "outer", "optimism"])
