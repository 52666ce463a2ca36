"""The paper's Figures 3 and 4, and the curves of the sanity checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from dgfnet.attribution.contribution_panels import WORDS, panels
from dgfnet.attribution.saliency import SaliencyCase
from dgfnet.vocabulary import MODALITIES, Site

ORDERS = {"attribution": "highest attribution first", "random": "random order"}
OUTLINE, HALO = "black", "white"  # a line that no picture and no colour of a map hides
SMOOTH = 0.02  # standard deviation of the blur, share of the picture's side; for the eye only


def contributions(site: Site, table: pd.DataFrame, failed: Sequence[str]) -> Figure:
    """Draws the four panels of the paper's Figure 3, once centred and once as the paper does."""
    figure = Figure(figsize=(13.0, 6.6), layout="constrained")
    flag(figure, f"{site}: what ultrasound and CT say for the correct answer", failed)
    panels(figure, table, ("centred_", ""))
    return figure


def saliency(
    site: Site, cases: Sequence[SaliencyCase], labels: dict[str, int], failed: Sequence[str]
) -> Figure:
    """Draws a row per case: each modality plain, unimodal, multimodal, and multimodal by Grad-CAM.

    The unimodal and the multimodal map of a modality share one scale, which stands below them; Grad-CAM has
    its own. The bar of colours is as transparent over grey as the maps are over the picture.
    """
    figure = Figure(figsize=(16.5, 1.5 + 2.3 * max(1, len(cases))), layout="constrained")
    title = (
        f"{site}: red towards metastasis, blue against, black line round the nodule; "
        "both unimodal networks wrong, multimodal right"
    )
    flag(figure, title, failed)
    if not cases:
        figure.text(0.5, 0.4, "no such nodule", ha="center")
        return figure
    places = figure.add_gridspec(len(cases) + 1, 8, height_ratios=[1.0] * len(cases) + [0.07])
    grid = np.array([[figure.add_subplot(places[row, k]) for k in range(8)] for row in range(len(cases))])
    for row, case in enumerate(cases):
        for place, modality in enumerate(MODALITIES):
            panels = grid[row, 4 * place : 4 * place + 4]
            image, mask = case.images[modality], case.masks[modality]
            maps = [smoothed(case.unimodal[modality]), smoothed(case.multimodal[modality])]
            limit = max(float(np.abs(values).max()) for values in maps) or 1.0
            for axes, values in zip(panels[:3], [None, *maps], strict=True):
                panel(axes, image, mask, values, limit)
            cam = case.grad_cam[modality]
            coarse = float(np.abs(cam).max()) or 1.0
            panel(panels[3], image, mask, cam, coarse)
            for axes, largest in zip(panels[1:], (limit, limit, coarse), strict=True):
                axes.set_xlabel(f"\N{PLUS-MINUS SIGN}{largest:.2g}", fontsize=8)
            if row == 0:
                for axes, word in zip(panels, ("", "unimodal", "multimodal", "Grad-CAM"), strict=True):
                    axes.set_title(f"{WORDS[modality]} {word}".strip(), fontsize=10)
        truth = "metastasis" if labels[case.nodule_id] == 1 else "no metastasis"
        grid[row, 0].set_ylabel(f"case {row + 1}\n{truth}", fontsize=9)
    _bar(figure.add_subplot(places[-1, 2:6]))
    return figure


def _bar(axes: Axes) -> None:
    """Draws the colours of a map from its most negative to its most positive value."""
    values = np.linspace(-1, 1, 201, dtype=np.float32)[None]
    axes.imshow(np.full(values.shape, 0.5), cmap="gray", vmin=0, vmax=1, aspect="auto")
    coloured(axes, values, 1.0, aspect="auto")
    words = "log odds per pixel (Grad-CAM: per cell), as a share of the number below a map"
    axes.set(yticks=[], xlabel=words)
    ticks = ("\N{MINUS SIGN}1", "\N{MINUS SIGN}0.5", "0", "0.5", "1")
    axes.set_xticks([0, 50, 100, 150, 200], ticks, fontsize=8)


def checks(site: Site, results: dict[str, Any]) -> Figure:
    """Draws the similarity under shuffled weights and exchanged labels, deletion and insertion."""
    figure = Figure(figsize=(11.0, 3.8), layout="constrained")
    flag(figure, f"{site}: sanity of the attributions, {results['nodules']} nodules", results["failed"])
    left, *curves = figure.subplots(1, 3)
    parts = list(results["similarity"])
    left.plot([0, *range(1, len(parts) + 1)], [1.0, *results["similarity"].values()], "o-", color="#0072B2")
    left.axhline(results["limits"]["similarity"], color="0.6", linestyle="--", linewidth=0.9)
    names, title = ["trained", *(f"+ {part}" for part in parts)], "weights shuffled"
    if results["random_labels"] is not None:
        left.plot(len(names), results["random_labels"]["similarity"], "s", color="#D55E00")
        names, title = [*names, "labels\nwithout\nmeaning"], f"{title}, labels exchanged"
    left.set_xticks(range(len(names)), names, fontsize=8)
    left.set(title=title, ylabel="rank correlation with the trained map", ylim=(-0.3, 1.05))
    for axes, (kind, orders) in zip(curves, results["curves"].items(), strict=True):
        for (order, values), colour in zip(orders.items(), ("#D55E00", "0.5"), strict=True):
            axes.plot(np.linspace(0, 1, len(values)), values, color=colour, label=ORDERS[order])
        axes.set(title=kind, xlabel="share of the pixels", ylabel="log odds towards the decision")
        axes.legend(fontsize=8)
    return figure


def flag(figure: Figure, title: str, failed: Sequence[str]) -> None:
    """Writes the title; above a figure whose attributions failed a check, that in red."""
    if failed:
        figure.suptitle(f"NOT TRUSTWORTHY: {'; '.join(failed)}\n{title}", color="#D00000", fontsize=10)
    else:
        figure.suptitle(title, fontsize=11)


def smoothed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooths a map for the eye: numbers are never taken from it."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), SMOOTH * values.shape[-1]), dtype=np.float32)


def panel(
    axes: Axes,
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    values: NDArray[np.float32] | None,
    limit: float,
) -> None:
    """Draws a picture with the nodule's outline, and over it a map in diverging colours, -limit to limit."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    if values is not None:
        coloured(axes, values, limit)
    if mask.any() and not mask.all():
        line = axes.contour(mask, levels=[0.5], colors=OUTLINE, linewidths=1.0)
        line.set_path_effects([withStroke(linewidth=2.6, foreground=HALO)])
    axes.set(xticks=[], yticks=[])


def coloured(
    axes: Axes, values: NDArray[np.float32], limit: float, aspect: Literal["equal", "auto"] = "equal"
) -> None:
    """Draws a map in diverging colours from -limit to limit, the more transparent the smaller its values."""
    strength = np.clip(np.abs(values) / limit, 0, 1) ** 0.5
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.85 * strength, aspect=aspect)
