"""The paper's Figure 5, and the frontier of CT rate against AUC."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dgfnet.applicability.rule import POLICIES
from dgfnet.vocabulary import Site

MODELS = {"us": ("ultrasound", "#0072B2"), "ct": ("CT", "#E69F00"), "both": ("both", "#D55E00")}
DASHES = {"rule": "-", "near threshold": "--", "random": ":"}


def groups(site: Site, rows: pd.DataFrame) -> Figure:
    """Draws a histogram of the groups, and the share that each model predicts correctly, with intervals."""
    attributes = list(dict.fromkeys(rows["attribute"]))
    widths = [max(2, int((rows["attribute"] == name).sum())) for name in attributes]
    figure = Figure(figsize=(1.6 + 1.15 * sum(widths), 5.2), layout="constrained")
    shape = {"width_ratios": widths or [1], "height_ratios": (1, 3)}
    grid = figure.add_gridspec(2, max(1, len(attributes)), **shape)
    most = rows["n"].max() if len(rows) else 1
    for place, attribute in enumerate(attributes):
        part = rows[rows["attribute"] == attribute].reset_index(drop=True)
        counts = figure.add_subplot(grid[0, place], title=attribute.replace("_", " "), ylim=(0, 1.05 * most))
        counts.bar(part.index, part["n"], width=0.7, color="0.75")
        counts.set_xticks([])
        axes = figure.add_subplot(grid[1, place], ylim=(0, 1), sharex=counts)
        for shift, (name, (words, colour)) in zip((-0.22, 0.0, 0.22), MODELS.items(), strict=True):
            share = part[f"correct_{name}"]
            error = np.vstack([share - part[f"correct_{name}_low"], part[f"correct_{name}_high"] - share])
            axes.errorbar(
                part.index + shift,
                share,
                yerr=error.clip(min=0),
                fmt="o",
                markersize=5,
                color=colour,
                label=words,
            )
        names = [f"{row.group}\nn = {row.n}{', small' if row.small else ''}" for row in part.itertuples()]
        axes.set_xticks(part.index, names, fontsize=8)
        axes.set_xlim(-0.6, len(part) - 0.4)
        if place == 0:
            counts.set_ylabel("nodules")
            axes.set_ylabel(f"{site}: predicted correctly")
            axes.legend(loc="lower left", fontsize=8)
        else:
            counts.set_yticklabels([])
            axes.set_yticklabels([])
    return figure


def frontier(site: Site, curve: pd.DataFrame, ct_share: float) -> Figure:
    """Draws the AUC against the share of nodules that get CT, for each way of choosing them."""
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.add_subplot(
        title=f"{site}: who gets CT",
        xlabel="share of nodules that get CT",
        ylabel="AUC of the mixed predictions",
    )
    for policy, colour in zip(POLICIES, ("#D55E00", "#0072B2", "0.5"), strict=True):
        part = curve[curve["policy"] == policy]
        axes.plot(part["ct_share"], part["auc"], color=colour, linestyle=DASHES[policy], label=policy)
    axes.axvline(ct_share, color="0.8", linewidth=0.9)
    axes.legend(loc="lower right")
    return figure
