"""Partition of the nodules of a fit into training and held-out ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dgfnet.dataset.pairs import Nodules, patient_key
from dgfnet.dataset.sampling import undersample
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import fingerprint
from dgfnet.training.record import record_terms, with_record
from dgfnet.training.task import Places, Task
from dgfnet.vocabulary import Modality, Site


def split(task: Task, places: Places, archive: Archive) -> tuple[Nodules, Nodules]:
    """Returns training and held-out nodules of a task; classification needs a known label at the site.

    Where the task reads the record, both have the terms of the training part.
    """
    table = pd.read_parquet(places.nodules)
    folds = pd.read_csv(places.folds, dtype={"nodule_id": str}).set_index("nodule_id")["fold"]
    main = table[table["cohort"] == "main"]
    if task.site is not None:
        main = main[main[f"lnm_{task.site}"].notna()]
        if task.training.sampling == "paper":
            labels = main[f"lnm_{task.site}"].to_numpy(np.float32)
            rng = np.random.default_rng(
                int(fingerprint(task.folds, task.site)[:8], 16)
            )  # one subset for all variants
            main = main.iloc[np.sort(undersample(labels, rng))]
    nodules = select(main, archive, task.site)
    fold = folds.loc[list(nodules.ids)].to_numpy()
    training, held_out = (nodules.take(np.flatnonzero(of)) for of in (fold != task.fold, fold == task.fold))
    if task.inner_folds is not None:
        seed = int(fingerprint(task.folds, task.fold)[:7], 16)  # one inner split for all trials of a fold
        inner, score = grouped_split(training, task.inner_folds, seed)
        training, held_out = training.take(inner), training.take(score)
    if not task.record:
        return training, held_out
    terms = record_terms(task, table, training)
    return with_record(task, table, terms, training), with_record(task, table, terms, held_out)


def grouped_split(nodules: Nodules, parts: int, seed: int) -> tuple[Any, Any]:
    """Returns the positions of all parts but one, and of that one: whole patients, classes alike.

    Raises:
        InputError: when no split has both classes on both sides.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # seconds to import, and most fits cut nothing

    labels = nodules.labels
    for attempt in range(20):  # StratifiedGroupKFold has degenerate shuffles
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed + attempt)
        for rest, part in splitter.split(labels, labels, nodules.patients):
            if len(set(labels[rest])) == len(set(labels[part])) == 2:
                return rest, part
    raise InputError(
        f"the training part of a fold cannot be cut into {parts} with both classes in each; "
        "lower tune.inner_folds"
    )


def select(table: pd.DataFrame, archive: Archive, site: Site | None) -> Nodules:
    """Selects the nodules of a table, with their rows in the archive and the labels of a site."""
    rows: dict[Modality, list[Any]] = {}
    largest: dict[Modality, Any] = {}
    for modality in archive.pictured():
        grouped = archive.rows(modality).groupby("nodule_id")["row"].apply(lambda r: r.to_numpy(np.int64))
        best = archive.largest(modality)
        rows[modality] = [grouped[nodule] for nodule in table["nodule_id"]]
        largest[modality] = np.array([best[nodule] for nodule in table["nodule_id"]], dtype=np.int64)
    labels = np.full(len(table), np.nan) if site is None else table[f"lnm_{site}"]
    keys = [patient_key(c, p) for c, p in zip(table["cohort"], table["patient_id"], strict=True)]
    return Nodules(
        tuple(table["nodule_id"]),
        np.array(keys, dtype=np.int64),
        np.asarray(labels, dtype=np.float32),
        rows,
        largest,
    )
