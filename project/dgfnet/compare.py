"""The stage `compare`: variants side by side, from their out-of-fold tables."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from dgfnet import provenance
from dgfnet.errors import InputError
from dgfnet.metrics.intervals import auc_difference, holm
from dgfnet.settings import VARIANTS, Settings, Site

COLUMNS = ("accuracy", "auc", "sensitivity", "specificity", "precision", "f1")
TLR = "US, transfer learning (Yu 2020)"
BASIC = ("concat", "sum", "product")
TITLES = {1: "one modality", 2: "basic fusion", 3: "diverse granularity fusion"}
PAPER_TABLES: dict[int, tuple[tuple[str, tuple[str, ...]], ...]] = {  # words and the variants they stand for
    1: (
        (TLR, ("us_tlr",)),
        ("US, ResNet", ("us_resnet",)),
        ("US, with segmentation tasks", ("us_multitask",)),
        ("CT, ResNet", ("ct_resnet",)),
        ("CT, with segmentation tasks", ("ct_multitask",)),
    ),
    2: (
        ("concatenation", ("concat",)),
        ("element-wise sum", ("sum",)),
        ("element-wise product", ("product",)),
        ("mean of the three", BASIC),
    ),
    3: (("mean of basic fusions", BASIC), ("DGF", ("dgf",))),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999")


def run(settings: Settings) -> None:
    """Writes tables, differences.csv, optimism.csv and roc.png of each site to artifacts/compare.

    tables.csv and tables.md hold the paper's tables 1-3 of both sites, metrics.json what `dvc metrics` shows.

    Raises:
        InputError: when no variant of any site has been cross-validated.
    """
    folder = settings.artifacts("compare")
    pooled: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for site in settings.base.sites:
        results = load_results(settings, site)
        if not results:
            continue
        tables = {name: load_table(settings, site, name) for name in results}
        table = pd.DataFrame([_row(name, result) for name, result in results.items()])
        _write_csv(table, folder / site / "table.csv")
        with provenance.replacing(folder / site / "table.md") as temporary:
            temporary.write_text(_markdown(table), encoding="utf-8")
        _write_csv(_differences(settings, tables), folder / site / "differences.csv")
        with provenance.replacing(folder / site / "roc.png") as temporary:
            _roc(site, tables).savefig(temporary, dpi=120)
        _write_csv(_optimism(settings, site, results), folder / site / "optimism.csv")
        rows += paper_rows(site, results)
        pooled[site] = {name: {"auc": result["pooled"]["auc"]} for name, result in results.items()}
    if not pooled:
        raise InputError(
            f"{settings.artifacts('crossval')}: no cross-validated variant; run the stage crossval first"
        )
    layout = pd.DataFrame(rows)
    _write_csv(layout, folder / "tables.csv")
    with provenance.replacing(folder / "tables.md") as temporary:
        temporary.write_text(_paper_markdown(layout), encoding="utf-8")
    provenance.write_json(folder / "metrics.json", pooled)
    provenance.write(folder, settings, sections=("base", "compare"))


def load_results(settings: Settings, site: Site) -> dict[str, dict[str, Any]]:
    """metrics.json of each cross-validated variant of a site; empty when there is none."""
    found = sorted(settings.artifacts("crossval", site).glob("*/metrics.json"))
    results = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}
    return {name: results[name] for name in VARIANTS if name in results}


def load_table(settings: Settings, site: Site, variant: str) -> pd.DataFrame:
    """The out-of-fold table of a variant, in the order of nodule ids."""
    path = settings.artifacts("crossval", site, variant, "out_of_fold.csv")
    table = pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str})
    return table.sort_values("nodule_id", ignore_index=True)


def _row(variant: str, result: dict[str, Any]) -> dict[str, Any]:
    interval = result["auc_interval"]
    row = {"variant": variant, "n": result["n"], "positives": result["positives"]}
    row |= {"pooled_auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
    for name in COLUMNS:
        row[f"mean_{name}"], row[f"sd_{name}"] = result["mean"][name], result["sd"][name]
    return row


def _markdown(table: pd.DataFrame) -> str:
    """The table as Markdown: pooled AUC with its interval, then mean (sd) over folds."""
    head = [
        "variant",
        "pooled AUC (interval)",
        *(name.upper() if name == "auc" else name for name in COLUMNS),
    ]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in table.to_dict("records"):
        cells = [str(row["variant"]), f"{row['pooled_auc']:.3f} ({row['low']:.3f}-{row['high']:.3f})"]
        cells += [f"{row[f'mean_{name}']:.3f} ({row[f'sd_{name}']:.3f})" for name in COLUMNS]
        lines.append(" | ".join(cells))
    return "".join(f"| {line} |\n" for line in lines)


def paper_rows(site: Site, results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the paper's tables 1-3: means over folds. A model that was not cross-validated has no line."""
    rows = []
    for number, lines in PAPER_TABLES.items():
        for method, variants in lines:
            known = [results[name] for name in variants if name in results]
            if len(known) < len(variants):  # a mean over some of the basic fusions would be another number
                continue
            row: dict[str, Any] = {
                "table": number,
                "site": site,
                "method": method,
                "variants": " ".join(variants),
            }
            for name in COLUMNS:
                values = [_number(result["mean"][name]) for result in known]
                row[name] = sum(values) / len(values)
            one = known[0]["auc_interval"] if len(known) == 1 else {}
            row |= {"pooled_auc": one.get("estimate"), "low": one.get("low"), "high": one.get("high")}
            rows.append(row)
    return rows


