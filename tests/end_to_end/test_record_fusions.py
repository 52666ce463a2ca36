"""Fusions that read the record are cross-validated, compared and reported in a copy of a finished project."""

import json

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from whole import called, client

from dgfnet.settings import load
from dgfnet.sweep.plan import classification, gather, places
from dgfnet.training.task import finished

WANTED = (
    *("--set", "crossval.variants=[us_multitask,ct_multitask,concat,dgf,concat_record,dgf_record]"),
    *("--set", "base.sites=[central]"),
)
READING = ("concat_record", "dgf_record")


@pytest.fixture(scope="module")
def validated(changeable):
    """The project with these variants, compared and reported; what it had before is not trained again."""
    keys = fit_keys(changeable)
    for stage in ("crossval", "compare", "report"):
        called(changeable, stage, *WANTED)
    assert fit_keys(changeable) > keys
    return changeable


def fit_keys(project):
    return {path.name for path in (project / "work/fits").iterdir() if path.is_dir()}


def out_of_fold(project, variant):
    path = project / "artifacts/crossval/central" / variant / "out_of_fold.csv"
    return pd.read_csv(path, dtype={"nodule_id": str})


def test_every_nodule_is_scored_once_by_a_network_that_read_its_record(validated):
    plain = out_of_fold(validated, "dgf")
    for variant in READING:
        table = out_of_fold(validated, variant)
        assert table[["nodule_id", "fold", "label"]].equals(plain[["nodule_id", "fold", "label"]])
        assert table["probability"].between(0, 1).all()
    assert (out_of_fold(validated, "dgf_record")["probability"] - plain["probability"]).abs().max() > 1e-6


def test_fits_keep_the_terms_of_their_record_and_start_from_the_same_parents(validated):
    settings = load(validated / "params.yaml", WANTED[1::2])
    inputs = gather(settings, READING)
    nodules = pd.read_csv(validated / "data/nodules.csv", dtype=str)
    levels = sorted(nodules.loc[nodules["cohort"] == "main", "sex"].dropna().unique())
    for variant in READING:
        task, parents = classification(settings, inputs, "central", variant, 0)
        assert [parent.variant for parent in parents] == ["us_multitask", "ct_multitask"]
        record = finished(places(settings), task.key)
        assert {(term["column"], term["kind"]) for term in record["record"]} >= {
            *(("age", "number"), ("sex", "level"))
        }
        assert sorted(t["level"] for t in record["record"] if t["kind"] == "level") == levels
        assert parents[0].key == classification(settings, inputs, "central", "concat", 0)[1][0].key


def test_what_the_record_adds_stands_in_tables_runs_and_report(validated):
    folder = validated / "artifacts/compare/central"
    areas = pd.read_csv(folder / "table.csv").set_index("variant")["pooled_auc"]
    pairs = pd.read_csv(folder / "pairs.csv").set_index(["a", "b"])
    for variant in READING:
        table, plain = out_of_fold(validated, variant), variant.removesuffix("_record")
        assert areas[variant] == pytest.approx(roc_auc_score(table["label"], table["probability"]))
        gain = areas[variant] - areas[plain]
        assert pairs.loc[(plain, variant), "estimate"] == pytest.approx(-gain, abs=1e-9)
        said = f"What the record adds: AUC of {variant} minus that of {plain} {gain:+.3f}"
        assert said in (folder / "table.md").read_text()
        page = (validated / "artifacts/report/index.html").read_text()
        assert f"{variant}" in page
    attended = pd.read_csv(folder / "attention.csv")
    assert set(attended["variant"]) == {"dgf", "dgf_record"}
    experiment = client(validated).get_experiment_by_name("dgfnet-central")
    found = client(validated).search_runs([experiment.experiment_id], "tags.variant = 'dgf_record'")
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len(found) == 3  # the variant, and a fold each


def test_these_variants_are_refused_where_nothing_hands_a_record_over(validated):
    nodule = out_of_fold(validated, "dgf")["nodule_id"].iloc[0]
    done = called(validated, "attribute", "--nodule", nodule, "--variant", "dgf_record", check=False)
    assert done.returncode != 0
    assert "--variant dgf_record: reads the record too, and only what pictures say" in done.stderr
    done = called(validated, "register", "--set", "register.variant=dgf_record", check=False)
    assert done.returncode != 0
    assert "register.variant: Input should be" in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_that_the_cohort_has_not_are_named(validated):
    done = called(validated, "crossval", *WANTED, "--set", "crossval.record=[ages]", check=False)
    assert done.returncode != 0
    assert "crossval.record names no column of nodules.csv: ages" in done.stderr
    metrics = json.loads((validated / "artifacts/crossval/central/dgf_record/metrics.json").read_text())
    assert metrics["variant"] == "dgf_record"  # nothing was begun
