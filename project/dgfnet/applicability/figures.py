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
    """Draws the share predicted correctly by each model in every group, with intervals and counts."""
    attributes = list(dict.fromkeys(rows["attribute"]))
    widths = [max(2, int((rows["attribute"] == name).sum())) for name in attributes]
    figure = Figure(figsize=(1.6 + 1.15 * sum(widths), 4.2), layout="constrained")
    grid = figure.add_gridspec(1, max(1, len(attributes)), width_ratios=widths or [1])
    for place, attribute in enumerate(attributes):
        axes = figure.add_subplot(grid[place], title=attribute.replace("_", " "), ylim=(0, 1))
        part = rows[rows["attribute"] == attribute].reset_index(drop=True)
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
            axes.set_ylabel(f"{site}: predicted correctly")
            axes.legend(loc="lower left", fontsize=8)
        else:
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
