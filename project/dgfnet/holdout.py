"""The stage `holdout`: the paper's protocol of its Table 4, beside the champion that `external` validates.

The main cohort is split once, by whole patients: one fold is for validation. The epoch of the network that
does best on it goes to the external cohort. Its score on the validation part was chosen by, and so flatters;
the external cohort is looked at once, with that epoch and the threshold of every other fit.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from dgfnet import digests, files, provenance
from dgfnet.errors import InputError
from dgfnet.external.measures import measure
from dgfnet.results import IDS, METRICS, load_holdout, load_nodules
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.group import check_modalities, open_group, train, train_segmentation
from dgfnet.sweep.plan import Inputs, gather, holdout, places, segmentations
from dgfnet.training.task import KEPT, Places, Task, finished, keep
from dgfnet.vocabulary import SITES, Site, Variant

SECTIONS = ("base", "cohort", "preprocess", "network", "training", "pretrain", "crossval", "holdout")


def run(settings: Settings) -> None:
    """Writes validation.csv, external.csv and metrics.json of each site, its fit, and an MLflow run for each.

    A site without labels, or without enough external ones, is skipped, and all are where the cohort has no
    picture of a modality that the variant needs; skipped.json says so.

    Raises:
        InputError: when an earlier stage has not run or a fit failed.
    """
    variant = settings.holdout.variant
    reasons: dict[Site, str] = {}
    if variant is None:
        reasons = dict.fromkeys(settings.base.sites, "holdout.variant is null")
    elif absent := _not_pictured(settings, variant):
        reasons = dict.fromkeys(settings.base.sites, absent)
    else:
        inputs = gather(settings, (variant,))
        external = load_nodules(settings).query("cohort == 'external'")
        for site in settings.base.sites:
            if reason := _why_not(settings, inputs, site, external):
                reasons[site] = reason
        chosen = [site for site in settings.base.sites if site not in reasons]
        _train(settings, inputs, {site: holdout(settings, inputs, site) for site in chosen}, external)
    for site in reasons:
        for name in ("validation.csv", "external.csv", METRICS, digests.NAME):
            settings.artifacts("holdout", site, name).unlink(missing_ok=True)
    keys = [metrics["fit"] for site in SITES if (metrics := load_holdout(settings, site))]
    keep(places(settings), keys, settings.artifacts("holdout", KEPT))
    for site, reason in reasons.items():
        Console(stderr=True).print(f"holdout: {site} skipped: {reason}", soft_wrap=True)
        files.write_json(settings.artifacts("holdout", site, "skipped.json"), {"reason": reason})
    provenance.write(settings.artifacts("holdout"), settings, sections=SECTIONS)


def _not_pictured(settings: Settings, variant: Variant) -> str | None:
    try:
        check_modalities(settings, [variant], "holdout.variant")
    except InputError as error:
        return str(error)
    return None


def _why_not(settings: Settings, inputs: Inputs, site: Site, external: pd.DataFrame) -> str | None:
    if site not in inputs.labelled:
        return f"no nodule of the main cohort, or only one class, has a label lnm_{site}"
    needed = settings.external.minimum_per_class
    for value in (0, 1):
        if (count := int((external[f"lnm_{site}"] == value).sum())) < needed:
            return f"{count} external nodules have lnm_{site} {value}, at least {needed} are needed"
    return None


def _train(
    settings: Settings, inputs: Inputs, tasks: dict[Site, tuple[Task, list[Task]]], external: pd.DataFrame
) -> None:
    """Trains the networks, and those they start from where `crossval` has not, and concludes each site."""
    fold = settings.holdout.fold
    wanted = [(site, task.variant) for site, (task, _) in tasks.items()]
    train_segmentation(settings, segmentations(settings, inputs, wanted, [fold]))
    with ExitStack() as stack:
        groups, trials = {}, []
        for site, (task, origins) in tasks.items():
            tags = {"site": site, "variant": task.variant, "stage": "holdout"}
            name, identity = f"{task.variant}, split once", fingerprint(["holdout", task.key])
            opened = open_group(settings, site, name, identity, tags, part="holdout")
            groups[site] = stack.enter_context(opened)
            before = [origin for origin in origins if origin.phase == "classification"]
            trials += [groups[site].trial(each, variant=each.variant) for each in (*before, task)]
        train(settings, "holdout", trials)
        for site, (task, _) in tasks.items():
            metrics = _conclude(settings, site, task, external)
            scores = {
                f"{part}_{score}": metrics[part][score]
                for part in ("validation", "external")
                for score in ("auc", "accuracy", "sensitivity", "specificity")
            }
            groups[site].run.metrics(scores)
            groups[site].run.params({"variant": task.variant, "fold": fold, "epoch": metrics["epoch"]})


def _conclude(settings: Settings, site: Site, task: Task, external: pd.DataFrame) -> dict[str, Any]:
    """Writes predictions and metrics of a site; returns the metrics."""
    where = places(settings)
    record = finished(where, task.key) or {}
    folder, threshold = settings.artifacts("holdout", site), float(record["threshold"])
    held_out = pd.read_csv(where.fit(task.key) / "predictions.csv", dtype=IDS)
    patients = load_nodules(settings).set_index("nodule_id")["patient_id"]
    held_out.insert(1, "patient_id", patients.loc[held_out["nodule_id"]].to_numpy())
    rows = external[external[f"lnm_{site}"].notna()].sort_values("nodule_id")
    abroad = rows[["nodule_id", "patient_id"]].assign(
        label=rows[f"lnm_{site}"].astype(int), probability=_score(task, where, rows, record)
    )
    parts = {"validation": held_out[list(abroad.columns)], "external": abroad}
    (folder / "skipped.json").unlink(missing_ok=True)
    metrics: dict[str, Any] = {
        "variant": task.variant,
        "fit": task.key,
        "fold": task.fold,
        "criterion": settings.holdout.criterion,
        "epoch": record["chosen_epoch"],
        "epochs": task.epochs,
        "threshold": threshold,
    }
    for name, table in parts.items():
        files.write_csv(table, folder / f"{name}.csv")
        metrics[name] = measure(table, threshold, settings.base.confidence)
    files.write_json(folder / METRICS, metrics)
    digests.keep(folder)
    return metrics


def _score(
    task: Task, where: Places, rows: pd.DataFrame, record: dict[str, Any]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores nodules of the archive with a finished fit, corrected for its sampling as held-out ones are."""
    import torch  # seconds, and a skipped stage can do without

    from dgfnet.preprocess.archive import Archive
    from dgfnet.training.hardware import Hardware
    from dgfnet.training.inference import corrected, predict
    from dgfnet.training.start import restore
    from dgfnet.unseen import unseen

    archive, hardware = Archive.open(where.archive), Hardware(torch.device("cpu"), None)
    model = restore(task, where)
    nodules = unseen(task, record, rows, archive)
    raw = predict(model, archive, nodules, hardware, task.network.images, segment=False).probability
    return corrected(raw, task.training.sampling, float(record["training_prevalence"]))[0]
