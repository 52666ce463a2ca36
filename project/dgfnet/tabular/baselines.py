"""Baselines: models without a network of their own, cross-validated on the folds and nodules of the networks.

Each is a logistic regression on a table. In every fold all of it, from the median that fills a gap to the
strength of the penalty, is fitted on the nodules of the other folds. What an earlier run fitted on the same
rows is taken over, as a finished fit of a network is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dgfnet.preprocess.archive import Archive
from dgfnet.results import MEASURED, is_cross_validated, load_nodules, load_table, required
from dgfnet.settings import Settings
from dgfnet.tabular import design
from dgfnet.tabular.logistic import Logistic, fit, fit_chosen, fit_nonnegative
from dgfnet.tabular.terms import clinical
from dgfnet.vocabulary import SPECS, VARIANTS, Baseline, Modality, Site, Stack, Variant, is_stacked

Array = NDArray[np.float64]
WHOSE = ["nodule_id", "patient_id", "fold", "label"]


class NothingToLearn(Exception):
    """A baseline has nothing to work on; the message says why."""


@dataclass(frozen=True, eq=False)
class Source:
    """A table that a baseline learns from.

    Attributes:
        features: a row per nodule.
        modalities: whose pictures say something in it.
        networks: whose out-of-fold table it is made from.
        units: of the pixels that were measured, of each modality whose pictures all have the same.
    """

    features: pd.DataFrame
    modalities: tuple[Modality, ...] = ()
    networks: tuple[Variant, ...] = ()
    units: Mapping[Modality, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """A cross-validated baseline.

    Attributes:
        table: WHOSE, probability, threshold; the rows of the networks' tables, in their order.
        models: one per fold, fitted on the other folds.
        source: the table that it learned from.
        fitted_on: sha256 of everything that the models follow from.
    """

    table: pd.DataFrame
    models: tuple[Logistic, ...]
    source: Source
    fitted_on: str


def cross_validate(
    settings: Settings,
    site: Site,
    baseline: Baseline | Stack,
    rows: pd.DataFrame,
    trained: Iterable[Variant],
    earlier: Mapping[str, Any] | None = None,
) -> CrossValidated:
    """Cross-validates a baseline.

    Args:
        settings: of the run.
        site: of the labels.
        baseline: its name.
        rows: out-of-fold table of a network: whose nodules, folds and labels are meant.
        trained: networks of this run, whose out-of-fold tables are on disk.
        earlier: model.json of an earlier run, as it was written; its models are taken if they were fitted on
            the same rows by the same code.

    Raises:
        NothingToLearn: when there is nothing to work on.
    """
    source = _source(settings, site, baseline, rows, tuple(trained))
    table = rows[WHOSE].reset_index(drop=True)
    fitted_on = _digest(baseline, source.features, table)
    same = earlier is not None and earlier.get("fitted_on") == fitted_on  # older releases did not say
    known = [Logistic.of(fold) for fold in earlier["folds"]] if earlier and same else []
    label, fold = table["label"].to_numpy(np.float64), table["fold"].to_numpy()
    patients = table["patient_id"].to_numpy()
    probability, threshold, models = np.empty(len(table)), np.empty(len(table)), []
    for place, number in enumerate(sorted(set(fold.tolist()))):
        train, held = fold != number, fold == number
        if len(np.unique(label[train])) < 2:
            raise NothingToLearn(f"the training part of fold {number} holds one class only")
        model = (
            known[place] if known else _fit(baseline, source.features[train], label[train], patients[train])
        )
        probability[held] = model.probability(source.features[held])
        threshold[held] = label[train].mean()
        models.append(model)
    table = table.assign(probability=probability, threshold=threshold)
    return CrossValidated(table, tuple(models), source, fitted_on)


def _digest(baseline: str, features: pd.DataFrame, table: pd.DataFrame) -> str:
    """Returns the sha256 of everything that the models of a baseline follow from."""
    total = sha256(f"{baseline} {_code()}\0".encode())
    for part in (features.reset_index(drop=True), table):
        total.update(f"{dict(part.dtypes.astype(str))}\0{part.to_csv()}\0".encode())  # floats as repr does
    return total.hexdigest()


@cache
def _code() -> str:
    """Returns the sha256 of the code that fits, and the version of the library that it calls."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return f"{sha256(b''.join(sources)).hexdigest()} {version('scikit-learn')}"


def _fit(
    baseline: Baseline | Stack, features: pd.DataFrame, label: Array, patients: NDArray[Any]
) -> Logistic:
    with threadpool_limits(1):  # matrices are small: threads wait longer than they work, 20 times as long
        if baseline == "late":
            return fit_nonnegative(features, label)
        if baseline == "radiomics" or is_stacked(baseline):
            return fit_chosen(features, label, patients)
        return fit(features, label)


