"""The stage on networks trained for an epoch, as `crossval` would leave them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import spearmanr

from dgfnet import digests
from dgfnet.attribution import randomised, repeatability, stage
from dgfnet.attribution.fold_network import load as load_network
from dgfnet.attribution.networks import pictures, scorer
from dgfnet.attribution.single import explain
from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.settings import load
from dgfnet.sweep import group
from dgfnet.sweep.plan import classification, gather, places, segmentation
from dgfnet.training.fit import fit
from dgfnet.training.partition import select, split
from dgfnet.training.start import restore
from tiny_archive import blob, write_archive

VARIANTS = ("us_multitask", "ct_multitask", "dgf")
CHANGES = {
    "base": {"sites": ["central"]},
    "preprocess": {"us_size": 32, "ct_size": 32},
    "network": {"width": 0.0625},
    "pretrain": {"epochs": 1, "measured_weight": 0.0},
    "crossval": {"unimodal_epochs": 1, "multimodal_epochs": 1},
    "attribute": {"subset": 3, "cases": 2, "checks": 2, "repeat": 4, "replicates": 100},
}


def textured(modality, row, side):
    planes = blob(modality, row, side)
    noise = np.random.default_rng([row, side]).integers(0, 80, (side, side), dtype=np.uint8)
    return np.stack([planes[0] // 2 + noise, planes[1], planes[2]])


@pytest.fixture(scope="module")
def settings(tmp_path_factory, params):
    """A project of 16 patients, two folds and 5 external nodules in which the stage has run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("project")
    raw = yaml.safe_load(params.read_text(encoding="utf-8"))
    for section, values in CHANGES.items():
        raw[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    settings = load(folder / "params.yaml")
    numbers = range(16)
    table = pd.DataFrame(
        {
            **{"nodule_id": [f"N{n:02d}" for n in numbers], "patient_id": [f"P{n:02d}" for n in numbers]},
            **{"cohort": "main", "lnm_central": [n // 2 % 2 for n in numbers], "lnm_lateral": np.nan},
        }
    )
    outside = table.head(5).assign(
        nodule_id=[f"X{n}" for n in range(5)], patient_id=[f"Y{n}" for n in range(5)], cohort="external"
    )
    settings.artifacts("cohort").mkdir(parents=True)
    pd.concat([table, outside], ignore_index=True).to_parquet(
        settings.artifacts("cohort", "nodules.parquet"), index=False
    )
    folds = table[["nodule_id", "patient_id"]].assign(fold=[n % 2 for n in numbers])
    folds.to_csv(settings.artifacts("cohort", "folds.csv"), index=False)
    nodules = [(f"N{n:02d}", f"P{n:02d}", {"us": [40, 30], "ct": [25]}) for n in numbers]
    nodules += [(f"X{n}", f"Y{n}", {"us": [40, 30], "ct": [25]}) for n in range(5)]
    write_archive(settings.artifacts("preprocess"), settings.preprocess, nodules, textured)
    for name in ("cohort", "preprocess"):
        digests.keep(settings.artifacts(name))
    train(settings, folds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "cores", lambda: 1)  # starting processes takes longer than all of this
        patch.setattr(group, "run_trials", at_once)  # and so does starting Ray
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stage.run(settings)
    return settings


def at_once(label, trials, *_):
    for trial in trials:
        fit(trial.task, trial.places, 1, lambda *_: None)


def train(settings, folds):
    facts, where = gather(settings, VARIANTS), places(settings)
    tasks = [segmentation(settings, facts, m, "resnet18", fold) for m in ("us", "ct") for fold in (0, 1)]
    for task in tasks:
        fit(task, where, 1, lambda *_: None)
    for variant in VARIANTS:
        tables, keys = [], []
        for fold in (0, 1):
            task, _ = classification(settings, facts, "central", variant, fold)
            record = fit(task, where, 1, lambda *_: None)
            table = pd.read_csv(where.fit(task.key) / "predictions.csv")
            tables.append(table.assign(fold=fold, threshold=record["threshold"]))
            keys.append({"key": task.key})
        folder = settings.artifacts("crossval", "central", variant)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"variant": variant, "folds": keys}))
        table = pd.concat(tables).merge(folds[["nodule_id", "patient_id"]], on="nodule_id")
        table.to_csv(folder / "out_of_fold.csv", index=False)
        digests.keep(folder)


