"""The paper's Figure 3: what US and CT say of every nodule, which answers were right, and the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dgfnet.vocabulary import MODALITIES

WORDS = {"us": "ultrasound", "ct": "CT"}
RIGHT, WRONG = "#0072B2", "#D55E00"  # Okabe & Ito
METASTASIS, NONE = "#222222", "#C8C8C8"
TITLES = {
    "centred_": "beyond what it says of the average nodule",
    "": "from a baseline of probability 0.5, the paper's way",
}


def panels(
    figure: Figure, table: pd.DataFrame, kinds: Sequence[str]
) -> tuple[list[list[Axes]], pd.DataFrame]:
    """Draws four panels over the nodules, a column of them per kind of contributions.

    Those of US and of CT towards the correct answer, coloured by the network of that modality alone being
    right; the multimodal answer; the truth.

    Args:
        figure: to draw in.
        table: contributions.csv, at least one row.
        kinds: prefixes of the columns us and ct: `centred_`, or nothing.

    Returns:
        The axes, a row of them per panel, and the rows of the table in the order in which they stand.
    """
    first = f"{kinds[0]}us"
    rows = table.sort_values(["label", first], ascending=False, ignore_index=True)
    place, heights = np.arange(len(rows)), (5, 5, 0.7, 0.7)
    grid = figure.subplots(4, len(kinds), sharex=True, squeeze=False, height_ratios=heights)
    for column, kind in enumerate(kinds):
        grid[0, column].set_title(TITLES[kind], fontsize=10)
        limit = limit_of(rows, kind)
        for axes, modality in zip(grid[:2, column], MODALITIES, strict=True):
            right = rows[f"{modality}_correct"] == 1
            axes.bar(place, rows[f"{kind}{modality}"], width=1.0, color=np.where(right, RIGHT, WRONG))
            axes.axhline(0, color="0.3", linewidth=0.6)
            axes.set_ylim(-limit, limit)
            axes.set_ylabel(f"{WORDS[modality]}, log odds")
        strips = (("correct", RIGHT, WRONG), ("label", METASTASIS, NONE))
        for axes, (name, yes, no) in zip(grid[2:, column], strips, strict=True):
            axes.bar(place, 1, width=1.0, color=np.where(rows[name] == 1, yes, no))
            axes.set(yticks=[], ylim=(0, 1), xlim=(-0.5, len(rows) - 0.5))
        grid[2, column].set_ylabel("fusion", rotation=0, ha="right", va="center")
        grid[3, column].set_ylabel("truth", rotation=0, ha="right", va="center")
        grid[3, column].set_xlabel("nodules, by truth and by what ultrasound says")
    known = (("right", RIGHT), ("wrong", WRONG), ("metastasis", METASTASIS), ("none", NONE))
    handles = [Patch(color=colour, label=word) for word, colour in known]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return grid.tolist(), rows


def limit_of(table: pd.DataFrame, kind: str) -> float:
    """Returns where the bars of one kind are cut: one scale for both modalities that no outlier sets."""
    values = table[[f"{kind}{modality}" for modality in MODALITIES]].abs().to_numpy()
    return max(1.1 * float(np.quantile(values, 0.99)), 1e-9)
