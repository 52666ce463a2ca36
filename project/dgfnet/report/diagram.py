"""The model in one picture, drawn with the settings that were trained."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dgfnet.report.cells import text
from dgfnet.report.figures import GREY, INK, STYLE, Picture, uri_of
from dgfnet.report.inputs import Json

US, CT, BOTH = "#0072B2", "#E69F00", "#D55E00"
LEVELS = {  # the paper's three granularities, and the values that interact at each
    "dimension": "feature dimension level\nvalues of one nodule's US and CT features",
    "modality": "modality level\nUS and CT of one nodule",
    "nodule": "nodule level\nthis nodule and reference nodules",
}
COMBINED = {"product": "multiplied", "sum": "summed", "concat": "concatenated"}

Box = tuple[float, float, float, float]  # left, middle height, width, height


def model(used: Json) -> Picture:
    """Draws DGFNet from pixels to probability.

    Args:
        used: the settings of the cross-validation.
    """
    preprocess, network = used.get("preprocess") or {}, used.get("network") or {}
    dgf = network.get("dgf") or {}
    branches = [name for name in LEVELS if name in (dgf.get("branches") or LEVELS)]
    combined = COMBINED.get(str(dgf.get("combiner")), text(dgf.get("combiner")))
    encoder = "/".join(sorted({str(name) for name in (network.get("encoder") or {}).values()})) or "ResNet"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.9), layout="constrained")
        axes = figure.add_subplot(xlim=(-0.5, 100.5), ylim=(-2, 42))
        axes.axis("off")
        ends = []
        for height, modality, colour in ((31, "us", US), (9, "ct", CT)):
            size = text(preprocess.get(f"{modality}_size"))
            name = "ultrasound" if modality == "us" else "CT"
            image = _box(axes, (0, height, 15, 8), f"{name}\nregion of interest\n{size} x {size}", colour)
            coded = _box(axes, (19, height, 13, 8), f"encoder\n{encoder}", colour)
            _arrow(axes, image, coded)
            far = height + (7.5 if modality == "us" else -7.5)
            masks = _box(axes, (19, far, 13, 4.5), "masks of nodule\nand its boundary", colour, dashed=True)
            axes.annotate(
                "",
                (25.5, far + (-2.25 if modality == "us" else 2.25)),
                (25.5, height + (4 if modality == "us" else -4)),
                arrowprops={"arrowstyle": "-|>", "color": GREY, "linestyle": "--"},
            )
            ends.append((coded, masks))
        places = {1: (20,), 2: (27, 13), 3: (31, 20, 9)}[len(branches)]
        joint = _box(
            axes, (76, 20, 10, 8), f"three levels\n{combined}" if len(branches) == 3 else combined, BOTH
        )
        for height, name in zip(places, branches, strict=True):
            level = _box(axes, (39, height, 30, 8), LEVELS[name], BOTH)
            for coded, _ in ends:
                _arrow(axes, coded, level)
            _arrow(axes, level, joint)
        probability = _box(axes, (90, 20, 10, 8), "probability of\nmetastasis", INK)
        _arrow(axes, joint, probability)
        uri = uri_of(figure)
    return Picture(
        uri,
        alt=f"US and CT regions pass an encoder each; {len(branches)} levels of fusion "
        f"({', '.join(branches)}) see both, are {combined}, and give a probability. Decoders for masks of "
        "nodule and boundary help training.",
        title="The model in one picture",
        note="Dashed: tasks that only help training. The other variants use one row alone, or join the "
        "encoders' features directly.",
        source="artifacts/crossval/provenance.json",
    )


def _box(axes: Axes, place: Box, words: str, colour: str, dashed: bool = False) -> Box:
    left, middle, width, height = place
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.8",
            facecolor="white",
            edgecolor=colour,
            linewidth=1.4,
            linestyle="--" if dashed else "-",
        )
    )
    axes.text(left + width / 2, middle, words, ha="center", va="center", fontsize=7.5)
    return place


def _arrow(axes: Axes, start: Box, end: Box) -> None:
    axes.annotate(
        "",
        (end[0], end[1]),
        (start[0] + start[2], start[1]),
        arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0},
    )
