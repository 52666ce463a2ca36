"""Cross-validation folds: whole patients, both sites' labels balanced, made once and kept in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.cohort.records import Nodule
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.vocabulary import SITES

ATTEMPTS = 50  # stratified folds of groups have degenerate shuffles; each attempt is audited
NEAR, NEARLY = 1e-8, 1e-5  # absolute and relative difference of two values that tie: numpy.isclose's


@dataclass(frozen=True)
class Folds:
    """A partition of nodules into folds 0..K-1. One that splits a patient cannot be built.

    Attributes:
        patients: patient id per nodule id.
        fold: fold per nodule id.
    """

    patients: Mapping[str, str]
    fold: Mapping[str, int]

    def __post_init__(self) -> None:
        """Refuses leaks and gaps.

        Raises:
            InputError: naming the patient or the fold.
        """
        if set(self.patients) != set(self.fold):
            raise InputError(
                f"folds: {sorted(set(self.patients) ^ set(self.fold))[:3]} lack a patient or a fold"
            )
        home: dict[str, int] = {}
        for nodule, fold in self.fold.items():
            patient = self.patients[nodule]
            if home.setdefault(patient, fold) != fold:
                raise InputError(
                    f"folds: patient {patient} is in folds {home[patient]} and {fold}; that is a leak"
                )
        if sorted(set(home.values())) != list(range(self.count)):
            raise InputError(
                f"folds: expected 0 to {self.count - 1} without a gap, found {sorted(set(home.values()))}"
            )

    @property
    def count(self) -> int:
        """Number of folds."""
        return max(self.fold.values(), default=-1) + 1

    def write(self, path: Path) -> None:
        """Writes folds.csv: nodule_id, patient_id, fold."""
        table = (
            pd.DataFrame({"patient_id": self.patients, "fold": self.fold})
            .rename_axis("nodule_id")
            .sort_index()
        )
        with replacing(path) as temporary:
            table.to_csv(temporary)

    @classmethod
    def read(cls, path: Path) -> Folds:
        """Reads folds.csv.

        Raises:
            InputError: when it is missing, is no such table, names a nodule twice, or leaks.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file; run the stage cohort first")
        try:
            table = pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str, "fold": np.int64})
            names, patients = table["nodule_id"].tolist(), table["patient_id"].tolist()
            numbers = table["fold"].tolist()
        except (ValueError, KeyError) as error:  # pandas' own are ValueErrors
            raise InputError(f"{path}: no table of folds ({error}); run the stage cohort again") from None
        if len(set(names)) < len(names):
            raise InputError(f"{path}: a nodule stands there twice; run the stage cohort again")
        return cls(dict(zip(names, patients, strict=True)), dict(zip(names, numbers, strict=True)))


def make(nodules: Sequence[Nodule], count: int, seed: int, minimum_per_class: int) -> Folds:
    """Makes folds grouped by patient and stratified on both sites' labels.

    Args:
        nodules: of the main cohort.
        count: number of folds.
        seed: of the shuffle.
        minimum_per_class: nodules of each class that every fold needs, for each site that has labels at all.

    Raises:
        InputError: when no audited partition is found.
    """
    patients = {nodule.nodule_id: nodule.patient_id for nodule in nodules}
    strata = np.array(["".join(str(nodule.labels[site]) for site in SITES) for nodule in nodules])
    groups = np.array(list(patients.values()))
    if (found := len(set(patients.values()))) < count:
        raise InputError(f"{found} patients cannot fill {count} folds; lower cohort.folds")
    problem = ""
    for attempt in range(ATTEMPTS):
        fold = stratified(strata, groups, count, seed + attempt).tolist()
        if len(set(fold)) < count:
            problem = "an empty fold"
            continue
        folds = Folds(patients, dict(zip(patients, fold, strict=True)))
        problem = _audit(nodules, folds, minimum_per_class)
        if not problem:
            return folds
    raise InputError(
        f"no partition into {count} folds passed the audit: {problem}; "
        f"lower cohort.folds or cohort.minimum_per_class"
    )


