"""Cross-validation folds: whole patients, both sites' labels balanced, made once and kept in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dgfnet.cohort.records import Nodule
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.vocabulary import SITES

ATTEMPTS = 50  # StratifiedGroupKFold has degenerate shuffles; each attempt is audited


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
    from sklearn.model_selection import StratifiedGroupKFold  # a second, and folds are made once

    patients = {nodule.nodule_id: nodule.patient_id for nodule in nodules}
    strata = np.array(["".join(str(nodule.labels[site]) for site in SITES) for nodule in nodules])
    groups = np.array(list(patients.values()))
    if len(set(groups)) < count:
        raise InputError(f"{len(set(groups))} patients cannot fill {count} folds; lower cohort.folds")
    problem = ""
    for attempt in range(ATTEMPTS):
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed + attempt)
        fold = {}
        for number, (_, test) in enumerate(splitter.split(strata, strata, groups)):
            fold.update({nodules[i].nodule_id: number for i in test})
        if len(set(fold.values())) < count:
            problem = "an empty fold"
            continue
        folds = Folds(patients, fold)
        problem = _audit(nodules, folds, minimum_per_class)
        if not problem:
            return folds
    raise InputError(
        f"no partition into {count} folds passed the audit: {problem}; "
        f"lower cohort.folds or cohort.minimum_per_class"
    )


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
    folds = Folds(patients, {nodule: names.index(name) for nodule, name in centre.items()})
    if problem := _audit(nodules, folds, minimum_per_class):
        held = ", ".join(f"{number} is {name}" for number, name in enumerate(names))
        raise InputError(
            f"leave-one-centre-out: {problem} (fold {held}); join small centres in the column, or lower "
            "cohort.minimum_per_class"
        )
    return folds


def _audit(nodules: Sequence[Nodule], folds: Folds, minimum: int) -> str:
    for site in SITES:
        labels = [(folds.fold[n.nodule_id], n.labels[site]) for n in nodules if n.labels[site] is not None]
        for fold in range(folds.count if labels else 0):
            for value in (0, 1):
                nodule_count = labels.count((fold, value))
                if nodule_count < minimum:
                    held = f"fold {fold} has {nodule_count} nodules of {site} class {value}"
                    return f"{held}, expected at least {minimum}"
    return ""
