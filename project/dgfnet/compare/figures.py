"""Figures of the stage compare, in colours that colour-blind readers can tell apart (Okabe & Ito)."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count, cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dgfnet.compare.curves import BINS, GRID, band
from dgfnet.metrics.calibration import reliability
from dgfnet.metrics.discrimination import roc_curve
from dgfnet.vocabulary import BASELINES, Site

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999")
DASHES = ("-", "--", "-.")


def roc(
    site: Site, tables: dict[str, pd.DataFrame], reference: str, confidence: float, replicates: int, seed: int
) -> Figure:
    """Draws pooled out-of-fold ROC curves; around the reference a pointwise band, patients bootstrapped."""
    figure, axes = _square(f"{site}: out-of-fold ROC", "1 - specificity", "sensitivity")
    looks = _looks(tables)
    for name, table in tables.items():
        colour, dashes = looks[name]
        false_positive, true_positive = roc_curve(table["label"], table["probability"])
        axes.plot(false_positive, true_positive, dashes, color=colour, label=name)
        if name == reference:
            low, high = band(table, confidence, replicates, seed)
            axes.fill_between(GRID, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.legend(loc="lower right")
    return figure


def calibration(site: Site, tables: dict[str, pd.DataFrame]) -> Figure:
    """Draws the observed share of metastasis against predicted probability, in bins of equal numbers."""
    figure, axes = _square(f"{site}: calibration", "predicted probability", "observed share")
    looks = _looks(tables)
    for name, table in tables.items():
        colour, dashes = looks[name]
        points = reliability(table["label"], table["probability"], BINS)
        axes.plot(
            points.predicted, points.observed, dashes, marker="o", markersize=4, color=colour, label=name
        )
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.legend(loc="upper left")
    return figure


def decision(site: Site, curves: pd.DataFrame) -> Figure:
    """Draws net benefit against the probability at which somebody would act."""
    figure = Figure(figsize=(6.0, 4.5), layout="constrained")
    axes = figure.add_subplot(
        title=f"{site}: decision curves", xlabel="threshold probability", ylabel="net benefit per person"
    )
    everyone = curves[curves["variant"] == "everyone"]
    axes.plot(everyone["threshold"], everyone["net_benefit"], color="0.5", linestyle="--", label="all")
    axes.axhline(0, color="0.5", linewidth=0.8, label="none")
    names = [str(name) for name in curves["variant"].unique() if name != "everyone"]
    for name, (colour, dashes) in _looks(names).items():
        curve = curves[curves["variant"] == name]
        axes.plot(curve["threshold"], curve["net_benefit"], dashes, color=colour, label=name)
    best = float(curves["net_benefit"].max())
    axes.set(xlim=(0, 1), ylim=(-0.15 * max(best, 0.1), 1.1 * max(best, 0.1)))
    axes.legend(loc="upper right")
    return figure


def _looks(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Returns colour and line of each name: whole, then dashed, for networks; dotted for baselines."""
    dotted = [name for name in names if name in BASELINES]
    whole = [name for name in names if name not in BASELINES]
    lines = (cycle(COLOURS), (DASHES[at // len(COLOURS) % len(DASHES)] for at in count()))
    looks = dict(zip(whole, zip(*lines, strict=False), strict=False))
    return looks | {name: (colour, ":") for name, colour in zip(dotted, cycle(COLOURS[::-1]), strict=False)}


def _square(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    return figure, figure.add_subplot(xlabel=across, ylabel=up, title=title, aspect="equal")