def _cell(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _paper_markdown(table: pd.DataFrame) -> str:
    """The paper's tables 1-3 as Markdown."""
    parts = []
    for number, lines in table.groupby("table", sort=True):
        head = ["site", "model", "ACC", "AUC", "SENS", "SPEC", "PREC", "F1", "pooled AUC (interval)"]
        text = [f"## Table {number}: {TITLES[int(str(number))]}\n\n", f"| {' | '.join(head)} |\n"]
        text.append(f"| {' | '.join('---' for _ in head)} |\n")
        for row in lines.to_dict("records"):
            cells = [row["site"], row["method"], *(_cell(row[name]) for name in COLUMNS)]
            pooled = f"{row['pooled_auc']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
            cells.append("" if pd.isna(row["pooled_auc"]) else pooled)
            text.append(f"| {' | '.join(cells)} |\n")
        parts.append("".join(text))
    notes = ["Means over folds."]
    if (table["method"] == TLR).any():
        notes.append(f"{TLR}: a re-implementation; its head is unspecified in the public text.")
    return " ".join(notes) + "\n\n" + "\n".join(parts)


def _optimism(settings: Settings, site: Site, results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Per searched variant and fold: inner AUC of the chosen trial, outer AUC of its settings, the gap."""
    path = settings.artifacts("tune", "chosen.yaml")
    chosen = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = []
    for variant, record in (chosen.get(site) or {}).items():
        if not results.get(variant, {}).get("searched"):
            continue
        pairs = zip(record["inner_score"], results[variant]["folds"], strict=True)
        for fold, (inner, result) in enumerate(pairs):
            outer = _number(result["scores"]["auc"])
            gap = _number(inner) - outer
            rows.append({"variant": variant, "fold": fold, "inner": inner, "outer": outer, "optimism": gap})
    return pd.DataFrame(rows, columns=["variant", "fold", "inner", "outer", "optimism"])


def _differences(settings: Settings, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """AUC of the reference minus every other variant, paired over nodules, with Holm-corrected p-values."""
    reference = settings.compare.reference
    columns = ["a", "b", "estimate", "low", "high", "p", "p_holm"]
    if reference not in tables:
        return pd.DataFrame(columns=columns)
    base = tables[reference]
    rows = []
    for name, other in tables.items():
        if name == reference:
            continue
        if list(other["nodule_id"]) != list(base["nodule_id"]):
            raise InputError(
                f"{name} and {reference} were validated on different nodules; run the stage crossval again"
            )
        found = auc_difference(
            base["label"],
            base["probability"],
            other["probability"],
            base["patient_id"],
            settings.base.confidence,
        )
        rows.append({"a": reference, "b": name, **vars(found)})
    result = pd.DataFrame(rows, columns=columns[:-1])
    return result.assign(p_holm=holm(result["p"].to_numpy()))


def _roc(site: Site, tables: dict[str, pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    title = f"{site}: out-of-fold ROC"
    axes = figure.add_subplot(xlabel="1 - specificity", ylabel="sensitivity", title=title, aspect="equal")
    for colour, (name, table) in zip(COLOURS, tables.items(), strict=False):
        false_positive, true_positive, _ = roc_curve(table["label"], table["probability"])
        axes.plot(false_positive, true_positive, color=colour, label=name)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.legend(loc="lower right")
    return figure


def _write_csv(table: pd.DataFrame, path: Any) -> None:
    with provenance.replacing(path) as temporary:
        table.to_csv(temporary, index=False)
