"""Tables of the page: every cell as text, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dgfnet.metrics.discrimination import SCORES
from dgfnet.report import published
from dgfnet.report.cells import (
    MINUS,
    UNDEFINED,
    finite,
    number,
    p_value,
    percent,
    short,
    signed,
    text,
    with_interval,
    with_spread,
)
from dgfnet.report.inputs import Json, SiteInputs

HEADS = {
    "accuracy": "ACC",
    "auc": "AUC",
    "sensitivity": "SENS",
    "specificity": "SPEC",
    "precision": "PREC",
    "f1": "F1",
}
VARIANTS = {
    "us_resnet": "ultrasound, plain ResNet",
    "us_tlr": "ultrasound, transfer learning (Yu 2020): a re-implementation, "
    "head unspecified in the public text",
    "us_multitask": "ultrasound, with segmentation",
    "us_continued": "ultrasound, trained on for as long as a fusion",
    "ct_resnet": "CT, plain ResNet",
    "ct_multitask": "CT, with segmentation",
    "ct_continued": "CT, trained on for as long as a fusion",
    "concat": "both, concatenated",
    "sum": "both, summed",
    "product": "both, multiplied",
    "dgf": "both, diverse granularity fusion",
    "concat_record": "both and the record, concatenated",
    "sum_record": "both and the record, summed",
    "dgf_record": "both and the record, diverse granularity fusion",
    "size": "baseline: area of the nodule in its largest images",
    "clinical": "baseline: columns of the record",
    "radiomics": "baseline: measured shape, grey values and texture",
    "late": "baseline: sum of the log odds of networks of one modality each",
    "us_stack": "the ultrasound network joined with measured features",
    "ct_stack": "the CT network joined with measured features",
    "record_stack": "networks of both joined with measured features and the record",
    "stack": "networks of both joined with measured features",
}
OVERLAPS = {"dice": "Dice", "iou": "IoU"}
LINEAGE_HEAD = ("Git commit", "Data md5", "Settings sha256", "Overrides")


@dataclass(frozen=True)
class Row:
    """One line: a heading, a remark below it, and the cells."""

    name: str
    cells: tuple[str, ...]
    note: str = ""
    kind: str = ""  # "strong" or "paper"


@dataclass(frozen=True)
class Table:
    """A table with its caption and the artifact it comes from.

    Attributes:
        title: its caption.
        source: the artifact.
        corner, head, rows: its cells.
        note: explains it; folded away.
        folded: only the title shows until it is unfolded: it is there to look things up.
    """

    title: str
    source: str
    corner: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False


def confidence_of(site: SiteInputs) -> str:
    """Returns the confidence of the site's AUC intervals, as 95 %."""
    for metrics in site.variants.values():
        return percent((metrics.get("auc_interval") or {}).get("confidence"))
    return ""


def performance(site: SiteInputs, reference: str) -> Table:
    """Tabulates per variant: pooled AUC, mean ± sd over folds, the paper's AUC."""
    confidence = confidence_of(site)
    rows = []
    for name, metrics in site.variants.items():
        mean, sd = metrics.get("mean") or {}, metrics.get("sd") or {}
        paper = published.AUC.get(site.site, {}).get(name)
        cells = [with_interval(metrics.get("auc_interval")), number(paper)]
        cells += [with_spread(mean.get(score), sd.get(score)) for score in SCORES]
        kind = "strong" if name == reference else ""
        changed = (f"{key} {value}" for key, value in (metrics.get("ablation") or {}).items())
        rows.append(Row(name, tuple(cells), VARIANTS.get(name, ", ".join(changed)), kind))
        if name == "dgf" and site.site in published.TABLE_3:
            values = map(number, published.TABLE_3[site.site])
            rows.append(Row(name, (UNDEFINED, number(paper), *values), "the paper's Table 3", "paper"))
    head = (f"AUC, pooled ({confidence} interval)", "AUC, paper (private cohort)")
    return Table(
        title=f"Cross-validation, {site.site} lymph nodes",
        source=f"artifacts/crossval/{site.site}/<variant>/metrics.json",
        corner="Variant",
        head=(*head, *(HEADS[score] for score in SCORES)),
        rows=tuple(rows),
        note="Pooled: all out-of-fold probabilities together; the interval treats the nodules of a patient "
        "as one cluster. ACC to F1: mean ± standard deviation over the folds, each at its own frozen "
        "threshold. The column of the paper is the published AUC on the authors' private cohort: a figure "
        f"of other patients, not a target for these. {UNDEFINED} means undefined or not published.",
    )


def folds(site: SiteInputs) -> Table:
    """Tabulates threshold and scores per variant and fold."""
    rows = []
    for name, metrics in site.variants.items():
        for fold in metrics.get("folds") or []:
            scores = fold.get("scores") or {}
            cells = (number(fold.get("threshold")), *(number(scores.get(score)) for score in SCORES))
            rows.append(Row(f"{name}, fold {text(fold.get('fold'))}", cells))
    return Table(
        title=f"Every fold, {site.site}",
        source=f"artifacts/crossval/{site.site}/<variant>/metrics.json",
        corner="Variant and fold",
        head=("Threshold", *(HEADS[score] for score in SCORES)),
        rows=tuple(rows),
        folded=True,
    )


