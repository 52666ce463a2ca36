"""Fits below one MLflow run: opens the run, makes its trials, and trains what they start from first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from dgfnet import provenance, tracking
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.cluster import run_trials
from dgfnet.sweep.plan import places
from dgfnet.sweep.telling import kept_alive
from dgfnet.sweep.trial import Trial
from dgfnet.training.task import Places, Task, finished
from dgfnet.vocabulary import SPECS, Site, Variant


@dataclass(frozen=True)
class Group:
    """The trials of one open MLflow run; it can be pickled, since a search makes trials in its workers.

    Attributes:
        settings: of the run.
        uri: of the tracking store.
        experiment_id: of the run.
        run_id: of the parent run.
        tags: of the parent run and of every trial below it.
        results: digest of the results that the parent run had when it was opened; empty without any.
    """

    settings: Settings
    uri: str
    experiment_id: str
    run_id: str
    tags: Mapping[str, str]
    results: str = ""

    @property
    def run(self) -> tracking.Run:
        """The parent run."""
        client = tracking.client(self.uri)
        return tracking.Run(client, self.run_id, self.experiment_id, results=self.results)

    def trial(
        self,
        task: Task,
        where: Places | None = None,
        values: Mapping[str, Any] | None = None,
        **tags: str,
    ) -> Trial:
        """Returns a task with everything its worker needs.

        Args:
            task: the fit.
            where: its inputs, those of the stages when None.
            values: of the settings that a search varies.
            tags: of its child run, beside those of the group.
        """
        sweep = self.settings.sweep
        return Trial(
            task=task,
            places=where or places(self.settings),
            uri=self.uri,
            experiment_id=self.experiment_id,
            parent=self.run_id,
            tags={**self.tags, **tags, "fold": str(task.fold), "fit": task.key},
            workers=max(1, int(sweep.cpus_per_trial)),
            gpu_share=1.0 if sweep.gpus_per_trial == "auto" else min(1.0, sweep.gpus_per_trial),
            checkpoint_every=sweep.checkpoint_every,
            values=values or {},
        )


@contextmanager
def open_group(
    settings: Settings,
    site: Site | None,
    name: str,
    identity: str,
    tags: Mapping[str, str],
    part: str | None = None,
) -> Iterator[Group]:
    """Opens the parent run of a group, or the one with this identity again; it ends with the block.

    Args:
        settings: of the run.
        site: whose experiment it belongs to; None for the segmentation phase.
        name: of the run.
        identity: the same for the same work, so that work taken up again goes on in its run.
        tags: of the run and of the trials below it.
        part: of `tracking.experiment_name`.
    """
    uri = tracking.store(settings)
    experiment = _prepared(uri, tracking.experiment_name(site, part))
    every = {**run_tags(settings), **tags}
    run = tracking.open_run(uri, experiment, name, tracking.identity_of(settings, identity), every)
    with tracking.running(run), kept_alive(run):
        yield Group(settings, uri, experiment, run.run_id, every, run.results)


@cache  # a command opens dozens of groups in two or three experiments
def _prepared(uri: str, experiment: str) -> str:
    return tracking.prepare(uri, experiment)


def train(settings: Settings, label: str, trials: Sequence[Trial]) -> None:
    """Runs the trials that are not done: networks of one modality first, then those that start from them.

    Raises:
        InputError: when a fit diverged or kept crashing; the others of its kind are finished first.
    """
    for kind, later in (("unimodal", False), ("multimodal", True)):
        chosen = [trial for trial in trials if bool(SPECS[trial.task.variant].parents) == later]
        run_trials(f"{label} {kind}", chosen, settings.sweep, settings.work / "ray")


def train_segmentation(settings: Settings, tasks: Sequence[Task]) -> None:
    """Trains the segmentation fits not on disk yet; one MLflow parent run per modality and encoder.

    Raises:
        InputError: when a fit failed.
    """
    where = places(settings)
    members: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        members.setdefault((task.variant, task.encoder), []).append(task)
    with ExitStack() as stack:
        groups = {}
        for (variant, encoder), fits in members.items():
            identity = fingerprint([task.key for task in fits])
            tags = {"variant": variant, "stage": "pretrain", "encoder": encoder}
            opened = open_group(settings, None, f"{variant} {encoder}", identity, tags)
            groups[variant, encoder] = stack.enter_context(opened)
        trials = [groups[name].trial(task) for name, fits in members.items() for task in fits]
        run_trials("pretrain", trials, settings.sweep, settings.work / "ray")
        for (variant, encoder), fits in members.items():
            records = [finished(where, task.key) or {} for task in fits]
            names = sorted({name for record in records for name in record["dice"]})
            means = {f"dice_{name}": sum(r["dice"][name] for r in records) / len(records) for name in names}
            run = groups[variant, encoder].run
            run.metrics(means)
            run.params({"variant": variant, "encoder": encoder, "folds": len(fits)})


def check_modalities(settings: Settings, variants: Sequence[Variant], key: str) -> None:
    """Refuses variants of a modality that the cohort has no image of.

    Raises:
        InputError: naming the setting `key` and the variant.
    """
    pictured = Archive.open(settings.artifacts("preprocess")).pictured()
    for variant in variants:
        if absent := [name for name in SPECS[variant].modalities if name not in pictured]:
            raise InputError(
                f"{key}: {variant} needs {' and '.join(absent)}, which no image of the cohort shows; name "
                f"variants of {' and '.join(pictured)} alone"
            )


def run_tags(settings: Settings) -> dict[str, str]:
    """Returns the tags every run carries: who made it, from which data and settings."""
    record = provenance.describe(settings, provenance.FIT_SECTIONS)
    project = tracking.leave_project_run()
    return {
        "git_commit": record["git_commit"],
        "data_md5": record["data_md5"],
        "params_sha256": record["params_sha256"],
        "overrides": " ".join(settings.overrides),
        "pretrained": settings.network.pretrained,
        "sampling": settings.training.sampling,
        **({tracking.PROJECT_RUN: project} if project else {}),
    }
