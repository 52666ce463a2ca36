"""Figures as self-contained SVG in one style, in colours for colour-blind readers, with alternative text."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dgfnet.metrics.calibration import brier, calibration_slope_intercept, reliability
from dgfnet.metrics.discrimination import auc, confusion, roc_curve
from dgfnet.metrics.intervals import wilson
from dgfnet.report import published
from dgfnet.report.cells import MINUS, finite, limits, number
from dgfnet.report.hover import Hover
from dgfnet.report.inputs import SiteInputs

# Okabe & Ito, "Color Universal Design", 2008; ultrasound blue, CT orange, fusion green to purple
COLOURS = {
    "us_resnet": "#56B4E9",
    "us_tlr": "#56B4E9",
    "us_multitask": "#0072B2",
    "us_continued": "#0072B2",
    "ct_resnet": "#E69F00",
    "ct_multitask": "#E69F00",
    "ct_continued": "#E69F00",
    "concat": "#009E73",
    "sum": "#009E73",
    "product": "#CC79A7",
    "dgf": "#D55E00",
    "concat_record": "#006B4F",
    "sum_record": "#006B4F",
    "dgf_record": "#8F3F00",
    "size": "#999999",  # baselines in greys
    "clinical": "#666666",
    "radiomics": "#000000",
    "late": "#444444",
    "us_stack": "#003B5C",
    "ct_stack": "#8C5E00",
    "record_stack": "#004D33",
    "stack": "#5C1B00",
}
DASHES = {"us_tlr": ":", "us_multitask": "--", "ct_resnet": ":", "ct_multitask": "-.", "sum": ":"}
DASHES |= {"us_continued": "-.", "ct_continued": "--"}
DASHES |= {"concat_record": "-.", "sum_record": ":", "dgf_record": "--"}
DASHES |= {"size": ":", "clinical": "-.", "radiomics": "--", "late": ":", "us_stack": "--", "ct_stack": "-."}
INK, GREY, BLUE = "#1f2933", "#8a949e", "#0072B2"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "dgfnet",  # the same data give the same file
    "text.parse_math": False,  # names are not formulas
}
ROWS_PER_BIN, MOST_BINS = 25, 10
POINTED_AT = np.linspace(0.05, 0.95, 19)  # thresholds whose calls a pointer finds on a ROC curve


@dataclass(frozen=True)
class Picture:
    """A figure ready for the page.

    Attributes:
        uri: as a data URI; empty when it stands in the page itself.
        alt: alternative text with the numbers.
        title, note: its caption.
        source: the artifact it was drawn from.
        svg: an `<svg>` element whose points say their numbers under the pointer, of `Hover.inline`.
    """

    uri: str
    alt: str
    title: str
    note: str
    source: str
    svg: str = ""


def ranking(site: SiteInputs) -> Picture:
    """Draws the pooled AUC with interval per variant, its folds, and the paper's figure."""
    names = list(site.variants)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 1.25 + 0.42 * len(names)), layout="constrained")
        axes = figure.add_subplot(xlabel="AUC")
        for place, name in enumerate(names):
            _rank_line(axes, place, name, site)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0.5, color=GREY, linewidth=0.8)
        axes.grid(visible=False, axis="y")
        _rank_legend(axes, figure)
        uri = uri_of(figure)
    parts = [
        f"{name} {number(interval.get('estimate'))}, ({limits(interval)})"
        for name, metrics in site.variants.items()
        for interval in [metrics.get("auc_interval") or {}]
    ]
    return Picture(
        uri,
        alt=f"AUC and interval per variant, {site.site}: {'; '.join(parts)}.",
        title=f"AUC per variant, {site.site}",
        note="Filled: pooled AUC with its interval. Small dots: the folds. Open diamond: the paper's AUC "
        "on its private cohort. The grey line at 0.5 is guessing.",
        source=f"artifacts/crossval/{site.site}/<variant>/metrics.json",
    )


