"""Why the fusion predicts what it predicts, as the stage attribute found it."""

from __future__ import annotations

import base64

from dgfnet.report.cells import number, signed, text, with_interval
from dgfnet.report.figures import Picture
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table

PAPER = {"central": "0.649", "lateral": "0.552"}  # Figure 3
REGIONS = {"inside": "inside the nodule", "rim": "on its rim", "outside": "outside"}


def sentences(site: str, facts: Json, checks: Json) -> tuple[str, ...]:
    """Whose word weighs more, how sure that is, and whether to believe the maps."""
    share, shapley = facts["us_above_ct"], facts["shapley"]
    first = (
        f"Ultrasound says more for the correct answer than CT in a share of "
        f"{with_interval(share)} of {text(share['n'])} nodules (the paper: {PAPER[site]} of its private "
        f"cohort); by Shapley values {with_interval(shapley['us_above_ct'])}."
    )
    others = ", ".join(
        f"{number(one['estimate'])} from {name} ({number(one['first'])} from {facts['baseline_family']})"
        for name, one in facts["stability"].items()
    )
    second = (
        f"The share depends on the baseline picture; of a subset of nodules it is {others}." if others else ""
    )
    error = facts["completeness"]
    third = (
        f"Attributions add up to the prediction to {number(error['largest'])} in log odds at worst; a share "
        f"of {number(error['within'])} of the nodules is within the {number(error['tolerance'])} asked for."
    )
    senseless = checks.get("random_labels")
    if checks["passed"]:
        taught = " and when the network learns labels without meaning" if senseless else ""
        last = (
            f"The maps passed the sanity checks: they change when weights are shuffled{taught}, pixels they "
            "name matter more than random ones, and little noise changes them little, on "
            f"{text(checks['nodules'])} nodules."
        )
    else:
        last = f"Do not trust the maps: {'; '.join(map(str, checks['failed']))}."
    untold = (facts.get("localisation") or {}).get("reason")
    truth = f"Maps could not be held against the true places of the signal: {untold}." if untold else ""
    again = _again(facts.get("repeatability") or {})
    return tuple(line for line in (first, second, third, last, _labels(senseless), truth, again) if line)


def _again(found: Json) -> str:
    """How alike the networks of the folds are."""
    if reason := found.get("reason"):
        return f"How alike the networks of the folds explain a nodule is not known: {reason}."
    if not found.get("pairs"):
        return ""

    def told(of: str, name: str) -> str:
        one = found[of][name]
        return f"{number(one['median'])} ({number(one['low'])} to {number(one['high'])})"

    learnt = ""
    if found["random_labels"]:
        more = found["labels_matter"]
        learnt = (
            f", with a network that learnt labels without meaning by {told('random_labels', 'blocks')}, "
            f"which is less by {number(more['estimate'])} ({number(more['low'])} to {number(more['high'])})"
        )
    return (
        f"On {text(found['nodules'])} external nodules that none of them saw, the networks of two folds "
        f"rank what ultrasound says alike by {told('pairs', 'us')}, what CT says by {told('pairs', 'ct')}, "
        f"the predictions by {told('pairs', 'prediction')} (rank correlation, median and range over pairs). "
        f"Their maps correlate by {told('pairs', 'maps')} pixel by pixel and by {told('pairs', 'blocks')} in "
        f"blocks of an eighth of the side{learnt}: read where a map lies, not its single pixels."
    )


def _labels(senseless: Json | None) -> str:
    """What the network that learnt labels without meaning is, so that the check can be judged."""
    if not senseless:
        return ""
    return (
        "Trained on labels exchanged between patients, the network separates them in training with an AUC of "
        f"{number(senseless['training_auc'])} and the true ones of nodules it never saw with "
        f"{number(senseless['held_out_auc'])} (0.5 on average over permutations; a single one lies on either "
        "side); its maps correlate with those shown by "
        f"{number(senseless['similarity'])} (by {number(senseless['absolute'])} without the signs, which the "
        "pictures' edges explain)."
    )


def masses(site: str, facts: Json) -> Table:
    """Where the attribution lies, unimodal against multimodal."""
    rows = tuple(
        Row(
            f"{str(one['modality']).upper()}, {REGIONS.get(one['region'], one['region'])}",
            (
                number(one["unimodal"]),
                number(one["multimodal"]),
                f"{signed(one['difference'])} ({signed(one['low'])} to {signed(one['high'])})",
            ),
        )
        for one in facts["masses"]
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


def located(site: str, facts: Json) -> Table | None:
    """Against the phantom's truth; None where there is none."""
    lines: dict[tuple[str, str], dict[str, Json]] = {}
    for one in (facts.get("localisation") or {}).get("regions", ()):
        lines.setdefault((one["modality"], one["region"]), {})[one["network"]] = one
    if not lines:
        return None
    rows = []
    for (modality, region), by in lines.items():
        both, alone = by.get("multimodal", {}), by.get("unimodal", {})
        told = [both.get("area"), both.get("contrast"), alone.get("mass"), both.get("mass")]
        above = [
            f"{signed(one['estimate'])} ({signed(one['low'])} to {signed(one['high'])})"
            for one in (both.get("above_area"), both.get("above_contrast"))
            if one
        ]
        cells = (*map(number, told), *(above or ("", "")))
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
    )


def pictures(site: str, drawn: dict[str, bytes], facts: Json, checks: Json) -> tuple[Picture, ...]:
    """The paper's Figures 3 and 4 as the stage drew them."""
    trust = "" if checks["passed"] else " Not to be trusted: a sanity check failed."
    found = []
    if "contributions" in drawn:
        found.append(
            Picture(
                _uri(drawn["contributions"]),
                alt=f"Contribution of CT against that of ultrasound per nodule, {site}: ultrasound says more "
                f"in {with_interval(facts['us_above_ct'])}.{trust}",
                title=f"What each modality says, {site} (the paper's Figure 3)",
                note="Integrated gradients towards the correct answer, by models that never saw the nodule.",
                source=f"artifacts/attribution/{site}/contributions.png",
            )
        )
    if "saliency" in drawn:
        found.append(
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
    return tuple(found)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
