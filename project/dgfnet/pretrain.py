"""The stage `pretrain`: the segmentation-only phase, once per fold, modality and encoder.

It knows neither label, site nor fusion, so every variant and every site with that encoder starts from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dgfnet import provenance
from dgfnet.errors import InputError
from dgfnet.files import write_csv, write_json
from dgfnet.preprocess.archive import Archive
from dgfnet.results import audit_findings
from dgfnet.settings import Settings
from dgfnet.sweep.group import train_segmentation
from dgfnet.sweep.plan import encoders, gather, places, segmentation
from dgfnet.training.task import KEPT, finished, keep

OF = ["encoder", "modality", "feature"]
SECTIONS = ("base", "preprocess", "network", "training", "pretrain")


def run(settings: Settings) -> None:
    """Writes artifacts/pretrain: the fits; fits.json, the key of each and how well held-out masks are found.

    And augmented_us.png and augmented_ct.png, a few pictures as the augmentation changes them.

    With `pretrain.measured_weight` also reading.csv: how much of the measured features encoders tell.

    Raises:
        InputError: when an earlier stage has not run, the audit found a leak, or a fit failed.
    """
    _check_audit(settings)
    inputs = gather(settings)
    archive, folder = Archive.open(settings.artifacts("preprocess")), settings.artifacts("pretrain")
    from dgfnet.dataset.sheet import write_augmented_sheet  # OpenCV: half a second, and only now

    for modality in archive.pictured():
        sheet = folder / f"augmented_{modality}.png"
        write_augmented_sheet(sheet, archive, modality, settings.training.augment, settings.base.seed)
    tasks = [
        segmentation(settings, inputs, modality, encoder, fold)
        for encoder in sorted(encoders(settings))
        for modality in archive.pictured()
        for fold in range(inputs.fold_count)
    ]
    train_segmentation(settings, tasks)
    where = places(settings)
    fits, told = {}, []
    for task in tasks:
        record = finished(where, task.key) or {}
        name = f"{task.encoder}/{task.variant}/fold{task.fold}"
        fits[name] = {"key": record["key"], "dice": record["dice"]}
        told += [(task.encoder, *name.split("_", 1), r2) for name, r2 in record["measured_r2"].items()]
    keep(where, [task.key for task in tasks], folder / KEPT)
    write_json(folder / "fits.json", fits)
    write_csv(reading(told), folder / "reading.csv")
    provenance.write(folder, settings, sections=SECTIONS)


def reading(told: Sequence[tuple[str, str, str, float]]) -> pd.DataFrame:
    """Returns how much of the measured features encoders tell: encoder, modality, feature, r2.

    Args:
        told: of every fit and feature encoder, modality, feature and R2 on held-out pictures.

    Returns:
        The mean over the folds: 1 is all of a feature's variance, 0 no more than its mean tells.
    """
    rows = pd.DataFrame(told, columns=[*OF, "r2"])
    return rows.groupby(OF, sort=False)[["r2"]].mean().reset_index()


def _check_audit(settings: Settings) -> None:
    """Refuses to train on a cohort whose audit is missing or found a leak."""
    path = settings.artifacts("audit", "audit.json")
    findings = audit_findings(settings)
    if findings is None:
        raise InputError(f"{path}: no such file; run the stage audit first")
    if findings:
        raise InputError(f"{path}: {'; '.join(findings)}; nothing is trained")