def test_every_nodule_is_explained_completely_by_the_network_it_was_held_out_from(settings):
    table = pd.read_csv(settings.artifacts("attribution", "central", "contributions.csv"))
    folds = pd.read_csv(settings.artifacts("cohort", "folds.csv"))
    assert list(table["nodule_id"]) == sorted(folds["nodule_id"])
    assert (table["fold"] == folds["fold"]).all()
    assert table["completeness_error"].max() <= settings.attribute.tolerance
    archive, where = Archive.open(settings.artifacts("preprocess")), places(settings)
    task, _ = classification(settings, gather(settings), "central", "dgf", 0)
    assert archive.digest() == task.archive
    score = scorer(restore(task, where))
    network = load_network(settings, "central", "dgf", 0)
    pictures = network.pictures()
    held_out = table.set_index("nodule_id").loc[list(network.held_out.ids)]
    odds = score(pictures.images, pictures.fixed).numpy()
    assert held_out["log_odds"].to_numpy() == pytest.approx(odds, abs=1e-4)
    # attributions and Shapley values towards the truth add up to the odds less those of the baseline
    sign = np.where(held_out["label"] == 1, 1, -1)
    p = held_out["baseline_probability"].to_numpy()
    rise = sign * (held_out["log_odds"].to_numpy() - np.log(p / (1 - p)))
    by_shapley = (held_out["shapley_us"] + held_out["shapley_ct"]).to_numpy()
    assert by_shapley == pytest.approx(rise, abs=1e-4)
    assert np.abs(held_out["us"] + held_out["ct"] - rise).to_numpy() == pytest.approx(
        held_out["completeness_error"].to_numpy(), abs=1e-4
    )


def test_an_undecided_baseline_is_recorded_or_said_to_be_missing(settings):
    table = pd.read_csv(settings.artifacts("attribution", "central", "contributions.csv"))
    undecided = (table["baseline_probability"] - 0.5).abs() < 1e-3
    assert (undecided | (table["partner"].fillna("none") == "none")).all()


def test_the_folder_holds_what_the_reference_says(settings):
    folder = settings.artifacts("attribution", "central")
    assert {path.name for path in folder.iterdir()} == set(stage.NAMES) - {"skipped.json", "localisation.csv"}
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["us_above_ct"]["n"] == 16
    reason = "data-truth/signal is not there: only phantoms have it"
    assert facts["localisation"] == {"reason": reason, "regions": []}
    assert {"mean", "grey"} == set(facts["stability"])
    assert facts["stability"]["grey"]["n"] == 6  # three of each fold
    masses = pd.read_csv(folder / "masses.csv")
    for prefix in ("unimodal", "multimodal", "unimodal_grad_cam", "multimodal_grad_cam"):
        shares = masses[[f"{prefix}_{region}" for region in ("inside", "rim", "outside")]].sum(axis=1)
        assert shares.to_numpy() == pytest.approx(1)
    assert [row["n"] for row in facts["masses"]] == [row["n"] for row in facts["grad_cam_masses"]] == [6] * 6
    checks = json.loads((folder / "checks.json").read_text())
    assert checks["nodules"] == 2
    assert min(checks["infidelity"]["attribution"], checks["infidelity"]["zero"]) >= 0
    assert 0 < checks["sensitivity_max"]["median"] <= checks["sensitivity_max"]["largest"]


def test_the_label_check_trains_fusion_and_parents_on_exchanged_labels_and_nothing_else(settings):
    facts = gather(settings, VARIANTS)
    each = randomised.plan(settings, facts, "central", 0)
    task, parents = classification(settings, facts, "central", "dgf", 0)
    theirs, own = [(each.fusion, *each.parents), (task, *parents)]
    assert [fit.variant for fit in theirs] == ["dgf", "us_multitask", "ct_multitask"]
    assert {fit.key for fit in theirs}.isdisjoint(fit.key for fit in own)
    for their, other in zip(theirs, own, strict=True):  # the same fit but for the labels
        assert (their.seed, their.epochs, their.network, their.training) == (
            *(other.seed, other.epochs),
            *(other.network, other.training),
        )
    assert [fit.parents for fit in each.parents] == [fit.parents for fit in parents]  # knows no label
    assert set(each.fusion.parents.values()) == {fit.key for fit in each.parents}
    checks = json.loads(settings.artifacts("attribution", "central", "checks.json").read_text())
    results = checks["random_labels"]
    record = json.loads((places(settings).fit(each.fusion.key) / "fit.json").read_text())
    assert results["held_out_auc"] == record["scores"]["auc"]
    assert 0 < results["kept"] < 1
    assert -1 <= results["similarity"] <= 1


def test_the_random_label_model_is_trained_on_the_exchanged_labels(settings):
    each = randomised.plan(settings, gather(settings, VARIANTS), "central", 0)
    archive = Archive.open(settings.artifacts("preprocess"))
    training, held_out = split(each.fusion, each.where, archive)
    task, _ = classification(settings, gather(settings), "central", "dgf", 0)
    true_training, true_held_out = split(task, places(settings), archive)
    assert training.ids == true_training.ids
    assert (training.labels != true_training.labels).mean() == pytest.approx(1 - each.kept)
    assert sorted(training.labels) == sorted(true_training.labels)
    assert (held_out.labels == true_held_out.labels).all()


