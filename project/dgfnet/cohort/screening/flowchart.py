"""The enrolment flow as a figure: who came in, who left for which reason, who stayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dgfnet.cohort.screening.criteria import REASONS
from dgfnet.files import replacing

INK, PALE = "#1f2933", "#eef3f8"


def draw(path: Path, flow: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the figure (PNG): one column per cohort that enrolled anybody, the numbers of enrolment.json."""
    names = [name for name in ("main", "external") if flow[name]["enrolled"]["nodules"]]
    figure = Figure(figsize=(7.2 * len(names), 4.6), dpi=110)
    FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1)
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        _column(axes, name, flow[name])
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def lines(record: Mapping[str, Any]) -> list[str]:
    """Returns a line per reason to leave a cohort, with its counts."""
    out = [f"{words}\n    {_counts(record['excluded'][reason])}" for reason, words in REASONS.items()]
    return [*out, f"single pictures with lines or text, set aside\n    {record['images_set_aside']} images"]


def _column(axes: Axes, name: str, record: Mapping[str, Any]) -> None:
    _box(axes, 0.27, 0.90, f"{name} cohort, enrolled\n{_counts(record['enrolled'])}", PALE)
    _box(axes, 0.48, 0.50, "Excluded\n" + "\n".join(lines(record)), "white", "left")
    _box(axes, 0.27, 0.08, f"Kept\n{_counts(record['kept'])}", PALE)
    arrow = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(0.2, 0.15), xytext=(0.2, 0.83), arrowprops=arrow)
    axes.annotate("", xy=(0.455, 0.5), xytext=(0.2, 0.5), arrowprops=arrow)


def _box(axes: Axes, x: float, y: float, text: str, colour: str, align: str = "center") -> None:
    frame = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": INK}
    axes.text(x, y, text, ha=align, va="center", fontsize=9, color=INK, bbox=frame, linespacing=1.5)


def _counts(record: Mapping[str, int]) -> str:
    return f"{record['patients']} patients, {record['nodules']} nodules, {record['images']} images"