def _source(
    settings: Settings,
    site: Site,
    baseline: Baseline | Stack,
    rows: pd.DataFrame,
    trained: tuple[Variant, ...],
) -> Source:
    """Returns the table that a baseline learns from, in the order of `rows`.

    Raises:
        NothingToLearn: when it would have no column.
    """
    nodules = [str(name) for name in rows["nodule_id"]]
    if baseline == "size":
        archive = Archive.open(settings.artifacts("preprocess"))
        return Source(design.size(archive, nodules), tuple(archive.pictured()))
    if baseline == "clinical":
        names = settings.crossval.clinical
        features = clinical(load_nodules(settings), nodules, names)
        if features.empty:
            raise NothingToLearn(f"crossval.clinical names no column of nodules.csv: {', '.join(names)}")
        return Source(features)
    if baseline == "radiomics":
        return _measured(settings, nodules)
    if is_stacked(baseline):
        return _stacked(settings, site, baseline, rows, trained)
    networks = _networks(settings, site, rows, trained)
    if len(networks) < 2:
        found = " and ".join(networks.values()) or "none"
        raise NothingToLearn(f"it joins a network of each of two modalities, found {found}")
    odds = _log_odds(settings, site, tuple(networks.values()), nodules)
    return Source(odds, tuple(networks), tuple(networks.values()))


def _measured(settings: Settings, nodules: Sequence[str]) -> Source:
    """Returns what the stage preprocess measured."""
    archive = Archive.open(settings.artifacts("preprocess"))
    table = pd.read_parquet(required(settings, "preprocess", MEASURED))
    features, units = design.measured(archive, table, nodules), design.units(archive, table, nodules)
    return Source(features, tuple(archive.pictured()), units=units)


def _stacked(
    settings: Settings, site: Site, stack: str, rows: pd.DataFrame, trained: tuple[Variant, ...]
) -> Source:
    """Returns the log odds of a stack's network, what was measured on its modalities, perhaps the record.

    Raises:
        NothingToLearn: when there is no such network, or it was not validated on these nodules.
    """
    name = stacked_network(settings, stack)
    if name is None:
        raise NothingToLearn(f"it joins a network that {settings.crossval.stacked} starts from; it has none")
    if not _validated(settings, site, name, rows, trained):
        raise NothingToLearn(f"it joins the networks of {name}, which was not cross-validated")
    nodules = [str(nodule) for nodule in rows["nodule_id"]]
    record = pd.DataFrame(index=nodules)
    if stack == "record_stack":
        names = settings.crossval.record
        record = design.record(load_nodules(settings), nodules, names)
        if record.empty:
            raise NothingToLearn(f"crossval.record names no column of nodules.csv: {', '.join(names)}")
    measured, modalities = _measured(settings, nodules), SPECS[name].modalities
    features = measured.features.filter(regex=f"^({'|'.join(modalities)})_")
    odds = _log_odds(settings, site, (name,), nodules)
    units = {modality: unit for modality, unit in measured.units.items() if modality in modalities}
    return Source(pd.concat([features, record, odds], axis="columns"), modalities, (name,), units)


def stacked_network(settings: Settings, stack: str) -> Variant | None:
    """Returns the variant whose networks a stack joins with measured features; None where there is none."""
    whole = settings.crossval.stacked
    if whole is None or stack in ("stack", "record_stack"):
        return whole
    spec = SPECS[whole]
    parents = {f"{SPECS[one].modalities[0]}_stack": one for one in spec.parents if spec.fuses}
    return parents.get(stack)


def _log_odds(
    settings: Settings, site: Site, networks: tuple[Variant, ...], nodules: Sequence[str]
) -> pd.DataFrame:
    return design.log_odds([(name, load_table(settings, site, name)) for name in networks], nodules)


def _networks(
    settings: Settings, site: Site, rows: pd.DataFrame, trained: tuple[Variant, ...]
) -> dict[Modality, Variant]:
    """Returns the network of one modality that stands for each: of this run, and with tasks, if there is one.

    One of an earlier run counts where it was validated on the same nodules.
    """
    single = [name for name in VARIANTS if not SPECS[name].fuses]
    known = [name for name in single if name in trained or is_cross_validated(settings, site, name)]
    known.sort(key=lambda name: (name not in trained, not SPECS[name].tasks, bool(SPECS[name].parents)))
    chosen: dict[Modality, Variant] = {}
    for name in known:
        (modality,) = SPECS[name].modalities
        if modality not in chosen and _validated(settings, site, name, rows, trained):
            chosen[modality] = name
    return {modality: chosen[modality] for modality in sorted(chosen, reverse=True)}  # us before ct


def _validated(
    settings: Settings, site: Site, name: Variant, rows: pd.DataFrame, trained: tuple[Variant, ...]
) -> bool:
    """Says that a network was validated on these nodules, in this run or in an earlier one."""
    if name in trained:
        return True
    return is_cross_validated(settings, site, name) and same_rows(load_table(settings, site, name), rows)


def same_rows(table: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Says that two out-of-fold tables are of the same nodules, folds and labels."""
    return table[WHOSE].equals(rows[WHOSE].sort_values("nodule_id", ignore_index=True))
