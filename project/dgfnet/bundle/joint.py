"""The last step of a stacked model: log odds of a network, what was measured and the record, joined.

    log odds = b0 + b * (network's - m) / s + sum over features and record of b_j * (x_j - m_j) / s_j

as tabular/logistic.py fits it for every fold. It is a sum: what the features of a modality bring is known,
and what the record brings, where it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from dgfnet.bundle.record import WIDER, frame, missing
from dgfnet.errors import InputError
from dgfnet.measured.definitions import NAMES
from dgfnet.metrics.calibration import NEAREST
from dgfnet.tabular.design import recorded
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import design
from dgfnet.vocabulary import RECORD, Modality

Array = NDArray[np.float64]
Limits = Mapping[str, tuple[float, float]]  # lowest and highest value by column
SUREST = float(logit(1 - NEAREST))  # tabular/design.py takes no log odds of a network beyond


def key(modality: Modality) -> str:
    """Returns the key of an album under which the measured features of a modality lie, (N, features)."""
    return f"{modality}_measured"


@dataclass(frozen=True, eq=False)
class Beside:
    """Features and record of N nodules, as the regressions of all folds read them beside log odds.

    Attributes:
        measured: (N, columns) the measured features.
        record: the columns of the record that are read; None where none is.
    """

    measured: Array
    record: pd.DataFrame | None


@dataclass(frozen=True, eq=False)
class Joint:
    """The logistic regression of one fold.

    Attributes:
        model: its columns are `us_<feature>`, `ct_<feature>`, `record_<column>` and the network's.
        network: name of the column that holds the network's log odds.
        modalities: whose features it may read.
        record: columns of the record that it may read.
    """

    model: Logistic
    network: str
    modalities: tuple[Modality, ...]
    record: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        plain: Mapping[str, Any],
        network: str,
        modalities: tuple[Modality, ...],
        record: tuple[str, ...] = (),
    ) -> Joint:
        """Makes it of a fold in model.json.

        Raises:
            InputError: when it has a term that no nodule could be measured for.
        """
        joint = cls(Logistic.of(plain), network, modalities, record)
        texts = {recorded(name) for name in record}
        known = {network, *joint.columns()}
        unknown = [
            term.column
            for term in joint.model.terms
            if term.column not in texts and (term.column not in known or term.kind == "level")
        ]
        if unknown:
            raise InputError(f"the stacked model has columns that are not measured: {', '.join(unknown[:3])}")
        return joint

    def columns(self) -> list[str]:
        """Returns the names of the columns of `table`, the measured features."""
        return [f"{modality}_{name}" for modality in self.modalities for name in NAMES[modality]]

    def table(self, album: Mapping[str, Any]) -> Array:
        """Returns the measured features of N nodules, (N, columns).

        Raises:
            InputError: when an album lacks them.
        """
        parts = []
        for modality in self.modalities:
            if key(modality) not in album:
                raise InputError(
                    f"measured features of {modality} are missing; this model joins them with its networks"
                )
            values = np.asarray(album[key(modality)], dtype=np.float64)
            if values.ndim != 2 or values.shape[1] != len(NAMES[modality]):
                raise InputError(
                    f"{key(modality)}: expected {len(NAMES[modality])} numbers of every nodule, found shape "
                    f"{values.shape}"
                )
            parts.append(values)
        return np.concatenate(parts, axis=1)

    def of_network(self, log_odds: Array) -> Array:
        """Returns what the network's log odds add, of the same shape; cut off where training cut them off."""
        total = np.zeros_like(log_odds)
        for term, coefficient in zip(self.model.terms, self.model.coefficients, strict=True):
            if term.column == self.network and term.kind == "number":
                total += coefficient * (np.clip(log_odds, -SUREST, SUREST) - term.centre) / term.scale
        return total

    def beside(self, album: Mapping[str, Any]) -> Beside:
        """Returns what an album has beside pictures.

        Raises:
            InputError: when it lacks any of that.
        """
        if self.record and RECORD not in album:
            raise InputError(missing(self.record))
        return Beside(self.table(album), frame(self.record, album[RECORD]) if self.record else None)

    def parts(self, beside: Beside) -> dict[str, Array]:
        """Returns what is added to the network's part, (N,) each, by name of the part.

        That of a modality are its features, 0 for a nodule at their means; that under RECORD, where it is
        read, is 0 at the means of its numbers and none of its levels.
        """
        parts: dict[str, Array] = dict(self.of_measured(beside.measured).items())
        if beside.record is not None:
            parts[RECORD] = self.of_record(beside.record)
        return parts

    def of_record(self, table: pd.DataFrame) -> Array:
        """Returns what the record adds, (N,), from its columns."""
        both = zip(self.model.terms, self.model.coefficients, strict=True)
        names = {recorded(name) for name in self.record}
        own = [(term, coefficient) for term, coefficient in both if term.column in names]
        matrix = design([term for term, _ in own], table)
        added: Array = (matrix * np.array([coefficient for _, coefficient in own])).sum(axis=1)
        return added

    def of_measured(self, table: Array) -> dict[Modality, Array]:
        """Returns what the measured features add, (N,) per modality; 0 for a nodule at their means."""
        place = {name: at for at, name in enumerate(self.columns())}
        totals: dict[Modality, Array] = {name: np.zeros(len(table)) for name in self.modalities}
        for term, coefficient in zip(self.model.terms, self.model.coefficients, strict=True):
            if term.column not in place:
                continue
            values = table[:, place[term.column]]
            gap = ~np.isfinite(values)
            if term.kind == "gap":
                column = gap.astype(np.float64)
            else:
                column = (np.where(gap, term.fill, values) - term.centre) / term.scale
            modality = next(name for name in self.modalities if term.column.startswith(f"{name}_"))
            totals[modality] += coefficient * column
        return totals

    def log_odds(self, network: Array, beside: Beside) -> Array:
        """Returns the log odds of N nodules, (N,), from those of the network and what they have beside."""
        return self.combined(network, self.parts(beside).values())

    def combined(self, network: Array, parts: Iterable[Array]) -> Array:
        """Returns the log odds of N nodules, (N,), from those of the network and what parts add.

        A modality that is not among `parts` counts as having its features at their means.
        """
        return sum(parts, start=self.model.intercept + self.of_network(network))

    def never_missing(self) -> list[str]:
        """Returns the columns that every training nodule had."""
        gaps = {term.column for term in self.model.terms if term.kind == "gap"}
        names = {term.column for term in self.model.terms if term.kind == "number"}
        return [name for name in self.columns() if name in names - gaps]


