"""The paper's tables 1-3, and one table of all variants of a site."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dgfnet.vocabulary import BASIC_FUSIONS, Site

COLUMNS = ("accuracy", "auc", "sensitivity", "specificity", "precision", "f1")
TLR = "US, transfer learning (Yu 2020)"
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
        ("mean of the three", BASIC_FUSIONS),
    ),
    3: (("mean of basic fusions", BASIC_FUSIONS), ("DGF", ("dgf",))),
}


def variant_rows(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Returns one row per variant: pooled AUC with interval, mean and sd over folds of every score."""
    return pd.DataFrame([_row(name, result) for name, result in results.items()])


def _row(variant: str, result: dict[str, Any]) -> dict[str, Any]:
    interval = result["auc_interval"]
    row = {"variant": variant, "n": result["n"], "positives": result["positives"]}
    row |= {"pooled_auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
    for name in COLUMNS:
        row[f"mean_{name}"], row[f"sd_{name}"] = result["mean"][name], result["sd"][name]
    return row


def variant_markdown(table: pd.DataFrame) -> str:
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
    """Returns the lines of the paper's tables 1-3, means over folds, of cross-validated models."""
    rows = []
    for number, lines in PAPER_TABLES.items():
        for method, variants in lines:
            chosen = [results[name] for name in variants if name in results]
            if len(chosen) < len(variants):  # a mean over some of the basic fusions would be another number
                continue
            row: dict[str, Any] = {
                "table": number,
                "site": site,
                "method": method,
                "variants": " ".join(variants),
            }
            for name in COLUMNS:
                values = [or_nan(result["mean"][name]) for result in chosen]
                row[name] = sum(values) / len(values)
            interval = chosen[0]["auc_interval"] if len(chosen) == 1 else {}
            row |= {
                "pooled_auc": interval.get("estimate"),
                "low": interval.get("low"),
                "high": interval.get("high"),
            }
            rows.append(row)
    return rows


def _cell(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def or_nan(value: float | None) -> float:
    """Returns the value, NaN for a missing one."""
    return math.nan if value is None else value


def paper_markdown(table: pd.DataFrame) -> str:
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