def stratified(strata: NDArray[np.str_], groups: NDArray[np.str_], count: int, seed: int) -> NDArray[np.intp]:
    """Deals groups to folds so that every fold gets its share of each stratum: fold of each row, (n,).

    The folds of scikit-learn's StratifiedGroupKFold with shuffle (1.9), which values the folds one after the
    other for each group, and so takes several times as long. Groups come in the order of how much the counts
    of strata vary, those that vary alike as they were shuffled; each goes where the shares of the strata then
    vary least between folds. The first fold of least variation wins, or a smaller one that ties with it.

    Args:
        strata: (n,) stratum of each row.
        groups: (n,) group of each row; its rows stay together.
        count: number of folds, at least 2.
        seed: of the shuffle.
    """
    stratum, size = np.unique(strata, return_inverse=True, return_counts=True)[1:]
    names, group = np.unique(groups, return_inverse=True)
    held = np.zeros((len(names), len(size)))  # rows of each group in each stratum
    np.add.at(held, (group, stratum), 1)
    shuffled = np.arange(len(names))
    np.random.RandomState(seed).shuffle(shuffled)  # the generator of scikit-learn, for its folds
    order = shuffled[np.argsort(-np.std(held[shuffled], axis=1), kind="stable")]
    dealt = np.zeros((count, count, len(size)))  # [i]: rows per fold and stratum, were the group in fold i
    own = np.einsum("iis->is", dealt)  # a view
    rows = [0] * count
    fold = np.empty(len(names), dtype=np.intp)
    for one, more in zip(order.tolist(), held[order].sum(axis=1).astype(int).tolist(), strict=True):
        own += held[one]
        best = _least(_variation(dealt / size), rows)
        own -= held[one]
        dealt[:, best] += held[one]
        rows[best] += more
        fold[one] = best
    return fold[group]


def _variation(shares: NDArray[np.float64]) -> list[float]:
    """Returns the standard deviation over folds, mean of all strata, of shares (ways, folds, strata).

    The steps are those of numpy.std and numpy.mean, to the bit, without their cost for small arrays.
    """
    folds, strata = shares.shape[1:]
    shares -= np.add.reduce(shares, axis=1, keepdims=True) / folds
    shares *= shares
    spread = np.sqrt(np.add.reduce(shares, axis=1) / folds)
    return (np.add.reduce(spread, axis=1) / strata).tolist()  # type: ignore[no-any-return]


def _least(values: Sequence[float], rows: Sequence[int]) -> int:
    """Returns the first place of the least value, or a later one that ties with it and has fewer rows."""
    best = 0
    for place in range(1, len(values)):
        value, least = values[place], values[best]
        tie = abs(value - least) <= NEAR + NEARLY * abs(least)
        if value < least or (tie and rows[place] < rows[best]):
            best = place
    return best


def by_centre(nodules: Sequence[Nodule], centre: Mapping[str, str], minimum_per_class: int) -> Folds:
    """Makes a fold of every centre: each is held out once, and no network that scores it has seen it.

    Args:
        nodules: of the main cohort.
        centre: of each, by nodule id; folds are numbered in the order of the names.
        minimum_per_class: as for `make`.

    Raises:
        InputError: with fewer than two centres, a patient at two of them, or too few nodules of a class.
    """
    names = sorted(set(centre.values()))
    if len(names) < 2:
        raise InputError(f"cohort.split: centres needs two centres or more, found {', '.join(names)}")
    home: dict[str, str] = {}
    for nodule in nodules:
        own = centre[nodule.nodule_id]
        if home.setdefault(nodule.patient_id, own) != own:
            raise InputError(
                f"patient {nodule.patient_id} has nodules at {home[nodule.patient_id]} and {own}, trained on "
                "and held out at once; give all nodules of a patient one centre"
            )
    patients = {nodule.nodule_id: nodule.patient_id for nodule in nodules}
    number = {name: place for place, name in enumerate(names)}
    folds = Folds(patients, {nodule: number[name] for nodule, name in centre.items()})
    if problem := _audit(nodules, folds, minimum_per_class):
        held = ", ".join(f"{place} is {name}" for name, place in number.items())
        raise InputError(
            f"leave-one-centre-out: {problem} (fold {held}); join small centres in the column, or lower "
            "cohort.minimum_per_class"
        )
    return folds


def _audit(nodules: Sequence[Nodule], folds: Folds, minimum: int) -> str:
    for site in SITES:
        held = Counter((folds.fold[one.nodule_id], one.labels[site]) for one in nodules)
        labelled = any(label is not None for _, label in held)
        for fold in range(folds.count if labelled else 0):
            for value in (0, 1):
                if held[fold, value] < minimum:
                    found = f"fold {fold} has {held[fold, value]} nodules of {site} class {value}"
                    return f"{found}, expected at least {minimum}"
    return ""