def differences(site: SiteInputs, frame: pd.DataFrame) -> Table:
    """Tabulates the AUC of one variant minus that of another, on the same nodules."""
    rows = tuple(
        Row(
            f"{line['a']} {MINUS} {line['b']}",
            (
                signed(line["estimate"]),
                f"{signed(line['low'])} to {signed(line['high'])}",
                p_value(line["p"]),
                p_value(line["p_holm"]),
            ),
        )
        for line in frame.to_dict("records")
    )
    return Table(
        title=f"Paired AUC differences, {site.site}",
        source=f"artifacts/compare/{site.site}/differences.csv",
        corner=f"First {MINUS} second",
        head=("Difference", f"{confidence_of(site)} interval".strip(), "p", "p, Holm"),
        rows=rows,
        note="Clustered DeLong test on the same out-of-fold nodules; a positive difference favours the "
        "first. Holm's correction bounds the chance of any false finding in this table. It speaks of these "
        "fitted models and these patients: how much another training run would change is not in it.",
    )


def baselines(site: SiteInputs, frame: pd.DataFrame) -> Table:
    """Tabulates the AUC of every network minus that of every baseline, on the same nodules."""
    names = list(dict.fromkeys(frame["baseline"]))
    rows = []
    for network, lines in frame.groupby("variant", sort=False):
        found = {
            line["baseline"]: f"{signed(line['estimate'])} ({signed(line['low'])} to {signed(line['high'])})"
            for line in lines.to_dict("records")
        }
        cells = [found[name] for name in names]
        rows.append(Row(str(network), tuple(cells), VARIANTS.get(str(network), "")))
    return Table(
        title=f"Networks against baselines, {site.site}",
        source=f"artifacts/compare/{site.site}/baselines.csv",
        corner="Network",
        head=tuple(f"{MINUS} {name}" for name in names),
        rows=tuple(rows),
        note="AUC of the network minus that of the baseline with its "
        f"{confidence_of(site)} interval, clustered DeLong on the same out-of-fold nodules; where it "
        "reaches down to 0, the network has not shown more than the baseline. Networks by AUC: the first was "
        "picked after the fact, which flatters it a little.",
        folded=True,
    )


def optimism(site: SiteInputs, frame: pd.DataFrame) -> Table:
    """Tabulates the AUC of searched settings inside the training part of a fold and on its held-out part."""
    rows = tuple(
        Row(
            f"{line['variant']}, fold {line['fold']}",
            (number(line["inner"]), number(line["outer"]), signed(line["optimism"])),
        )
        for line in frame.to_dict("records")
    )
    mean = frame["optimism"].mean()
    return Table(
        title=f"Searched settings, {site.site}",
        source=f"artifacts/compare/{site.site}/optimism.csv",
        corner="Variant and fold",
        head=("AUC inside, best trial", "AUC outside", "Optimism"),
        rows=rows,
        note="The search saw only the training part of its fold, cut once more. The best of several trials "
        f"looks better inside than it is; here by {signed(mean)} on average over these folds.",
        folded=True,
    )


def segmentation(site: SiteInputs, kind: str) -> Table | None:
    """Tabulates Dice or IoU per variant and target, mean ± sd over folds; None when no fold reports any."""
    overlaps = {
        name: [fold.get(kind) or {} for fold in metrics.get("folds") or []]
        for name, metrics in site.variants.items()
    }
    targets = sorted(
        {target for records in overlaps.values() for record in records for target in record}, key=_target_rank
    )
    if not targets:
        return None
    rows = tuple(
        Row(
            name,
            tuple(_spread(record.get(target) for record in records) for target in targets),
            VARIANTS.get(name, ""),
        )
        for name, records in overlaps.items()
        if any(records)
    )
    return Table(
        title=f"Segmentation ({OVERLAPS[kind]}), {site.site}",
        source=f"artifacts/crossval/{site.site}/<variant>/metrics.json",
        corner="Variant",
        head=tuple(_target(target) for target in targets),
        rows=rows,
        note=f"Mean {OVERLAPS[kind]} over the held-out images, then mean ± standard deviation over folds; 1 "
        "is perfect overlap. Boundaries are thin lines, on which it is naturally low.",
        folded=True,
    )


def lineage(records: Mapping[str, Json]) -> Table:
    """Tabulates commit, data and settings of each stage that ran."""
    rows = tuple(
        Row(
            stage,
            (
                short(record.get("git_commit")),
                short(record.get("data_md5")),
                short(record.get("params_sha256")),
                ", ".join(map(str, record.get("overrides") or [])) or "none",
            ),
        )
        for stage, record in records.items()
    )
    return Table(
        title="Who made what",
        source="artifacts/<stage>/provenance.json",
        corner="Stage",
        head=LINEAGE_HEAD,
        rows=rows,
        note="The first twelve characters of each hash; the files hold them whole. -dirty: tracked files "
        "had uncommitted changes. Each settings hash covers the sections its own stage uses.",
        folded=True,
    )


def _spread(records: Iterable[Any]) -> str:
    values = pd.Series([finite(value) for value in records], dtype="float64").dropna()
    return with_spread(values.mean(), values.std()) if len(values) else UNDEFINED


def _target(name: str) -> str:
    modality, _, target = name.partition("_")
    return f"{modality.upper()} {target}"


def _target_rank(name: str) -> tuple[bool, bool, str]:
    return (not name.startswith("us"), not name.endswith("nodule"), name)
