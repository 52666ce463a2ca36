"""All pairs of variants, calibration and decision curves, as the stage compare wrote them."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dgfnet.compare.centres import sentence
from dgfnet.report.cells import MINUS, finite, number, p_value, signed
from dgfnet.report.figures import DASHES, GREY, STYLE, Picture, colour_of
from dgfnet.report.hover import Hover
from dgfnet.report.tables import Row, Table

SHOWN = 20  # points of a decision curve that say their numbers
STAGES = {
    "before": "as the balanced network gives them",
    "predicted": "moved to the prevalence of the training folds",
    "scaled": "and divided by the other folds' temperature",
}


def pairs(site: str, frame: pd.DataFrame) -> Table:
    """Tabulates every pair of variants, by three tests."""
    rows = tuple(
        Row(
            f"{line['a']} {MINUS} {line['b']}",
            (
                signed(line["estimate"]),
                f"{signed(line['low'])} to {signed(line['high'])}",
                p_value(line["p_holm"]),
                f"{signed(line['boot_low'])} to {signed(line['boot_high'])}",
                f"{signed(line['folds_low'])} to {signed(line['folds_high'])}",
                p_value(line["folds_p_holm"]),
            ),
        )
        for line in frame.to_dict("records")
    )
    return Table(
        title=f"Every pair of variants, {site}",
        source=f"artifacts/compare/{site}/pairs.csv",
        corner=f"First {MINUS} second",
        head=("AUC", "DeLong", "p, Holm", "bootstrap", "over folds", "p, Holm"),
        rows=rows,
        note="DeLong and bootstrap: pooled nodules, those of a patient kept together. Over folds: corrected "
        "resampled t (Nadeau and Bengio 2003), which also feels how training differs between folds.",
        folded=True,
    )


def centres(site: str, variant: str, frame: pd.DataFrame, combined: pd.DataFrame) -> Table:
    """Tabulates a variant at every centre; what lies between them stands below."""
    rows = tuple(
        Row(
            str(line["centre"]),
            (
                f"{line['n']} ({line['positives']})",
                f"{number(line['auc'])} ({number(line['low'])}-{number(line['high'])})",
                number(line["sensitivity"]),
                number(line["specificity"]),
                number(line["slope"], 2),
                signed(line["in_the_large"]),
            ),
        )
        for line in frame[frame["variant"] == variant].to_dict("records")
    )
    own = combined[combined["variant"] == variant].to_dict("records")
    said = " ".join(map(sentence, own)) or "No centre has an AUC with limits."
    return Table(
        title=f"{variant} at every centre, {site}",
        source=f"artifacts/compare/{site}/centres.csv",
        corner="Centre",
        head=("Nodules (positive)", "AUC", "Sensitivity", "Specificity", "Slope", "In the large"),
        rows=rows,
        note=f"{said} Logits of the AUCs by random effects (REML, Hartung-Knapp). Held out "
        "by patients; with cohort.split: centres no network has seen the centre that it scores.",
    )


def calibration(site: str, frame: pd.DataFrame) -> Table:
    """Tabulates the calibration of each variant at each step from the network to the probability."""
    rows = tuple(
        Row(
            str(line["variant"]),
            (
                STAGES.get(str(line["stage"]), str(line["stage"])),
                number(line["brier"]),
                number(line["slope"], 2),
                signed(line["in_the_large"]),
                number(line["temperature"], 2),
            ),
            kind="strong" if line["stage"] == "predicted" else "",
        )
        for line in frame.to_dict("records")
    )
    return Table(
        title=f"Calibration, {site}",
        source=f"artifacts/compare/{site}/calibration.csv",
        corner="Variant",
        head=("Probabilities", "Brier", "Slope", "In the large", "Temperature"),
        rows=rows,
        note="A perfect model has slope 1 and 0 in the large. The highlighted probabilities are those used "
        "everywhere else on this page.",
        folded=True,
    )


def decision(site: str, frame: pd.DataFrame) -> Picture:
    """Draws the net benefit of every variant against the threshold probability."""
    curves = {str(name): curve for name, curve in frame.groupby("variant", sort=False)}
    everyone = curves.pop("everyone")
    best = max(float(frame["net_benefit"].max()), 0.05)
    with matplotlib.rc_context(STYLE):
        figure, hover = Figure(figsize=(4.8, 4.2), layout="constrained"), Hover()
        axes = figure.add_subplot(xlabel="probability at which somebody would act", ylabel="net benefit")
        axes.plot(
            everyone["threshold"], everyone["net_benefit"], color=GREY, linestyle="--", label="act on all"
        )
        axes.axhline(0.0, color=GREY, linewidth=0.9, label="none")
        for place, (name, curve) in enumerate(curves.items()):
            at, benefit, dashes = curve["threshold"], curve["net_benefit"], DASHES.get(name, "-")
            axes.plot(at, benefit, label=name, color=colour_of(name, place), linestyle=dashes)
        axes.set(xlim=(0, 1), ylim=(-0.12 * best, 1.05 * best))
        for place, (name, curve) in enumerate(curves.items()):
            _benefits(hover, axes, name, curve, everyone, colour_of(name, place))
        axes.legend(loc="upper right", fontsize=8)
        drawn = hover.inline(figure, f"decision-{site}")
    half = {
        name: finite(curve.loc[curve["threshold"] == 0.5, "net_benefit"].mean())
        for name, curve in curves.items()
    }
    listed = ", ".join(f"{name} {number(value)}" for name, value in half.items())
    return Picture(
        "",
        alt=f"Decision curves, {site}. Net benefit at a threshold of 0.5: {listed}.",
        title=f"Decision curves, {site}",
        note="True positives per person, less false positives weighted by the odds of the threshold: worth "
        "using where it is above both grey lines. Point at a curve for its numbers.",
        source=f"artifacts/compare/{site}/decision.csv",
        svg=drawn,
    )


def _benefits(
    hover: Hover, axes: Axes, name: str, curve: pd.DataFrame, everyone: pd.DataFrame, colour: str
) -> None:
    """Lays about every twentieth of the thresholds over a decision curve, where the picture shows it."""
    low, high = axes.get_ylim()
    rows = curve.merge(everyone, on="threshold", suffixes=("", "_all")).iloc[:: max(1, len(curve) // SHOWN)]
    rows = rows[rows["net_benefit"].between(low, high)]
    words = [
        f"{name}, acting from {row.threshold:.2f}: net benefit {number(row.net_benefit)}, acting on all "
        f"{number(row.net_benefit_all)}"
        for row in rows.itertuples()
    ]
    hover.add(axes, rows["threshold"], rows["net_benefit"], words, colour)
