"""Measures what the gate judges a version by, on the very bundle and on cross-validation, never elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.bundle.album import archived, with_record
from dgfnet.bundle.crops import Album, part_of
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.network import BundledNetwork
from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import auc_difference
from dgfnet.preprocess.archive import Archive
from dgfnet.registry.evidence import Evidence, Rival
from dgfnet.registry.lineage import missing_lineage, trained_on
from dgfnet.results import MEASURED, audit_findings, check_same, load_nodules, required
from dgfnet.sections.results import Register
from dgfnet.settings import Settings
from dgfnet.vocabulary import BASIC_FUSIONS, SPECS, Modality, Variant

BATCH = 16  # nodules that are scored in a batch, alone, and in another order
FEW = 6  # distinct numbers of a column that are still taken for categories


def measure(
    settings: Settings,
    network: BundledNetwork,
    model: ScoringModel,
    metrics: Mapping[str, Any],
    table: pd.DataFrame,
    nodules: pd.DataFrame,
    alone: Mapping[str, pd.DataFrame],
    simpler: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, pd.DataFrame],
) -> Evidence:
    """Measures one version.

    Args:
        settings: for the archive, the audit and the gate's groups.
        network: of the bundle, as it will be registered.
        model: the same bundle as serving runs it.
        metrics: metrics.json of its variant.
        table: out_of_fold.csv of its variant.
        nodules: nodules.parquet, indexed by nodule_id.
        alone: out_of_fold.csv of the models of one modality that answer where the other is missing.
        simpler: out_of_fold.csv of those of `simpler_than`.
        baselines: out_of_fold.csv of the baselines.
    """
    confidence = settings.base.confidence
    album = album_of(settings, model.inputs, list(table["nodule_id"]), model.units, model.record)
    held_out = [np.flatnonzero(table["fold"] == member["fold"]) for member in network.metadata["members"]]
    own = [part_of(album, rows.tolist()) for rows in held_out]
    probability = network.score(own[0])["probability"].to_numpy()
    known = [table["probability"].to_numpy()[rows] for rows in held_out]
    known[0] = probability  # the other networks are in the bundle as graphs alone
    onnx = [model.score_by(place, nodules) for place, nodules in enumerate(own)]
    low = metrics["auc_interval"]["low"]
    group, accuracy = weakest_group(table, nodules, settings.register_)
    findings = audit_findings(settings)
    origin = trained_on(settings)
    return Evidence(
        audit_findings=None if findings is None else len(findings),
        batch_variance=batch_variance(model, part_of(album, range(min(BATCH, len(table))))),
        onnx_error=max(float(np.abs(a - b).max()) for a, b in zip(onnx, known, strict=True)),
        reproduction_error=float(np.abs(probability - table["probability"].to_numpy()[held_out[0]]).max()),
        auc=float(metrics["auc_interval"]["estimate"]),
        auc_low=float("nan" if low is None else low),
        calibration_slope=calibration_slope_intercept(table["label"], table["probability"]).slope,
        weakest_group=group,
        weakest_accuracy=accuracy,
        missing_lineage=missing_lineage(origin["git_commit"], origin["data_md5"]),
        unimodal=best_rival(table, alone, confidence),
        simpler=best_rival(table, simpler, confidence),
        baseline=best_rival(table, baselines, confidence),
    )


def batch_variance(model: ScoringModel, album: Album) -> float:
    """Returns the largest difference of a nodule's probability alone, in a batch, and in another order."""

    def probability(rows: slice) -> NDArray[np.float64]:
        return model.score({name: nodules[rows] for name, nodules in album.items()})["probability"].to_numpy()

    batch = probability(slice(None))
    single = np.concatenate([probability(slice(row, row + 1)) for row in range(len(batch))])
    reversed_order = probability(slice(None, None, -1))[::-1]
    return float(max(np.abs(batch - reversed_order).max(), np.abs(batch - single).max()))


