"""Contributions of the modalities and attribution maps, as the stage attribute wrote them."""

from __future__ import annotations

import base64
from collections.abc import Hashable
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from dgfnet.attribution.contribution_panels import WORDS, limit_of, panels
from dgfnet.report.cells import number, signed, text, with_interval
from dgfnet.report.figures import STYLE, Picture
from dgfnet.report.hover import Hover
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table

REGIONS = {"inside": "inside the nodule", "rim": "on its rim", "outside": "outside"}


def statements(site: str, summary: Json, checks: Json) -> tuple[str, ...]:
    """Puts the share of nodules where US outweighs CT, its stability and the sanity checks into sentences."""
    centred = summary["centred"]
    share, raw = centred["us_above_ct"], summary["us_above_ct_of_label"]
    first = (
        "Beyond what each says of the average nodule, ultrasound says more for the correct answer than CT in "
        f"a share of {with_interval(share)} of {text(share['n'])} nodules; by Shapley values "
        f"{with_interval(centred['shapley_us_above_ct'])}."
    )
    uncentred = (
        "Taken from a baseline of probability 0.5 as in the paper, where only the sum of both is neutral, it "
        f"is {with_interval(summary['us_above_ct'])}: {number(raw.get('1'))} of the nodules with metastasis, "
        f"{number(raw.get('0'))} of the others. It turns on how many there are of either, so it is no "
        "measure for the paper's share."
    )
    argument = _rescued(centred["rescued"])
    family = summary["baseline_family"]
    others = ", ".join(
        f"{number(again['estimate'])} from {name} ({number(again['first'])} from {family})"
        for name, again in summary["stability"].items()
    )
    second = (
        f"The uncentred share depends on the baseline picture too; of a subset of nodules it is {others}."
        if others
        else ""
    )
    if blended := summary["baseline"]["other_patient"]:
        second += f" A share of {number(blended)} of the baselines holds some of another patient's picture."
    error = summary["completeness"]
    third = (
        f"Attributions add up to the prediction to {number(error['largest'])} in log odds at worst; a share "
        f"of {number(error['within'])} of the nodules is within the {number(error['tolerance'])} asked for."
    )
    random_label = checks.get("random_labels")
    if checks["passed"]:
        taught = " and when the network learns labels without meaning" if random_label else ""
        last = (
            f"The maps passed the sanity checks: they change when weights are shuffled{taught}, pixels they "
            "name matter more than random ones, and little noise changes them little, on "
            f"{text(checks['nodules'])} nodules."
        )
    else:
        last = f"Do not trust the maps: {'; '.join(map(str, checks['failed']))}."
    unlocated = (summary.get("localisation") or {}).get("reason")
    truth = f"Maps could not be held against the true places of the signal: {unlocated}." if unlocated else ""
    repeatability = _repeatability(summary.get("repeatability") or {})
    shares = (first, uncentred, argument, _record(summary.get("mean") or {}), second, third, last)
    lines = (*shares, _random_label(random_label), truth, repeatability)
    return tuple(line for line in lines if line)


def _record(means: Json) -> str:
    """Says what the record adds, where the fusion reads it."""
    if (adds := means.get("shapley_record")) is None:
        return ""
    return (
        f"The record, as a third player, adds {signed(adds)} log odds towards the correct answer on average, "
        "by Shapley values; maps and sums of pixels are of the pictures beside each nodule's own record."
    )


def _rescued(counts: Json) -> str:
    """Puts what the paper argues from into a sentence: a fusion that is right where a modality was wrong."""
    words = [
        f"of {text(each['wrong'])} nodules that {WORDS[name]} alone has wrong, the fusion has "
        f"{text(each['fusion_right'])} right, to {text(each['rightly'])} of them {WORDS[name]} contributes "
        "rightly"
        for name, each in counts.items()
    ]
    return f"The paper's argument for fusion, counted: {'; '.join(words)}."


def _repeatability(measured: Json) -> str:
    """Puts the agreement of the networks of different folds into sentences."""
    if reason := measured.get("reason"):
        return f"How alike the networks of the folds explain a nodule is not known: {reason}."
    if not measured.get("pairs"):
        return ""

    def spread(of: str, name: str) -> str:
        values = measured[of][name]
        return f"{number(values['median'])} ({number(values['low'])} to {number(values['high'])})"

    learnt = ""
    if measured["random_labels"]:
        more = measured["labels_matter"]
        learnt = (
            f", with a network that learnt labels without meaning by {spread('random_labels', 'blocks')}, "
            f"which is less by {number(more['estimate'])} ({number(more['low'])} to {number(more['high'])})"
        )
    return (
        f"On {text(measured['nodules'])} external nodules that none of them saw, the networks of two folds "
        f"rank what ultrasound says alike by {spread('pairs', 'us')}, what CT says by "
        f"{spread('pairs', 'ct')}, the predictions by {spread('pairs', 'prediction')} (rank correlation, "
        f"median and range over pairs). Their maps correlate by {spread('pairs', 'maps')} pixel by pixel and "
        f"by {spread('pairs', 'blocks')} in blocks of an eighth of the side{learnt}: read where a map lies, "
        "not its single pixels."
    )


def _random_label(model: Json | None) -> str:
    """Describes the random-label model, so that the check can be judged."""
    if not model:
        return ""
    return (
        "Trained on labels exchanged between patients, the network separates them in training with an AUC of "
        f"{number(model['training_auc'])} and the true ones of nodules it never saw with "
        f"{number(model['held_out_auc'])} (0.5 on average over permutations; a single one lies on either "
        "side); its maps correlate with those shown by "
        f"{number(model['similarity'])} (by {number(model['absolute'])} without the signs, which the "
        "pictures' edges explain)."
    )


