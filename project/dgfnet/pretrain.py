"""The stage `pretrain`: the segmentation-only phase, once per fold, modality and encoder.

It knows neither label, site nor fusion, so every variant and every site with that encoder starts from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from dgfnet import provenance, tracking
from dgfnet.errors import InputError
from dgfnet.network.variants import SPECS
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import Settings, Variant, fingerprint
from dgfnet.training.sweep import sweep
from dgfnet.training.task import Task, finished
from dgfnet.training.tasks import Facts, encoders, gather, places, segmentation
from dgfnet.training.trial import Trial

SECTIONS = ("base", "preprocess", "network", "training", "pretrain")


def run(settings: Settings) -> None:
    """Writes artifacts/pretrain/fits.json: every fit with its key and how well the held-out masks are found.

    Raises:
        InputError: when an earlier stage has not run, the audit found a leak, or a fit failed.
    """
    _audited(settings)
    facts = gather(settings)
    wanted = [
        segmentation(settings, facts, modality, encoder, fold)
        for encoder in sorted(encoders(settings))
        for modality in Archive.open(settings.artifacts("preprocess")).pictured()
        for fold in range(facts.fold_count)
    ]
    ensure(settings, facts, wanted)
    where = places(settings)
    records = {task.name: finished(where, task.key) or {} for task in wanted}
    folder = settings.artifacts("pretrain")
    chosen = {name: {"key": record["key"], "dice": record["dice"]} for name, record in records.items()}
    provenance.write_json(folder / "fits.json", chosen)
    provenance.write(folder, settings, sections=SECTIONS)


def check_modalities(settings: Settings, variants: Iterable[Variant], key: str) -> None:
    """Refuses variants of a modality that the cohort has no image of.

    Raises:
        InputError: naming the setting `key` and the variant.
    """
    there = Archive.open(settings.artifacts("preprocess")).pictured()
    for variant in variants:
        if absent := [name for name in SPECS[variant].modalities if name not in there]:
            raise InputError(
                f"{key}: {variant} needs {' and '.join(absent)}, which no image of the cohort shows; name "
                f"variants of {' and '.join(there)} alone"
            )


def _audited(settings: Settings) -> None:
    """Nothing is trained on a cohort whose audit is missing or found a leak."""
    path = settings.artifacts("audit", "audit.json")
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage audit first")
    if blocks := json.loads(path.read_text(encoding="utf-8"))["blocks"]:
        raise InputError(f"{path}: {'; '.join(blocks)}; nothing is trained")


def ensure(settings: Settings, facts: Facts, tasks: Sequence[Task]) -> None:
    """Trains the segmentation fits not on disk yet; one MLflow parent run per modality and encoder."""
    where = places(settings)
    uri = tracking.store(settings)
    experiment = tracking.prepare(uri, tracking.experiment_name(None))
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.variant, task.encoder), []).append(task)
    parents, trials = [], []
    for (variant, encoder), members in groups.items():
        tags = run_tags(settings) | {"variant": variant, "stage": "pretrain", "encoder": encoder}
        identity = fingerprint([task.key for task in members])
        parent = tracking.open_run(uri, experiment, f"{variant} {encoder}", identity, tags)
        parents.append(parent)
        trials += [make_trial(settings, task, uri, experiment, parent.run_id, tags) for task in members]
    with tracking.running_all(parents):
        sweep("pretrain", trials, settings.sweep, settings.work / "ray")
        for parent, ((variant, encoder), members) in zip(parents, groups.items(), strict=True):
            records = [finished(where, task.key) or {} for task in members]
            names = sorted({name for record in records for name in record["dice"]})
            means = {f"dice_{name}": sum(r["dice"][name] for r in records) / len(records) for name in names}
            parent.metrics(means)
            parent.params({"variant": variant, "encoder": encoder, "folds": len(members)})


def make_trial(
    settings: Settings, task: Task, uri: str, experiment: str, parent: str, tags: dict[str, str]
) -> Trial:
    """A task with everything its worker needs."""
    return Trial(
        task=task,
        places=places(settings),
        uri=uri,
        experiment_id=experiment,
        parent=parent,
        tags=tags | {"fold": str(task.fold), "fit": task.key},
        threads=max(1, int(settings.sweep.cpus_per_trial)),
        checkpoint_every=settings.sweep.checkpoint_every,
    )


def run_tags(settings: Settings) -> dict[str, str]:
    """Tags every run carries: who made it, from which data and settings."""
    facts = provenance.describe(settings, ("base", "cohort", *SECTIONS, "crossval"))
    project = tracking.leave_project_run()
    return {
        "git_commit": facts["git_commit"],
        "data_md5": facts["data_md5"],
        "params_sha256": facts["params_sha256"],
        "overrides": " ".join(settings.overrides),
        "pretrained": settings.network.pretrained,
        "sampling": settings.training.sampling,
        **({tracking.PROJECT_RUN: project} if project else {}),
    }
