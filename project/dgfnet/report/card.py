"""Model card of a promoted model (Mitchell et al. 2019, FAT*: Model cards for model reporting)."""

from __future__ import annotations

import html
import re

from dgfnet.compare.baselines import sentence
from dgfnet.report.cells import (
    finite,
    number,
    percent,
    short,
    signed,
    signed_with_interval,
    text,
    with_interval,
)
from dgfnet.report.external import beaten
from dgfnet.report.inputs import Json, ReportInputs, SiteInputs

Lines = tuple[tuple[str, str], ...]

INTENDED = (
    "Research on predicting lymph-node metastasis of thyroid carcinoma from one {images} image of a nodule "
    "that a clinician has outlined. For imaging-AI groups. Not a medical device."
)
OUT_OF_SCOPE = (
    "Care of patients. Nodules without an outline, without histology in the training cohort's sense, or of "
    "another organ. Pictures from scanners and protocols that the training cohort does not have. Finding "
    "nodules or nodes: it never looks beyond the region around the outline."
)
ORIGINS = {
    "phantom": "generated pictures of patients who do not exist; nothing clinical was learned",
    "public": "public images put together for trying the software; nothing clinical was learned",
    "own": "the cohort of whoever ran this",
    "unknown": "not known: the cohort folder is not here",
}


def card(inputs: ReportInputs, site: SiteInputs) -> Lines | None:
    """Returns headings and text of the card; None when no model of this site was registered."""
    record = site.registered
    if record is None:
        return None
    tested = site.external or {}
    if tested.get("version") != record.get("version"):  # another version is champion, or was at that time
        tested = {}
    unimodal = {"us": "ultrasound", "ct": "CT"}.get(str(record.get("variant"))[:2])
    images = unimodal or "ultrasound and one CT"
    return (
        ("Model", _model(record, site.site)),
        ("Intended use", INTENDED.format(images=images)),
        ("Out of scope", OUT_OF_SCOPE),
        ("Trained on", _trained(inputs, site, record)),
        ("Decision", f"Positive at or above a probability of {number(record.get('threshold'))}, frozen."),
        ("Measured inside", _inside(site, record)),
        ("Against baselines", _baselines(site, record)),
        ("Boxes in place of outlines", _boxes(record, tested)),
        ("When it does not answer", _abstention(record, tested)),
        ("Measured elsewhere", _external(tested)),
        ("Groups", _groups(site)),
        ("Beware", _beware(site, tested)),
    )


def markdown(site: str, lines: Lines) -> str:
    """Returns the card as Markdown, a file that travels with a model; names in it stay text."""
    return "\n\n".join(
        [f"# Model card, {site} lymph nodes", *(f"## {name}\n\n{_literal(words)}" for name, words in lines)]
    )


def _literal(words: str) -> str:
    """Returns text that Markdown shows as it stands: no HTML, link, picture, heading or list can begin."""
    line = html.escape(" ".join(words.split()), quote=False)
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", line)


def _model(record: Json, site: str) -> str:
    origin = f"git {short(record.get('git_commit'))}, data {short(record.get('data_md5'))}"
    name = f"{text(record.get('model'))} version {text(record.get('version'))} ({text(record.get('alias'))})"
    return f"{name}: metastasis in the {site} neck; {origin}."


def _trained(inputs: ReportInputs, site: SiteInputs, record: Json) -> str:
    table = next(iter(site.tables.values()), None)
    origin = f"{ORIGINS[inputs.origin][0].upper()}{ORIGINS[inputs.origin][1:]}."
    if table is None:
        return origin
    ensemble = record.get("scoring") == "ensemble"
    trained = table if ensemble else table[table["fold"] != record.get("fold")]
    size = f"{len(trained)} nodules of {trained['patient_id'].nunique()} patients"
    part = "each network on all folds but its own" if ensemble else "all folds but its own"
    return f"{origin} {size}, {int(trained['label'].sum())} with metastasis: {part}."


def _inside(site: SiteInputs, record: Json) -> str:
    variant = site.variants.get(str(record.get("variant")))
    criterion = record.get("criterion") or {}
    chosen = (
        f"Of its kind the fold with the best {text(criterion.get('name'))}, "
        f"{number(criterion.get('value'))}, which flatters it."
    )
    if record.get("scoring") == "ensemble":
        chosen = (
            "It averages the log odds of the folds' networks. What follows was measured on each alone, "
            "on nodules it never saw: the average itself has seen every nodule of this cohort."
        )
    if variant is None:
        return chosen
    area = variant.get("auc_interval") or {}
    level = percent(area.get("confidence"))
    return f"{chosen} All folds together, out of fold: AUC {with_interval(area)} ({level} interval)."


