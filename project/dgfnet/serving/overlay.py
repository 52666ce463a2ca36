"""Draws an answer: the images that were scored, outline of the nodule, region of interest, what moved it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dgfnet.cohort.readers import read_image
from dgfnet.files import write_figure
from dgfnet.preprocess.roi import find_square
from dgfnet.preprocess.windowing import to_grey
from dgfnet.sections.data import Preprocess
from dgfnet.serving.cases import Case
from dgfnet.vocabulary import Modality

NAMES = {"us": "Ultrasound", "ct": "CT"}
OUTLINE, REGION = "#ffb000", "#40b0ff"


def draw(
    case: Case,
    row: Mapping[str, Any],
    maps: Mapping[Modality, NDArray[np.float64]],
    settings: Preprocess,
    path: Path,
) -> None:
    """Writes a picture of a case and its answer: each image, and below it what its parts say.

    Args:
        case: read from files.
        row: its answer, with `nodule_id`.
        maps: its explanation, of `serving.answers.explain`.
        settings: of the model's preprocessing.
        path: of the PNG file.
    """
    figure = Figure(figsize=(5 * len(case.chosen), 10.2), layout="constrained")
    grid = figure.subplots(2, len(case.chosen), squeeze=False)
    limit = max((float(np.abs(values).max()) for values in maps.values()), default=0.0) or 1.0
    for (axis, below), (modality, image) in zip(grid.T, case.chosen.items(), strict=True):
        pixels, mask = read_image(image), case.drawn[modality]
        square = find_square(mask, settings.dilations(modality))
        grey = to_grey(pixels, image, settings)
        axis.imshow(grey, cmap="gray", vmin=0, vmax=255)
        for outline in _outlines(mask):
            axis.plot(*outline.T, color=OUTLINE, linewidth=1.2)
        corner = (square.left - 0.5, square.top - 0.5)
        region = Rectangle(corner, square.side, square.side, fill=False, edgecolor=REGION, linewidth=1.2)
        axis.add_patch(region)
        axis.set_xlim(min(-0.5, corner[0]), max(mask.shape[1] - 0.5, corner[0] + square.side))
        axis.set_ylim(max(mask.shape[0] - 0.5, corner[1] + square.side), min(-0.5, corner[1]))
        axis.set_title(_title(modality, row))
        axis.axis("off")
        below.axis("off")
        if modality not in maps:
            continue
        place = (corner[0], corner[0] + square.side, corner[1] + square.side, corner[1])  # rows downwards
        below.imshow(grey, cmap="gray", vmin=0, vmax=255)
        colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "alpha": 0.5}
        shown = below.imshow(maps[modality], extent=place, interpolation="nearest", **colours)
        below.set_xlim(place[0], place[1])
        below.set_ylim(place[2], place[3])
    if maps:
        bar = figure.colorbar(shown, ax=grid[1].tolist(), location="bottom", shrink=0.6)
        bar.set_label("log odds that a block takes away when it is covered", fontsize=9)
    decision = "positive" if row["decision"] == 1 else "negative"
    figure.suptitle(
        f"{row['nodule_id']}: {_risk(row)}probability {row['probability']:.3f}, called {decision} (threshold "
        f"{row['threshold']:.3f})\norange: nodule, blue: region that was scored; below it red: speaks for "
        "metastasis. Research use only",
        fontsize=10,
    )
    write_figure(figure, path)


def _risk(row: Mapping[str, Any]) -> str:
    """Returns the calibrated probability with its range, the number that the answer gives."""
    if pd.isna(row["calibrated"]):
        return ""
    return f"risk {row['calibrated']:.2f} ({row['calibrated_low']:.2f} to {row['calibrated_high']:.2f}), "


def _title(modality: str, row: Mapping[str, Any]) -> str:
    share = row[f"{modality}_contribution"]
    return NAMES[modality] + ("" if share is None or np.isnan(share) else f" ({share:+.2f} log odds)")


def _outlines(mask: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Returns closed lines around the nodule, (N, 2) points (x, y) each."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([line[:, 0], line[:1, 0]]) for line in contours]