def simpler_than(variant: Variant) -> tuple[Variant, ...]:
    """Returns the basic fusions of the same streams, which a fusion by attention must not fall behind."""
    own = SPECS[variant]
    if own.fusion != "dgf":
        return ()
    return tuple(
        name for name, spec in SPECS.items() if spec.fusion in BASIC_FUSIONS and spec.record == own.record
    )


def best_rival(table: pd.DataFrame, rivals: Mapping[str, pd.DataFrame], confidence: float) -> Rival | None:
    """Compares with the model of largest AUC, the first of equals, paired over nodules (clustered DeLong).

    Args:
        table: out_of_fold.csv of the version.
        rivals: the same of each model, on the same nodules; with none there is nothing to compare with.
        confidence: of the interval.

    Raises:
        InputError: when a model was validated on other nodules.
    """
    if not rivals:
        return None
    check_same({"the version": table, **rivals})
    name = max(rivals, key=lambda name: auc(rivals[name]["label"], rivals[name]["probability"]))
    label, patients = table["label"], table["patient_id"]
    gap = auc_difference(label, table["probability"], rivals[name]["probability"], patients, confidence)
    low, high = (None if np.isnan(limit) else limit for limit in (gap.low, gap.high))
    return Rival(name, gap.estimate, low, high)


def weakest_group(table: pd.DataFrame, nodules: pd.DataFrame, settings: Register) -> tuple[str, float | None]:
    """Returns the group with the lowest accuracy, as text, and its accuracy (0 to 1).

    Args:
        table: out_of_fold.csv: nodule_id, label, probability, threshold.
        nodules: nodules.parquet, indexed by nodule_id.
        settings: `groups` names columns, cut by `grouped`; smaller groups than `smallest_group` do not count.

    Returns:
        The text and None when no group is large enough.
    """
    right = (table["probability"] >= table["threshold"]) == (table["label"] == 1)
    groups: list[tuple[float, str]] = []
    for column in (name for name in settings.groups if name in nodules):
        values = grouped(nodules[column].reindex(table["nodule_id"])).to_numpy()
        shares = right.groupby(values).agg(["mean", "size"])
        large = shares[shares["size"] >= settings.smallest_group]
        names = (f"{column} {name} (n = {size})" for name, size in large["size"].items())
        groups += zip(large["mean"].astype(float), names, strict=True)
    absent = [name for name in settings.groups if name not in nodules]
    note = f"; nodules.csv has no {', '.join(absent)}" if absent else ""
    if not settings.groups:
        return "no groups asked for", None
    if not groups:
        few = f"no group of {', '.join(settings.groups)} has {settings.smallest_group} nodules{note}"
        return f"{few} (register.groups may be empty, to do without)", None
    share, name = min(groups)
    return f"{name}{note}", share


def grouped(values: pd.Series) -> pd.Series:
    """Returns the group of every nodule; missing where the value is.

    Numbers (also as text) with more than FEW different values are cut at their tertiles, a limit belonging to
    the lower group, and named by the smallest and largest value found in it: `45 to 61`. Everything else is
    its own group.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    present = numbers.dropna()
    if len(present) < values.notna().sum() or present.nunique() <= FEW:
        return values
    place = np.searchsorted(present.quantile([1 / 3, 2 / 3]).to_numpy(), present.to_numpy(), side="left")
    ends = present.groupby(place).agg(["min", "max"])
    names = {
        number: f"{low:g} to {high:g}" if low < high else f"{low:g}"
        for number, low, high in ends.itertuples()
    }
    return pd.Series([names[number] for number in place], present.index).reindex(values.index)


def album_of(
    settings: Settings,
    inputs: Sequence[str],
    ids: list[str],
    units: Mapping[Modality, str] | None,
    record: Iterable[str],
) -> Album:
    """Returns the crops of nodules of the archive, and features and record where the model reads them.

    Args:
        settings: where the archive lies.
        inputs: of the model.
        ids: of the nodules.
        units: of a stacked model.
        record: columns that the model reads.
    """
    archive = Archive.open(settings.artifacts("preprocess"))
    table = None if units is None else pd.read_parquet(required(settings, "preprocess", MEASURED))
    return with_record(archived(archive, table, inputs, ids, units), load_nodules(settings), ids, record)