def _boxes(record: Json, tested: Json) -> str:
    """Says what answers to boxes are worth beside those to outlines."""
    inside, moved = record.get("boxes"), (tested.get("boxes") or {}).get("moved")
    told = "The model reads no outline: a box around the nodule is as good."
    if inside is not None:
        changed = f"{text(inside.get('changed_calls'))} of {text(inside.get('nodules'))} calls"
        less = signed_with_interval(inside.get("difference"))
        told = (
            f"Out of fold AUC {number(inside.get('auc'))}; minus that with outlines {less}; {changed} differ."
        )
    if moved is None:
        return told
    changed = f"other calls: {text(moved.get('changed_calls'))}"
    most = f"largest change of a probability: {number(moved.get('largest_change'))}"
    return f"{told} Elsewhere, with edges moved by up to a tenth of the side, {changed}; {most}."


def _abstention(record: Json, tested: Json) -> str:
    """Says how often it is cautious or silent, and what its prediction sets hold."""
    levels, sets = record.get("held_out_levels"), record.get("sets")
    if levels is None or sets is None:
        return "It answers whatever it is given."
    told = (
        f"Pictures unlike the training cohort are answered with caution ({number(levels.get('caution'))} of "
        f"held-out nodules) or not at all ({number(levels.get('no answer'))}). Sets of the classes that "
        f"cannot be ruled out should hold the true one in {percent(sets.get('coverage'))}; out of fold they "
        f"do in {number(sets.get('positive'))} with metastasis and {number(sets.get('negative'))} without."
    )
    levels, sets = tested.get("levels"), tested.get("sets")
    if levels is None or sets is None:
        return told
    return (
        f"{told} Elsewhere: caution {number(levels.get('caution'))}, no answer "
        f"{number(levels.get('no answer'))}; sets hold {number(sets.get('positive'))} and "
        f"{number(sets.get('negative'))}."
    )


def _baselines(site: SiteInputs, record: Json) -> str:
    """Says which baselines the registered variant beats, all folds together."""
    rows, variant = site.baselines, str(record.get("variant"))
    if rows is None or variant not in set(rows["variant"]):
        return "Not compared with any baseline."
    area = (site.variants.get(variant) or {}).get("auc_interval") or {}
    said = sentence(rows, variant, finite(area.get("confidence")) or 0.95)
    weak = not (rows.loc[rows["variant"] == variant, "low"] > 0).all()
    return said + (" A simpler model may do as well." if weak else "")


def _external(tested: Json) -> str:
    result = tested.get("external") or {}
    if not result:
        return "This version was not validated on an external cohort."
    fitted, against = result.get("calibration") or {}, beaten(tested)
    return (
        f"Version {text(tested.get('version'))} on {text(result.get('n'))} nodules, "
        f"{text(result.get('positives'))} positive: AUC {with_interval(result.get('auc_interval'))}, "
        f"accuracy {number(result.get('accuracy'))}, sensitivity {number(result.get('sensitivity'))}, "
        f"specificity {number(result.get('specificity'))}, calibration slope "
        f"{number(fitted.get('slope'), 2)}, in the large {signed(fitted.get('in_the_large'))}."
    ) + (f" {against}" if against else "")


def _groups(site: SiteInputs) -> str:
    rows = None if site.groups is None else site.groups[~site.groups["small"].astype(bool)]
    if rows is None or not len(rows):
        return "Not analysed, or every group is too small to say."
    worst = rows.sort_values("correct_both").iloc[0]
    name = f"{str(worst['attribute']).replace('_', ' ')} {worst['group']}"
    share = f"{number(worst['correct_both'])} of {int(worst['n'])} nodules are called rightly"
    return f"Weakest of {len(rows)} groups of nodules: {name}, where {share}."


def _beware(site: SiteInputs, tested: Json) -> str:
    fitted = (tested.get("external") or {}).get("calibration") or {}
    slope = finite(fitted.get("slope"))
    balanced = {metrics.get("sampling") for metrics in site.variants.values()} == {"paper"}
    warning = (
        "Probabilities are those of a cohort with as many positives as negatives; recalibrate before any use."
        if balanced
        else "Probabilities are fitted to the training cohort's prevalence; check calibration before any use."
    )
    if slope is not None and slope < 0.8:
        warning += " Elsewhere its probabilities were too extreme."
    return warning