def test_a_second_run_of_the_label_check_trains_nothing(settings, monkeypatch):
    waiting = []
    monkeypatch.setattr(group, "run_trials", lambda _, trials, *__: waiting.extend(trials))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    randomised.train(settings, [("central", 0)])
    assert [trial.is_done() for trial in waiting] == [True, True, True]


def test_the_networks_of_both_folds_explain_the_same_external_nodules(settings):
    folder = settings.artifacts("attribution", "central")
    table = pd.read_csv(folder / "repeatability.csv")
    assert list(table["fold"]) == [0] * 4 + [1] * 4
    assert list(table["nodule_id"]) == ["X0", "X1", "X3", "X4"] * 2  # evenly spread
    network = load_network(settings, "central", "dgf", 1)
    chosen = select(repeatability.nodules(settings), network.archive, "central")
    shown = pictures(network.model, network.archive, chosen)
    odds = network.score(shown.images, shown.fixed).numpy()
    assert table.loc[table["fold"] == 1, "log_odds"].to_numpy() == pytest.approx(odds, abs=1e-4)
    facts = json.loads((folder / "summary.json").read_text())["repeatability"]
    assert (facts["reason"], facts["nodules"], facts["folds"]) == (None, 4, 2)
    first, second = (part["us"].to_numpy() for _, part in table.groupby("fold"))
    expected = spearmanr(first, second).statistic
    assert facts["pairs"]["us"] == pytest.approx({"median": expected, "low": expected, "high": expected})
    assert set(facts["random_labels"]) == set(facts["pairs"])
    sound = json.loads((folder / "checks.json").read_text())
    assert sound["passed"] == (not sound["failed"])
    fault = repeatability.fault(facts)
    assert (fault in sound["failed"]) == (fault is not None)


@pytest.mark.parametrize("repeat", [0, 2])
def test_too_few_nodules_say_nothing_of_repeatability(settings, repeat):
    fewer = settings.changed({"attribute.repeat": repeat})
    assert repeatability.why_not(fewer) == f"attribute.repeat is {repeat}"


@pytest.mark.parametrize("variant", ["all", "us_multitask", "ct_multitask"])
def test_one_nodule_can_be_explained_by_any_variant(settings, variant):
    text = explain(settings, "central", "N03", variant)
    name = "dgf" if variant == "all" else variant
    facts = json.loads((settings.work / "attribution" / f"central-{name}-N03.json").read_text())
    assert facts["completeness_error"] <= settings.attribute.tolerance
    assert "N03 probability" in text
    if variant == "all":
        table = pd.read_csv(settings.artifacts("attribution", "central", "contributions.csv"))
        row = table.set_index("nodule_id").loc["N03"]
        sign = 1 if row["label"] == 1 else -1
        assert facts["attribution"]["us"] == pytest.approx(sign * row["us"], abs=0.2)


def test_an_external_nodule_is_explained_by_the_networks_of_all_folds(settings):
    text = explain(settings, "central", "X1", "all")
    facts = json.loads((settings.work / "attribution" / "central-dgf-X1.json").read_text())
    assert "X1 by the networks of all 2 folds" in text
    assert (facts["folds"], "probability" in facts) == ([0, 1], False)
    table = pd.read_csv(settings.artifacts("attribution", "central", "repeatability.csv"))
    rows = table[table["nodule_id"] == "X1"]
    assert facts["log_odds"] == pytest.approx(rows["log_odds"].mean(), abs=1e-4)
    # an ensemble's log odds, less those of its baselines, are what the parts say
    rise = facts["log_odds"] - facts["baseline_log_odds"]
    total = facts["attribution"]["us"] + facts["attribution"]["ct"]
    assert total == pytest.approx(rise, abs=settings.attribute.tolerance)


def test_what_cannot_be_explained_is_said(settings):
    with pytest.raises(
        InputError,
        match="nodule N99 has no out-of-fold prediction of central dgf, and is not in the external",
    ):
        explain(settings, "central", "N99", "all")
    with pytest.raises(InputError, match="--variant neck: expected one of us_resnet"):
        explain(settings, "central", "N03", "neck")
    with pytest.raises(InputError, match="central concat was not cross-validated"):
        explain(settings, "central", "N03", "concat")
    changed = settings.changed({"training.learning_rate": 0.5})
    with pytest.raises(InputError, match="have changed since crossval"):
        explain(changed, "central", "N03", "all")


def test_a_site_that_was_not_cross_validated_is_skipped(settings, tmp_path):
    stage.run(settings.changed({"base.sites": ["lateral"]}))
    reason = json.loads(settings.artifacts("attribution", "lateral", "skipped.json").read_text())["reason"]
    assert reason == "not cross-validated: us_multitask, ct_multitask, dgf"
