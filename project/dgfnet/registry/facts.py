"""What the gate judges a version by, measured on the very bundle and on cross-validation, never elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.dataset.pairs import centre
from dgfnet.metrics.calibration import calibration_slope_intercept
from dgfnet.network.variants import SPECS
from dgfnet.preprocess.archive import Archive
from dgfnet.registry.bundle import Bundle
from dgfnet.serving.served import Served
from dgfnet.settings import Modality, Register, Settings, Variant

COMPANY = 16  # nodules that are scored together, alone, and in another order
FEW = 6  # distinct numbers of a column that are still taken for categories


@dataclass(frozen=True)
class GateFacts:
    """Facts about one version.

    Attributes:
        blocks: number of findings of the audit that stop a model; None when the cohort was not audited.
        alone: largest difference of a nodule's probability alone, in company, and in another order.
        served: largest difference between the served model's and the network's probabilities of nodules.
        checkpoint: largest difference between the bundle's and cross-validation's probabilities of nodules
            held out from it.
        auc: of all folds, out of fold.
        auc_low: lower limit of its interval.
        slope: calibration slope out of fold; 1 is perfect, below 1 too extreme.
        weakest: the group of nodules with the lowest share of right calls, as text.
        weakest_share: that share; None when no group is large enough.
        lineage: what is missing of it, empty when it is whole.
    """

    blocks: int | None
    alone: float
    served: float
    checkpoint: float
    auc: float
    auc_low: float
    slope: float
    weakest: str
    weakest_share: float | None
    lineage: str

    def text(self) -> str:
        """As a tag of the version."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> GateFacts:
        """From a tag."""
        return cls(**json.loads(text))


def measure(
    settings: Settings,
    bundle: Bundle,
    served: Served,
    metrics: Mapping[str, Any],
    table: pd.DataFrame,
    nodules: pd.DataFrame,
) -> GateFacts:
    """Measures one version.

    Args:
        settings: for the archive, the audit and the gate's groups.
        bundle: as it will be registered.
        served: the same as serving runs it.
        metrics: metrics.json of its variant.
        table: out_of_fold.csv of its variant.
        nodules: nodules.parquet, indexed by nodule_id.
    """
    held = table[table["fold"] == bundle.facts["fold"]]
    crops = crops_of(settings, bundle.facts["variant"], list(held["nodule_id"]))
    scored = bundle.score(crops)["probability"].to_numpy()
    gap = np.abs(scored - held["probability"].to_numpy())
    answered = served.score(crops)["probability"].to_numpy()
    interval = metrics["auc_interval"]
    weakest, share = weakest_group(table, nodules, settings.register_)
    audit = settings.artifacts("audit", "audit.json")
    origin = trained_on(settings)
    return GateFacts(
        blocks=len(json.loads(audit.read_text(encoding="utf-8"))["blocks"]) if audit.is_file() else None,
        alone=company(served, {name: values[:COMPANY] for name, values in crops.items()}),
        served=float(np.abs(answered - scored).max()),
        checkpoint=float(gap.max()),
        auc=float(interval["estimate"]),
        auc_low=float("nan" if interval["low"] is None else interval["low"]),
        slope=calibration_slope_intercept(table["label"], table["probability"]).slope,
        weakest=weakest,
        weakest_share=share,
        lineage=missing_lineage(origin["git_commit"], origin["data_md5"]),
    )


def company(served: Served, crops: Mapping[Modality, NDArray[np.uint8]]) -> float:
    """Largest difference between a nodule's probabilities alone, in company, and in another order."""

    def probability(rows: slice) -> NDArray[np.float64]:
        found = served.score({name: values[rows] for name, values in crops.items()})
        return found["probability"].to_numpy()

    together = probability(slice(None))
    alone = np.concatenate([probability(slice(place, place + 1)) for place in range(len(together))])
    back = probability(slice(None, None, -1))[::-1]
    return float(max(np.abs(together - back).max(), np.abs(together - alone).max()))


def weakest_group(table: pd.DataFrame, nodules: pd.DataFrame, wanted: Register) -> tuple[str, float | None]:
    """The group with the lowest share of right calls, and that share; small groups do not count.

    Groups of a column are those of `grouped`.
    """
    right = (table["probability"] >= table["threshold"]) == (table["label"] == 1)
    found: list[tuple[float, str]] = []
    for column in (name for name in wanted.groups if name in nodules):
        values = grouped(nodules[column].reindex(table["nodule_id"])).to_numpy()
        shares = right.groupby(values).agg(["mean", "size"])
        large = shares[shares["size"] >= wanted.smallest_group]
        names = (f"{column} {name} (n = {size})" for name, size in large["size"].items())
        found += zip(large["mean"].astype(float), names, strict=True)
    absent = [name for name in wanted.groups if name not in nodules]
    note = f"; nodules.csv has no {', '.join(absent)}" if absent else ""
    if not found:
        return f"no group of {', '.join(wanted.groups)} has {wanted.smallest_group} nodules{note}", None
    share, name = min(found)
    return f"{name}{note}", share


def grouped(values: pd.Series) -> pd.Series:
    """The group of every nodule; missing where the value is.

    Numbers (also as text) with more than FEW different values are cut at their tertiles, a limit belonging to
    the lower group, and named by the smallest and largest value found in it: `45 to 61`. Everything else is
    its own group.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    known = numbers.dropna()
    if len(known) < values.notna().sum() or known.nunique() <= FEW:
        return values
    place = np.searchsorted(known.quantile([1 / 3, 2 / 3]).to_numpy(), known.to_numpy(), side="left")
    ends = known.groupby(place).agg(["min", "max"])
    names = {
        number: f"{low:g} to {high:g}" if low < high else f"{low:g}"
        for number, low, high in ends.itertuples()
    }
    return pd.Series([names[number] for number in place], known.index).reindex(values.index)


def trained_on(settings: Settings) -> dict[str, str]:
    """Commit and data of the cross-validation, whose tables and fits a version is made of."""
    path = settings.artifacts("crossval", "provenance.json")
    if not path.is_file():
        return {"git_commit": "unknown", "data_md5": "untracked"}
    record = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(record[name]) for name in ("git_commit", "data_md5")}


def missing_lineage(commit: str, data: str) -> str:
    """What is missing to make a version again; empty when nothing is."""
    if commit == "unknown":
        return "it was trained outside git"
    if commit.endswith("-dirty"):
        return "it was trained with uncommitted changes"
    return "its cohort is not under DVC" if data == "untracked" else ""


def crops_of(settings: Settings, variant: Variant, ids: list[str]) -> dict[Modality, NDArray[np.uint8]]:
    """The largest-area crops of nodules of the archive, (N, S, S) per modality of a variant."""
    archive = Archive.open(settings.artifacts("preprocess"))
    crops: dict[Modality, NDArray[np.uint8]] = {}
    for modality in SPECS[variant].modalities:
        largest = archive.largest(modality)
        rows = [largest[name] for name in ids]
        crops[modality] = np.array(centre(archive.planes(modality)[rows, 0], archive.size[modality]))
    return crops
