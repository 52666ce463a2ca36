"""Contributions of the modalities and attribution maps, as the stage attribute wrote them."""

from __future__ import annotations

import base64

from dgfnet.report.cells import number, signed, text, with_interval
from dgfnet.report.figures import Picture
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table

PAPER = {"central": "0.649", "lateral": "0.552"}  # Figure 3
REGIONS = {"inside": "inside the nodule", "rim": "on its rim", "outside": "outside"}


def statements(site: str, summary: Json, checks: Json) -> tuple[str, ...]:
    """Puts the share of nodules where US outweighs CT, its stability and the sanity checks into sentences."""
    share, shapley = summary["us_above_ct"], summary["shapley"]
    first = (
        f"Ultrasound says more for the correct answer than CT in a share of "
        f"{with_interval(share)} of {text(share['n'])} nodules (the paper: {PAPER[site]} of its private "
        f"cohort); by Shapley values {with_interval(shapley['us_above_ct'])}."
    )
    family = summary["baseline_family"]
    others = ", ".join(
        f"{number(again['estimate'])} from {name} ({number(again['first'])} from {family})"
        for name, again in summary["stability"].items()
    )
    second = (
        f"The share depends on the baseline picture; of a subset of nodules it is {others}." if others else ""
    )
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
    return tuple(
        line
        for line in (first, second, third, last, _random_label(random_label), truth, repeatability)
        if line
    )


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


def pictures(site: str, drawn: dict[str, bytes], summary: Json, checks: Json) -> tuple[Picture, ...]:
    """Embeds the paper's Figures 3 and 4 as the stage drew them."""
    trust = "" if checks["passed"] else " Not to be trusted: a sanity check failed."
    shown = []
    if "contributions" in drawn:
        shown.append(
            Picture(
                _uri(drawn["contributions"]),
                alt=f"Contribution of CT against that of ultrasound per nodule, {site}: ultrasound says more "
                f"in {with_interval(summary['us_above_ct'])}.{trust}",
                title=f"What each modality says, {site} (the paper's Figure 3)",
                note="Integrated gradients towards the correct answer, by models that never saw the nodule.",
                source=f"artifacts/attribution/{site}/contributions.png",
            )
        )
    if "saliency" in drawn:
        shown.append(
            Picture(
                _uri(drawn["saliency"]),
                alt=f"Ultrasound and CT of nodules that only the fusion predicts rightly, {site}, with red "
                f"where pixels speak for metastasis and blue where they speak against it.{trust}",
                title=f"Where the networks look, {site} (the paper's Figure 4)",
                note="Nodules that both unimodal networks had wrong and the fusion right; outline of the "
                "nodule in red. Pictures of patients: mind who may see this page. "
                "One colour scale per pair; smoothed for display only.",
                source=f"artifacts/attribution/{site}/saliency.png",
            )
        )
    return tuple(shown)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