def roc(site: SiteInputs) -> Picture | None:
    """Draws the out-of-fold ROC curves of all variants; None when no table has both classes."""
    tables = {name: table for name, table in site.tables.items() if table["label"].nunique() == 2}
    if not tables:
        return None
    areas = {name: auc(table["label"], table["probability"]) for name, table in tables.items()}
    with matplotlib.rc_context(STYLE):
        figure, hover = Figure(figsize=(4.6, 4.6), layout="constrained"), Hover()
        axes = _roc_axes(figure)
        for place, (name, table) in enumerate(tables.items()):
            _roc_line(
                axes, table, f"{name}  {areas[name]:.3f}", colour_of(name, place), DASHES.get(name, "-")
            )
            _roc_points(hover, axes, table, name, colour_of(name, place))
        axes.legend(loc="lower right", title="out-of-fold AUC", fontsize=8, title_fontsize=8)
        drawn = hover.inline(figure, f"roc-{site.site}")
    return Picture(
        "",
        alt=f"ROC curves, {site.site}. Area under each: {_listed(areas)}.",
        title=f"ROC, {site.site}",
        note="Out-of-fold probabilities of all folds together; point at a curve for its calls.",
        source=f"artifacts/crossval/{site.site}/<variant>/out_of_fold.csv",
        svg=drawn,
    )


def calibration(site: SiteInputs, variant: str, confidence: float) -> Picture | None:
    """Draws the reliability diagram of one variant with counts; None without its table or with one class."""
    table = site.tables.get(variant)
    if table is None or table["label"].nunique() < 2:
        return None
    label, probability = table["label"], table["probability"]
    with matplotlib.rc_context(STYLE):
        figure, hover = Figure(figsize=(4.6, 5.2), layout="constrained"), Hover()
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        counts = _reliability(upper, hover, table, colour_of(variant, 0), confidence)
        edges = np.linspace(0, 1, 21).tolist()
        parts = [probability[label == 0], probability[label == 1]]
        lower.hist(parts, edges, stacked=True, color=["#c5ccd3", INK], label=["no metastasis", "metastasis"])
        lower.legend(fontsize=7, loc="upper right")
        lower.set(xlabel="predicted probability of metastasis", ylabel="nodules", xlim=(-0.02, 1.02))
        drawn = hover.inline(figure, f"calibration-{site.site}")
    fit = calibration_slope_intercept(label, probability)
    figures = (
        f"Slope {number(fit.slope, 2)} (1 is ideal), calibration in the large {number(fit.in_the_large, 2)} "
        f"(0 is ideal), Brier score {number(brier(label, probability))}"
    )
    return Picture(
        "",
        alt=f"Calibration of {variant}, {site.site}: positives among nodules by predicted probability, "
        f"{counts}. {figures}.",
        title=f"Calibration of {variant}, {site.site}",
        note=f"{figures}. Bars: Wilson intervals, nodules taken as independent.",
        source=f"artifacts/crossval/{site.site}/{variant}/out_of_fold.csv",
        svg=drawn,
    )


def external_roc(site: SiteInputs) -> Picture | None:
    """Draws the ROC of the promoted model on the external cohort with its threshold; None for one class."""
    table = site.predictions
    if table is None or table["label"].nunique() < 2:
        return None
    area = auc(table["label"], table["probability"])
    external = (site.external or {}).get("external") or {}
    sensitivity, specificity = finite(external.get("sensitivity")), finite(external.get("specificity"))
    with matplotlib.rc_context(STYLE):
        figure, hover = Figure(figsize=(4.6, 4.6), layout="constrained"), Hover()
        axes = _roc_axes(figure)
        _roc_line(axes, table, f"external  {area:.3f}", BLUE, "-")
        _roc_points(hover, axes, table, "external", BLUE)
        if sensitivity is not None and specificity is not None:
            axes.plot(
                1 - specificity,
                sensitivity,
                "D",
                color=COLOURS["dgf"],
                label="frozen threshold",
                clip_on=False,
            )
        axes.legend(loc="lower right", fontsize=8)
        drawn = hover.inline(figure, f"external-roc-{site.site}")
    return Picture(
        "",
        alt=f"ROC curve of the promoted model on the external cohort, {site.site}: area {area:.3f}; at the "
        f"frozen threshold sensitivity {number(sensitivity)}, specificity {number(specificity)}.",
        title=f"External ROC, {site.site}",
        note="Each step up is one positive nodule, each step right one negative; point at the curve for its "
        "calls.",
        source=f"artifacts/external/{site.site}/predictions.csv",
        svg=drawn,
    )


