"""The stage `pretrain`: the segmentation-only phase, once per fold, modality and encoder.

It knows neither label, site nor fusion, so every variant and every site with that encoder starts from it.
"""

from __future__ import annotations

from dgfnet import provenance
from dgfnet.errors import InputError
from dgfnet.files import write_json
from dgfnet.preprocess.archive import Archive
from dgfnet.results import audit_findings
from dgfnet.settings import Settings
from dgfnet.sweep.group import train_segmentation
from dgfnet.sweep.plan import encoders, gather, places, segmentation
from dgfnet.training.task import finished

SECTIONS = ("base", "preprocess", "network", "training", "pretrain")


def run(settings: Settings) -> None:
    """Writes artifacts/pretrain: fits.json, every fit with its key and how well held-out masks are found.

    And augmented_us.png and augmented_ct.png, a few pictures as the augmentation changes them.

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
    records = {task.name: finished(where, task.key) or {} for task in tasks}
    fits = {name: {"key": record["key"], "dice": record["dice"]} for name, record in records.items()}
    write_json(folder / "fits.json", fits)
    provenance.write(folder, settings, sections=SECTIONS)


def _check_audit(settings: Settings) -> None:
    """Refuses to train on a cohort whose audit is missing or found a leak."""
    path = settings.artifacts("audit", "audit.json")
    findings = audit_findings(settings)
    if findings is None:
        raise InputError(f"{path}: no such file; run the stage audit first")
    if findings:
        raise InputError(f"{path}: {'; '.join(findings)}; nothing is trained")
