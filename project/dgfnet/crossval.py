"""The stage `crossval`: every fold of every variant, baseline and site, and the out-of-fold table of each."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from dgfnet import digests, files, provenance, pseudonyms, tracking
from dgfnet.cohort.folds import Folds
from dgfnet.errors import InputError
from dgfnet.metrics.discrimination import average, roc_curve, scores
from dgfnet.metrics.intervals import auc_difference, auc_interval
from dgfnet.results import ABLATION, IDS, METRICS, MODEL, OUT_OF_FOLD, load_results, tables_of
from dgfnet.settings import Settings, fingerprint
from dgfnet.sweep.group import Group, check_modalities, open_group, train, train_segmentation
from dgfnet.sweep.plan import Inputs, classification, gather, places, segmentations
from dgfnet.tabular.baselines import CrossValidated, NothingToLearn, cross_validate
from dgfnet.training.task import KEPT, UNIFORM, Task, finished, keep
from dgfnet.vocabulary import SITES, SPECS, STACKS, TABULAR, Baseline, Site, Stack, Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTIONS = ("base", "cohort", "preprocess", "network", "training", "pretrain", "crossval")
Matrix = dict[tuple[Site, Variant], list[Task]]
Ablations = dict[tuple[Site, str], list[Task]]  # by their names in settings


def run(settings: Settings) -> None:
    """Writes out_of_fold.csv and metrics.json of each site, variant and baseline, and an MLflow run for each.

    And the fits they are made of.

    A site without labels of both classes is skipped, and skipped.json says so.

    Raises:
        InputError: when an earlier stage has not run or a fit failed.
    """
    inputs = gather(settings, settings.crossval.variants)
    for site in settings.base.sites:
        settings.artifacts("crossval", site, "skipped.json").unlink(missing_ok=True)
        if site not in inputs.labelled:
            _skip(settings, site)
    matrix = _matrix(settings, inputs)
    check_modalities(settings, [variant for _, variant in matrix], "crossval.variants")
    if not matrix:
        raise InputError(
            f"none of the sites {', '.join(settings.base.sites)} has labels of both classes; nothing to do"
        )
    train_segmentation(settings, segmentations(settings, inputs, matrix, range(inputs.fold_count)))
    _train(settings, inputs, matrix, _ablations(settings, inputs, matrix))
    for site in dict.fromkeys(site for site, _ in matrix):
        _add_baselines(settings, site, [variant for other, variant in matrix if other == site])
    keep(places(settings), _fits(settings), settings.artifacts("crossval", KEPT))
    provenance.write(settings.artifacts("crossval"), settings, sections=SECTIONS)


def _fits(settings: Settings) -> set[str]:
    """Returns the keys of the fits that the results are made of, also those that this run did not touch."""
    results = [load_results(settings, site) for site in SITES]
    networks = (known for each in results for name, known in each.items() if name not in TABULAR)
    return {fold["key"] for known in networks for fold in known["folds"]}


def _skip(settings: Settings, site: Site) -> None:
    reason = f"no nodule of the main cohort, or only one class, has a label lnm_{site}"
    Console(stderr=True).print(f"crossval: {site} skipped: {reason}", soft_wrap=True)
    shutil.rmtree(settings.artifacts("crossval", site), ignore_errors=True)
    files.write_json(settings.artifacts("crossval", site, "skipped.json"), {"reason": reason})


def _matrix(settings: Settings, inputs: Inputs) -> Matrix:
    """Returns the tasks of each site and variant, parents of the chosen variants before them."""
    variants = set(settings.crossval.variants)
    variants |= {parent for variant in variants for parent in SPECS[variant].parents}
    return {
        (site, variant): [
            classification(settings, inputs, site, variant, fold)[0] for fold in range(inputs.fold_count)
        ]
        for variant in sorted(variants, key=lambda name: (bool(SPECS[name].parents), name))
        for site in settings.base.sites
        if site in inputs.labelled
    }


def _ablations(settings: Settings, inputs: Inputs, matrix: Matrix) -> Ablations:
    """Returns the tasks of the ablations, where dgf is trained; results of other ablations there go.

    Raises:
        InputError: when the networks of one are those of dgf, or of another.
    """
    made: Ablations = {}
    for site in (site for site, variant in matrix if variant == "dgf"):
        first = {matrix[site, "dgf"][0].key: "dgf"}
        for name, values in settings.crossval.ablations.items():
            tasks = [
                classification(settings, inputs, site, "dgf", fold, values)[0]
                for fold in range(inputs.fold_count)
            ]
            other = first.setdefault(tasks[0].key, f"{ABLATION}{name}")
            if other != f"{ABLATION}{name}":
                raise InputError(
                    f"crossval.ablations.{name}: its networks are those of {other}; give it others, or "
                    "leave it out"
                )
            made[site, name] = tasks
        for folder in settings.artifacts("crossval", site).glob(f"{ABLATION}*"):
            if folder.name.removeprefix(ABLATION) not in settings.crossval.ablations:
                shutil.rmtree(folder)
    return made


def _train(settings: Settings, inputs: Inputs, matrix: Matrix, ablations: Ablations) -> None:
    """Trains matrix and ablations, a parent run for each, and writes their results."""
    with ExitStack() as stack:
        opened: list[tuple[Group, Site, str, list[Task], dict[str, Any]]] = []
        for (site, variant), tasks in matrix.items():
            group = stack.enter_context(_open(settings, site, variant, tasks, {}))
            opened.append((group, site, variant, tasks, {}))
        for (site, name), tasks in ablations.items():
            values = settings.crossval.ablations[name]
            group = stack.enter_context(_open(settings, site, f"{ABLATION}{name}", tasks, values))
            opened.append((group, site, f"{ABLATION}{name}", tasks, values))
        trials = [group.trial(task, values=values) for group, _, _, tasks, values in opened for task in tasks]
        train(settings, "crossval", trials)
        for group, site, name, tasks, values in opened:
            searched = (site, tasks[0].variant, 0) in inputs.chosen
            _conclude(settings, site, name, tasks, group.run, searched, values)


def _open(
    settings: Settings, site: Site, name: str, tasks: Sequence[Task], ablation: Mapping[str, Any]
) -> AbstractContextManager[Group]:
    tags = {"site": site, "variant": name, "stage": "crossval"}
    tags |= {"ablation": json.dumps(ablation)} if ablation else {}
    fits = {"variant": name, "folds": [{"key": task.key} for task in tasks]}
    return open_group(settings, site, name, tracking.crossval_identity(fits), tags)


def _conclude(
    settings: Settings,
    site: Site,
    variant: str,
    tasks: Sequence[Task],
    parent: tracking.Run,
    searched: bool,
    ablation: Mapping[str, Any],
) -> None:
    """Writes the out-of-fold table and metrics of one site and variant or ablation, to disk and to MLflow."""
    where = places(settings)
    folds = Folds.read(where.folds)
    records = [finished(where, task.key) or {} for task in tasks]
    tables = []
    for task, record in zip(tasks, records, strict=True):
        table = pd.read_csv(
            where.fit(task.key) / "predictions.csv",
            dtype={"nodule_id": str},
        )
        tables.append(table.assign(fold=task.fold, threshold=record["threshold"]))
    table = pd.concat(tables, ignore_index=True)
    _check_held_out(table, folds, f"{site} {variant}")
    table.insert(1, "patient_id", [folds.patients[nodule] for nodule in table["nodule_id"]])
    columns = ["nodule_id", "patient_id", "fold", "label", "probability", "threshold"]
    table = table[columns + [UNIFORM] * (UNIFORM in table)]  # of a fusion with attention
    folder = settings.artifacts("crossval", site, variant)
    files.write_csv(table, folder / OUT_OF_FOLD)
    origin = {
        "sampling": settings.training.sampling,
        "searched": searched,
        "pretrained": {"setting": settings.network.pretrained, **records[0].get("pretrained", {})},
    }
    metrics: dict[str, Any] = {"site": site, "variant": variant} | origin
    if ablation:
        metrics |= {"ablation": ablation, "modalities": SPECS[tasks[0].variant].modalities}
    metrics |= summarise(table, records, settings.base.confidence)
    if UNIFORM in table:
        metrics["attention"] = attention(table, records, settings.base.confidence)
    files.write_json(folder / METRICS, metrics)
    own = settings.changed(ablation)
    sections = own.model_dump(mode="json", include={"network", "training", "preprocess"})
    facts = {"encoder": tasks[0].encoder, "epochs": tasks[0].epochs, "searched": "yes" if searched else "no"}
    _log_parent(settings, metrics, folder, table, parent, facts | tracking.flat(sections))
    digests.keep(folder)


def _add_baselines(settings: Settings, site: Site, trained: Sequence[Variant]) -> None:
    """Cross-validates baselines and stacks of the settings on the nodules of the networks; others go.

    One that has nothing to work on is skipped, and skipped.json says so.
    """
    rows = pd.read_csv(settings.artifacts("crossval", site, trained[0], OUT_OF_FOLD), dtype=IDS)
    chosen = settings.crossval
    stacks = [name for name in STACKS if chosen.stacked and (chosen.record or name != "record_stack")]
    for baseline in TABULAR:
        folder = settings.artifacts("crossval", site, baseline)
        earlier = _earlier(folder / MODEL)
        shutil.rmtree(folder, ignore_errors=True)
        if baseline not in (*chosen.baselines, *stacks):
            continue
        try:
            done = cross_validate(settings, site, baseline, rows, trained, earlier)
        except NothingToLearn as error:
            Console(stderr=True).print(f"crossval: {site} {baseline} skipped: {error}", soft_wrap=True)
            files.write_json(folder / "skipped.json", {"reason": str(error)})
            digests.keep(folder)
            continue
        _conclude_baseline(settings, site, baseline, done)


def _earlier(path: Path) -> dict[str, Any] | None:
    """Reads model.json of an earlier run; None when there is none, or it is not what was written."""
    try:
        digests.check(path)
    except digests.Damaged:
        return None
    return dict(files.read_json(path))


def _conclude_baseline(
    settings: Settings, site: Site, baseline: Baseline | Stack, done: CrossValidated
) -> None:
    """Writes table, metrics and models of a baseline or stack as those of variants, to disk and MLflow."""
    folder = settings.artifacts("crossval", site, baseline)
    models = [{"fold": fold, **model.plain()} for fold, model in enumerate(done.models)]
    files.write_csv(done.table, folder / OUT_OF_FOLD)
    units = dict(done.source.units)
    plain = {"baseline": baseline, "site": site, "units": units, "fitted_on": done.fitted_on}
    files.write_json(folder / MODEL, plain | {"folds": models})
    records = [
        {
            "key": fingerprint(model)[:20],
            "threshold": float(part["threshold"].iloc[0]),
            "scores": scores(part["label"], part["probability"], float(part["threshold"].iloc[0])),
            "dice": {},
            "iou": {},
        }
        for model, (_, part) in zip(models, done.table.groupby("fold"), strict=True)
    ]
    made = {"modalities": done.source.modalities, "networks": done.source.networks}
    # no classes are balanced for it, but the cohort may be
    sampling = "paper" if settings.training.sampling == "paper" else "none"
    metrics = {"site": site, "variant": baseline, "sampling": sampling, "searched": False, **made}
    metrics |= summarise(done.table, records, settings.base.confidence)
    tags = {"site": site, "variant": baseline, "stage": "crossval", "baseline": baseline}
    files.write_json(folder / METRICS, metrics)
    with open_group(settings, site, baseline, tracking.crossval_identity(metrics), tags) as group:
        _log_parent(settings, metrics, folder, done.table, group.run, {})
    digests.keep(folder, tables_of(settings, site, done.source.networks))


def _check_held_out(table: pd.DataFrame, folds: Folds, name: str) -> None:
    """Checks that every nodule of an out-of-fold table stands there once, and was held out in its fold.

    Raises:
        InputError: naming the nodules.
    """
    elsewhere = table["nodule_id"].map(folds.fold) != table["fold"]
    if len(wrong := table.loc[elsewhere | table["nodule_id"].duplicated(), "nodule_id"]):
        raise InputError(
            f"{name}: {', '.join(wrong[:3])} ({len(wrong)} in all) were not held out once, in their own fold"
        )


def summarise(table: pd.DataFrame, records: Sequence[dict[str, Any]], confidence: float) -> dict[str, Any]:
    """Returns metrics per fold, their mean and standard deviation, pooled, and the pooled AUC's interval.

    Pooled sensitivity and the like use every fold's own frozen threshold.
    """
    folds = [
        {"fold": fold, **{name: record[name] for name in ("key", "threshold", "scores", "dice", "iou")}}
        for fold, record in enumerate(records)
    ]
    plain = [{k: math.nan if v is None else v for k, v in record["scores"].items()} for record in records]
    mean, sd = average(plain)
    calls = (table["probability"] >= table["threshold"]).astype(float)
    pooled = scores(table["label"], calls, 0.5)
    pooled["auc"] = scores(table["label"], table["probability"], 0.5)["auc"]
    interval = auc_interval(table["label"], table["probability"], table["patient_id"], confidence)
    return {
        "n": len(table),
        "positives": int(table["label"].sum()),
        "folds": folds,
        "mean": mean,
        "sd": sd,
        "pooled": pooled,
        "auc_interval": {**vars(interval), "confidence": confidence},
    }


def attention(table: pd.DataFrame, records: Sequence[dict[str, Any]], confidence: float) -> dict[str, Any]:
    """Returns what the attention of a fusion is and does.

    Returns:
        `entropy`: per level the mean over the folds, in shares of that of uniform attention; `gain`: pooled
        AUC less that of the same networks with uniform attention, with its interval (clustered DeLong).
    """
    entropies = pd.DataFrame([record["attention_entropy"] for record in records])
    gain = auc_difference(
        table["label"], table["probability"], table[UNIFORM], table["patient_id"], confidence
    )
    return {"entropy": entropies.mean().to_dict(), "gain": vars(gain)}


def _log_parent(
    settings: Settings,
    metrics: Mapping[str, Any],
    folder: Path,
    table: pd.DataFrame,
    parent: tracking.Run,
    params: Mapping[str, Any],
) -> None:
    """Draws the ROC figure; logs it with metrics, table and parameters where the run has other results."""
    with files.replacing(folder / "roc.png") as temporary:
        _roc(table, f"{metrics['site']} {metrics['variant']}: AUC {metrics['pooled']['auc']:.3f}").savefig(
            temporary, dpi=110
        )
    results = fingerprint(params, *(files.sha256(folder / name) for name in (METRICS, OUT_OF_FOLD)))[:20]
    if parent.results == results:
        return
    interval = metrics["auc_interval"]
    values = {f"pooled_{name}": value for name, value in metrics["pooled"].items()}
    values |= {f"mean_{name}": value for name, value in metrics["mean"].items()}
    values |= {f"sd_{name}": value for name, value in metrics["sd"].items()}
    values |= {"pooled_auc_low": interval["low"], "pooled_auc_high": interval["high"]}
    parent.metrics(values)
    parent.params({"folds": len(metrics["folds"]), "variant": metrics["variant"], **params})
    digest = provenance.data_md5(settings)
    parent.dataset("cohort", digest, f"{settings.base.data}.dvc", "training")
    parent.table(folder / OUT_OF_FOLD, pseudonyms.identity_key(settings))
    for name in (METRICS, "roc.png"):
        parent.artifact(folder / name)
    parent.tags({tracking.RESULTS: results})  # last: an interruption before it logs them again


def _roc(table: pd.DataFrame, title: str) -> Figure:
    from matplotlib.figure import Figure  # half a second, and needed only once all fits are done

    figure = Figure(figsize=(4.5, 4.5))  # a layout that is solved for takes half as long again
    axes = figure.add_subplot(xlabel="1 - specificity", ylabel="sensitivity", title=title, aspect="equal")
    false_positive, true_positive = roc_curve(table["label"], table["probability"])
    axes.plot(false_positive, true_positive, color="#0072B2")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    return figure