def joint_of(metadata: Mapping[str, Any], member: Mapping[str, Any]) -> Joint | None:
    """Returns what joins the network of a fold with measured features; None where nothing does."""
    if member["stacked"] is None:
        return None
    record = tuple(metadata.get("record") or ())  # bundles before format 10 say nothing of it
    return Joint.of(member["stacked"], metadata["network_variant"], tuple(metadata["modalities"]), record)


def joined_log_odds(joint: Joint | None, network: Array, album: Mapping[str, Any]) -> Array:
    """Returns the log odds of N nodules, (N,): a network's, and of a stacked model joined with features."""
    return network if joint is None else joint.log_odds(network, joint.beside(album))


def joined_by_all(joints: Sequence[Joint | None], networks: Array, album: Mapping[str, Any]) -> Array:
    """Returns the same by each of the folds of one model, (folds, N); what is beside is read once.

    Args:
        joints: of the folds; of all, or of none.
        networks: (folds, N) log odds of their networks.
        album: of the nodules.
    """
    first = joints[0]
    if first is None:
        return networks
    beside = first.beside(album)
    both = zip(joints, networks, strict=True)
    return np.stack([joint.log_odds(network, beside) for joint, network in both if joint is not None])


def training_limits(columns: list[str], table: Array) -> dict[str, tuple[float, float]]:
    """Returns the smallest and largest value of each column that has any."""
    limits = {}
    for name, values in zip(columns, table.T, strict=True):
        known = values[np.isfinite(values)]
        if known.size:
            limits[name] = (float(known.min()), float(known.max()))
    return limits


def unusual(joint: Joint, table: Array, limits: Limits) -> list[list[str]]:
    """Returns per nodule in words what is missing, or far outside of what the training nodules had."""
    sentences: list[list[str]] = [[] for _ in table]
    columns, needed = joint.columns(), set(joint.never_missing())
    for row, own in zip(table, sentences, strict=True):
        for modality in joint.modalities:
            prefix = f"{modality}_"
            lost = [
                name.removeprefix(prefix)
                for name, value in zip(columns, row, strict=True)
                if name in needed and name.startswith(prefix) and not np.isfinite(value)
            ]
            if lost:
                more = "" if len(lost) <= 3 else f" and {len(lost) - 3} more"
                own.append(
                    f"{modality} {', '.join(lost[:3])}{more} not measured, taken as the training median"
                )
        for name, value in zip(columns, row, strict=True):
            low, high = limits.get(name, (-np.inf, np.inf))
            reach = WIDER * (high - low)
            if np.isfinite(value) and not low - reach <= value <= high + reach:
                own.append(f"{name.replace('_', ' ', 1)} {value:.3g}, training {low:.3g} to {high:.3g}")
    return sentences