def _rank_line(axes: Axes, place: int, name: str, site: SiteInputs) -> None:
    metrics, colour = site.variants[name], colour_of(name, place)
    of_folds = [finite((fold.get("scores") or {}).get("auc")) for fold in metrics.get("folds") or []]
    dots = [value for value in of_folds if value is not None]
    axes.plot(dots, [place + 0.22] * len(dots), ".", color=GREY, markersize=4)
    interval = metrics.get("auc_interval") or {}
    estimate, low, high = (finite(interval.get(key)) for key in ("estimate", "low", "high"))
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
    if estimate is not None:
        axes.plot(estimate, place, "o", color=colour, markersize=6)
    paper = published.AUC.get(site.site, {}).get(name)
    if paper is not None:
        axes.plot(paper, place, "D", markerfacecolor="white", markeredgecolor=INK, markersize=5)


def _rank_legend(axes: Axes, figure: Figure) -> None:
    """Explains the marks with empty artists."""
    handles = [
        *axes.plot([], [], "o-", color=INK, linewidth=2, label="pooled"),
        *axes.plot([], [], ".", color=GREY, markersize=5, label="fold"),
        *axes.plot([], [], "D", markerfacecolor="white", markeredgecolor=INK, markersize=5, label="paper"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)


def _roc_axes(figure: Figure) -> Axes:
    axes = figure.add_subplot(xlabel=f"1 {MINUS} specificity", ylabel="sensitivity", aspect="equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    return axes


def _roc_line(axes: Axes, table: pd.DataFrame, label: str, colour: str, dashes: str) -> None:
    false_positive, true_positive = roc_curve(table["label"], table["probability"])
    axes.plot(false_positive, true_positive, dashes, color=colour, linewidth=1.8, label=label)


def _roc_points(hover: Hover, axes: Axes, table: pd.DataFrame, name: str, colour: str) -> None:
    """Lays the calls at some thresholds over a ROC curve, with their counts."""
    label, probability = table["label"], table["probability"]
    calls = [confusion(label, probability, float(threshold)) for threshold in POINTED_AT]
    positive, negative = int((label == 1).sum()), int((label == 0).sum())
    words = [
        f"{name}, positive from {threshold:.2f}: finds {call.true_positive} of {positive} with metastasis "
        f"(sensitivity {call.true_positive / positive:.3f}), clears {call.true_negative} of {negative} "
        f"without (specificity {call.true_negative / negative:.3f})"
        for threshold, call in zip(POINTED_AT, calls, strict=True)
    ]
    across, up = (
        [call.false_positive / negative for call in calls],
        [call.true_positive / positive for call in calls],
    )
    hover.add(axes, across, up, words, colour)


def _reliability(axes: Axes, hover: Hover, table: pd.DataFrame, colour: str, confidence: float) -> str:
    """Draws the points and their intervals; returns the counts in words."""
    bins = min(MOST_BINS, max(2, len(table) // ROWS_PER_BIN))
    curve = reliability(table["label"], table["probability"], bins)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    limits = [wilson(int(k), int(n), confidence) for k, n in zip(curve.positives, curve.count, strict=True)]
    axes.vlines(
        curve.predicted,
        [limit.low for limit in limits],
        [limit.high for limit in limits],
        color=colour,
        linewidth=1.2,
    )
    axes.plot(curve.predicted, curve.observed, "o", color=colour, markersize=5)
    words = [f"{k}/{n}" for k, n in zip(curve.positives, curve.count, strict=True)]
    for place, text in enumerate(words):  # on alternating sides, so that neighbours do not collide
        side, offset = ("right", (-5, 4)) if place % 2 else ("left", (5, -9))
        point = (float(curve.predicted[place]), float(curve.observed[place]))
        axes.annotate(text, point, offset, textcoords="offset points", ha=side, fontsize=7, color=INK)
    axes.set(ylabel="observed share with metastasis", ylim=(-0.06, 1.04))
    said = [
        f"predicted {p:.2f} on average, observed {text}: {share:.2f} ({limit.low:.2f} to {limit.high:.2f})"
        for p, text, share, limit in zip(curve.predicted, words, curve.observed, limits, strict=True)
    ]
    hover.add(axes, curve.predicted, curve.observed, said, colour)
    means = [f"{p:.2f}: {text}" for p, text in zip(curve.predicted, words, strict=True)]
    return ", ".join(means)


def colour_of(name: str, place: int) -> str:
    """Returns the colour of a variant; of an unknown name, by its place."""
    others = ("#000000", "#56B4E9", "#E69F00", "#CC79A7")
    return COLOURS.get(name, others[place % len(others)])


def _listed(areas: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {area:.3f}" for name, area in areas.items())


def uri_of(figure: Figure) -> str:
    """Returns the figure as a data URI; equal figures give equal text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