def masses(site: str, summary: Json) -> Table:
    """Tabulates the attribution's share of each region, unimodal against multimodal."""
    rows = tuple(
        Row(
            f"{str(row['modality']).upper()}, {REGIONS.get(row['region'], row['region'])}",
            (
                number(row["unimodal"]),
                number(row["multimodal"]),
                f"{signed(row['difference'])} ({signed(row['low'])} to {signed(row['high'])})",
            ),
        )
        for row in summary["masses"]
    )
    return Table(
        title=f"Where the networks look, {site}",
        source=f"artifacts/attribution/{site}/summary.json",
        corner="Share of the attribution",
        head=("unimodal", "multimodal", "difference (interval)"),
        rows=rows,
        note="The paper says that fusion turns attention to the nodule. Here that is measured, on pairs of "
        "the same nodules.",
    )


def located(site: str, summary: Json) -> Table | None:
    """Tabulates the attribution's share of the phantom's true regions; None for cohorts without truth."""
    lines: dict[tuple[str, str], dict[str, Json]] = {}
    for region in (summary.get("localisation") or {}).get("regions", ()):
        lines.setdefault((region["modality"], region["region"]), {})[region["network"]] = region
    if not lines:
        return None
    rows = []
    for (modality, region), by in lines.items():
        both, unimodal = by.get("multimodal", {}), by.get("unimodal", {})
        shares = [both.get("area"), both.get("contrast"), unimodal.get("mass"), both.get("mass")]
        above = [
            f"{signed(gain['estimate'])} ({signed(gain['low'])} to {signed(gain['high'])})"
            for gain in (both.get("above_area"), both.get("above_contrast"))
            if gain
        ]
        cells = (*map(number, shares), *(above or ("", "")))
        rows.append(Row(f"{modality.upper()}, {region}", cells))
    return Table(
        title=f"Do the networks look where the signal is, {site}",
        source=f"artifacts/attribution/{site}/summary.json",
        corner="Region where the phantom shows what decides",
        head=(
            *("area", "contrast", "unimodal", "multimodal"),
            *("multimodal - area (interval)", "multimodal - contrast (interval)"),
        ),
        rows=tuple(rows),
        note="Share of the attribution towards the decision that lies in the region; of the area, and of the "
        "picture's distance from the baseline, where it would lie with gradients at random.",
        folded=True,
    )


def contributions(site: str, table: pd.DataFrame, summary: Json, checks: Json) -> Picture:
    """Draws the paper's Figure 3 so that a nodule under the pointer says its numbers.

    Nodules are named by their row in contributions.csv: the page holds no ids.
    """
    trust = "" if checks["passed"] else " Not to be trusted: a sanity check failed."
    table = table.assign(row=range(1, len(table) + 1))
    with matplotlib.rc_context(STYLE):
        figure, hover = Figure(figsize=(9.2, 6.4), layout="constrained"), Hover()
        grid, rows = panels(figure, table, ("centred_",))
        words = [_says(line) for line in rows.to_dict("records")]
        limit = limit_of(rows, "centred_")
        for (axes,), name in zip(grid[:2], ("us", "ct"), strict=True):
            ends = rows[f"centred_{name}"].clip(-limit, limit)
            hover.add(axes, range(len(rows)), ends, words, "#222222")
        drawn = hover.inline(figure, f"contributions-{site}")
    return Picture(
        "",
        alt=f"What ultrasound and CT say of every nodule, {site}, whether each alone and the fusion are "
        "right, and the truth: ultrasound says more in a share of "
        f"{with_interval(summary['centred']['us_above_ct'])}.{trust}",
        title=f"What each modality says, {site} (the paper's Figure 3)",
        note="Integrated gradients towards the correct answer, beyond what the modality says of the average "
        "nodule, by models that never saw the nodule. Point at the end of a bar for its nodule, named by its "
        "row in the table; the longest bars are cut. The stage draws it uncentred too, as "
        f"contributions.png.{trust}",
        source=f"artifacts/attribution/{site}/contributions.csv",
        svg=drawn,
    )


def _says(row: dict[Hashable, Any]) -> str:
    """Puts a nodule of Figure 3 into words."""
    truth = "metastasis" if row["label"] == 1 else "no metastasis"
    us, ct, fusion = (
        "right" if row[name] == 1 else "wrong" for name in ("us_correct", "ct_correct", "correct")
    )
    return (
        f"row {row['row']}, {truth}: ultrasound {signed(row['centred_us'])} ({us} alone), "
        f"CT {signed(row['centred_ct'])} ({ct} alone); fusion {fusion}"
    )


def pictures(site: str, drawn: dict[str, bytes], checks: Json) -> tuple[Picture, ...]:
    """Embeds the paper's Figure 4 as the stage drew it."""
    trust = "" if checks["passed"] else " Not to be trusted: a sanity check failed."
    shown = []
    if "saliency" in drawn:
        shown.append(
            Picture(
                _uri(drawn["saliency"]),
                alt=f"Ultrasound and CT of nodules that only the fusion predicts rightly, {site}, with red "
                f"where pixels speak for metastasis and blue where they speak against it.{trust}",
                title=f"Where the networks look, {site} (the paper's Figure 4)",
                note="Nodules that both unimodal networks had wrong and the fusion right; a black line "
                "round the nodule. Pictures of patients: mind who may see this page. "
                "One colour scale per pair; smoothed for display only.",
                source=f"artifacts/attribution/{site}/saliency.png",
            )
        )
    return tuple(shown)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
