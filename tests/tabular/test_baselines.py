"""Baselines on a small cohort on disk: what they read, what they never see, when they are skipped."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from dgfnet import digests
from dgfnet.errors import InputError
from dgfnet.measured.measure import NAMES
from dgfnet.results import MEASURED
from dgfnet.settings import load
from dgfnet.tabular import baselines, design
from dgfnet.tabular.baselines import WHOSE, NothingToLearn, cross_validate
from dgfnet.tabular.logistic import STRENGTHS
from tiny_archive import numbered, write_archive

COUNT, FOLDS = 80, 4


def cohort(seed=0, signal=1.0):
    """Nodules, two of every second patient; the label leans on diameter and margin as much as told."""
    rng = np.random.default_rng(seed)
    names = [f"n{number:02}" for number in range(COUNT)]
    patients = [f"p{number // 4 * 4 + max(number % 4, 1):02}" for number in range(COUNT)]
    diameter, rough = rng.normal(20, 5, COUNT), rng.integers(0, 2, COUNT)
    odds = signal * ((diameter - 20) / 5 + 2 * rough - 1)
    table = pd.DataFrame({"nodule_id": names, "patient_id": patients, "cohort": "main"})
    table["lnm_central"] = (rng.random(COUNT) < expit(odds)).astype("float32")
    table["lnm_lateral"] = np.nan
    table["max_diameter_mm"] = [f"{value:.1f}" for value in diameter]
    table["margin"] = np.where(rough == 1, "non-smooth", "smooth")
    table.loc[::9, "max_diameter_mm"] = None
    return table


def rows_of(table):
    """An out-of-fold table in the order in which crossval writes one: fold after fold."""
    rows = table[["nodule_id", "patient_id"]].assign(label=table["lnm_central"].astype(float))
    rows["fold"] = [int(patient[1:]) // 4 % FOLDS for patient in table["patient_id"]]
    rows = rows.sort_values("fold", kind="stable", ignore_index=True)
    return rows[WHOSE].assign(probability=0.5, threshold=0.5)


def networks(table, seed):
    """Log odds of a network of each modality, which know something of the label."""
    rng = np.random.default_rng(seed)
    return {
        name: (table["lnm_central"].to_numpy(float) - 0.5) * strength + rng.normal(size=len(table))
        for name, strength in (("us_multitask", 2.0), ("ct_multitask", 1.0))
    }


@pytest.fixture
def put(tmp_path, params):
    """Writes what the stages before would have written for a cohort; returns settings and rows."""

    def write(table, seed=0, trained=("us_multitask", "ct_multitask")):
        (tmp_path / "params.yaml").write_text(params.read_text())
        settings = load(tmp_path / "params.yaml", ["preprocess.us_size=32", "preprocess.ct_size=32"])
        (settings.artifacts("cohort")).mkdir(parents=True, exist_ok=True)
        table.to_parquet(settings.artifacts("cohort", "nodules.parquet"), index=False)
        digests.keep(settings.artifacts("cohort"))
        rows, odds = rows_of(table), networks(table, seed)
        for name in trained:
            folder = settings.artifacts("crossval", "central", name)
            folder.mkdir(parents=True, exist_ok=True)
            said = rows["nodule_id"].map(dict(zip(table["nodule_id"], expit(odds[name]), strict=True)))
            rows.assign(probability=said).to_csv(folder / "out_of_fold.csv", index=False)
            digests.keep(folder)
        return settings, rows

    return write


def archive_of(settings, table, areas):
    nodules = [
        (name, patient, area)
        for name, patient, area in zip(table["nodule_id"], table["patient_id"], areas, strict=True)
    ]
    return write_archive(settings.artifacts("preprocess"), settings.preprocess, nodules, numbered)


def test_size_is_the_logarithm_of_the_largest_area_in_one_unit_a_column(put):
    table = cohort()[:3]
    settings, _ = put(table)
    archive = archive_of(
        settings, table, [{"us": [10, 40], "ct": [8]}, {"us": [30], "ct": [16]}, {"us": [5], "ct": [4]}]
    )
    found = design.size(archive, ["n01", "n00"])
    assert list(found.columns) == ["us_log_area_mm2", "ct_log_area_mm2"]
    # a pixel has 0.5 mm: 40 of them are 10 mm2
    np.testing.assert_allclose(np.exp(found), [[30 / 4, 16 / 4], [40 / 4, 8 / 4]])
    archive.index.loc[archive.index["nodule_id"] == "n01", ["area_unit"]] = "px"
    archive.index.loc[archive.index["nodule_id"] == "n01", ["area_mm2"]] = 77.0
    mixed = design.size(archive, ["n00", "n01", "n02"])
    assert list(mixed.columns) == [f"{m}_log_area_{unit}" for m in ("us", "ct") for unit in ("mm2", "px")]
    assert mixed["us_log_area_mm2"].notna().tolist() == [True, False, True]
    assert np.exp(mixed["us_log_area_px"]).tolist()[1] == pytest.approx(77)
    assert mixed["us_log_area_px"].notna().tolist() == [False, True, False]


def measured_of(archive, table):
    """A measured.parquet whose mean grey tells the label, and whose other features are noise."""
    rng = np.random.default_rng(3)
    label = table.set_index("nodule_id")["lnm_central"]
    parts = []
    for modality in ("us", "ct"):
        rows = archive.rows(modality)
        part = pd.DataFrame(rng.normal(size=(len(rows), len(NAMES[modality]))), columns=list(NAMES[modality]))
        part["mean"] += 3 * rows["nodule_id"].map(label).to_numpy() * (modality == "us")
        part.insert(0, "modality", modality)
        part.insert(1, "row", rows["row"].to_numpy())
        part.insert(2, "unit", "grey" if modality == "us" else "HU")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_measured_features_are_medians_over_pictures_and_units_do_not_mix(put):
    table = cohort()[:3]
    settings, _ = put(table)
    areas = [{"us": [10, 40, 20], "ct": [8]}, {"us": [30], "ct": [16]}, {"us": [5], "ct": [4]}]
    archive = archive_of(settings, table, areas)
    told = measured_of(archive, table)
    of = archive.rows("us").set_index("row")["nodule_id"]
    rows = [row for row in of.index if of[row] == "n00"]
    for value, row in zip([7.0, np.nan, 9.0], rows, strict=True):
        told.loc[(told["modality"] == "us") & (told["row"] == row), "entropy"] = value
    assert design.units(archive, told, ["n02", "n00"]) == {"us": "grey", "ct": "HU"}
    grey = set(design.measured(archive, told, ["n02", "n00"], {"us": "grey", "ct": "grey"}).columns)
    assert {"us_mean", "ct_solidity"} <= grey
    assert "ct_mean" not in grey
    found = design.measured(archive, told, ["n02", "n00"])
    assert list(found.index) == ["n02", "n00"]
    assert found.loc["n00", "us_entropy"] == 8
    assert len(found.columns) == len(NAMES["us"]) + len(NAMES["ct"])
    told.loc[(told["modality"] == "ct") & (told["row"] == 0), "unit"] = "grey"
    assert design.units(archive, told, list(of.unique())) == {"us": "grey"}
    mixed = set(found.columns) - set(design.measured(archive, told, list(of.unique())).columns)
    assert {"ct_mean", "ct_variance", "ct_p10"} <= mixed
    assert not {name for name in mixed if name.startswith("us_")}
    assert "ct_solidity" not in mixed
    with pytest.raises(InputError, match="other us rows than the archive; run preprocess again"):
        design.measured(archive, told[told["row"] > 0], ["n00"])


def test_radiomics_and_stack_read_what_preprocess_measured(put):
    table = cohort()
    settings, rows = put(table)
    archive = archive_of(settings, table, [{"us": [20, 9], "ct": [9]} for _ in range(COUNT)])
    measured_of(archive, table).to_parquet(settings.artifacts("preprocess", MEASURED), index=False)
    digests.keep(settings.artifacts("preprocess"))
    trained = ["us_multitask", "ct_multitask"]
    radiomics = cross_validate(settings, "central", "radiomics", rows, trained)
    with pytest.raises(NothingToLearn, match="it joins the networks of dgf, which was not cross-validated"):
        cross_validate(settings, "central", "stack", rows, trained)
    of_ct = cross_validate(settings, "central", "ct_stack", rows, trained).source
    assert (of_ct.networks, of_ct.modalities, set(of_ct.units)) == (("ct_multitask",), ("ct",), {"ct"})
    settings = settings.changed({"crossval.stacked": "us_multitask"})
    with pytest.raises(NothingToLearn, match="a network that us_multitask starts from; it has none"):
        cross_validate(settings, "central", "us_stack", rows, trained)
    assert roc_auc_score(rows["label"], radiomics.table["probability"]) > 0.85
    assert radiomics.source.modalities == ("us", "ct")
    stack = cross_validate(settings, "central", "stack", rows, trained)
    assert (stack.source.networks, stack.source.modalities) == (("us_multitask",), ("us",))
    of_us = [name for name in radiomics.source.features.columns if name.startswith("us_")]
    assert list(stack.source.features.columns) == [*of_us, "us_multitask"]
    assert len(of_us) < len(radiomics.source.features.columns)
    for model in stack.models:
        assert model.strength in STRENGTHS
        weights = {t.column: c for t, c in zip(model.terms, model.coefficients, strict=True)}
        assert weights["us_mean"] == max(weights.values()) > 0


def test_a_record_stack_joins_named_columns_to_all_that_a_stack_joins(put):
    """A level that tells the label counts for more than anything else; a name of a feature is no trap."""
    table = cohort(signal=0.0)
    table["sex"] = np.where(table["lnm_central"] == 1, "F", "M")
    table["us_mean"], table["empty"] = "7", None
    table.loc[::7, "us_mean"] = "9"
    settings, rows = put(table)
    archive = archive_of(settings, table, [{"us": [20, 9], "ct": [9]} for _ in range(COUNT)])
    measured_of(archive, table).to_parquet(settings.artifacts("preprocess", MEASURED), index=False)
    digests.keep(settings.artifacts("preprocess"))
    trained = ["us_multitask", "ct_multitask"]
    named = ["max_diameter_mm", "sex", "us_mean", "empty", "absent"]
    settings = settings.changed({"crossval.stacked": "us_multitask", "crossval.record": named})
    stack, with_record = (
        cross_validate(settings, "central", name, rows, trained) for name in ("stack", "record_stack")
    )
    own = ["record_max_diameter_mm", "record_sex", "record_us_mean"]
    *features, network = stack.source.features.columns
    assert list(with_record.source.features.columns) == [*features, *own, network]
    assert with_record.source.networks == ("us_multitask",)
    assert roc_auc_score(rows["label"], with_record.table["probability"]) == 1.0
    kinds = {(term.column, term.kind, term.level) for term in with_record.models[0].terms}
    assert {
        *((f"record_{name}", "number", None) for name in ("max_diameter_mm", "us_mean")),
        *(("record_sex", "level", level) for level in ("F", "M")),
        ("record_max_diameter_mm", "gap", None),
    } == {kind for kind in kinds if kind[0].startswith("record_")}
    with pytest.raises(
        NothingToLearn, match=r"crossval\.record names no column of nodules.csv: empty, absent"
    ):
        cross_validate(
            *(settings.changed({"crossval.record": named[3:]}), "central", "record_stack", rows, trained)
        )


def test_every_nodule_is_told_once_in_the_order_and_at_the_prevalence_of_training(put):
    table = cohort()
    settings, rows = put(table)
    archive_of(settings, table, [{"us": [20 + number], "ct": [9]} for number in range(COUNT)])
    for baseline in ("size", "clinical", "late"):
        done = cross_validate(settings, "central", baseline, rows, ["us_multitask", "ct_multitask"])
        pd.testing.assert_frame_equal(done.table[WHOSE], rows[WHOSE])
        for fold, part in done.table.groupby("fold"):
            others = rows.loc[rows["fold"] != fold, "label"]
            assert part["threshold"].tolist() == [others.mean()] * len(part)
            model = done.models[fold]
            held = done.source.features[(rows["fold"] == fold).to_numpy()]
            np.testing.assert_allclose(model.probability(held), part["probability"])
    assert done.source.networks == ("us_multitask", "ct_multitask")
    assert done.source.modalities == ("us", "ct")


@pytest.mark.parametrize("baseline", ["clinical", "late"])
def test_held_out_nodules_leave_no_trace_in_their_folds_model(put, baseline):
    """Other values, texts for numbers, new categories and other labels in fold 2: its model stays."""
    trained = ["us_multitask", "ct_multitask"]
    table = cohort()
    settings, rows = put(table)
    before = cross_validate(settings, "central", baseline, rows, trained)
    changed = table.copy()
    inside = table["nodule_id"].isin(rows.loc[rows["fold"] == 2, "nodule_id"])
    changed.loc[inside, "max_diameter_mm"] = "enormous"
    changed.loc[inside, "margin"] = "never seen"
    changed.loc[inside, "lnm_central"] = 1 - changed.loc[inside, "lnm_central"]
    settings, other = put(changed)
    after = cross_validate(settings, "central", baseline, other, trained)
    assert after.models[2] == before.models[2]
    assert after.models[1] != before.models[1]
    here = (rows["fold"] == 2).to_numpy()
    assert (after.table["probability"][here] != before.table["probability"][here]).any()


@pytest.mark.parametrize("baseline", ["size", "clinical", "late"])
def test_labels_without_meaning_are_told_by_nothing(put, baseline):
    """Every fold has as many positives: else the pooled AUC of no signal is below 0.5 (docs/beware.md)."""
    areas = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        table = cohort(seed)
        fold = table["patient_id"].str[1:].astype(int) // 4 % FOLDS
        for number in range(FOLDS):
            inside = (fold == number).to_numpy()
            table.loc[inside, "lnm_central"] = rng.permutation(np.arange(inside.sum()) % 5 < 2).astype(
                "float32"
            )
        settings, rows = put(table, seed, trained=())
        for place, name in enumerate(trained := ("us_multitask", "ct_multitask")):
            folder = settings.artifacts("crossval", "central", name)
            folder.mkdir(parents=True, exist_ok=True)
            noise = expit(np.random.default_rng([seed, place]).normal(size=COUNT))
            rows.assign(probability=noise).to_csv(folder / "out_of_fold.csv", index=False)
            digests.keep(folder)
        if baseline == "size" and not seed:
            archive_of(
                settings, table, [{"us": [20 + 7 * n % 31], "ct": [9 + 5 * n % 23]} for n in range(COUNT)]
            )
        done = cross_validate(settings, "central", baseline, rows, trained)
        areas.append(roc_auc_score(rows["label"], done.table["probability"]))
    error = np.std(areas) / np.sqrt(len(areas))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * error)
    assert error < 0.03


def test_what_the_record_tells_is_found(put):
    settings, rows = put(cohort(1, 1.5))
    done = cross_validate(settings, "central", "clinical", rows, [])
    assert roc_auc_score(rows["label"], done.table["probability"]) > 0.75


def test_a_baseline_with_nothing_to_work_on_says_so(put):
    settings, rows = put(cohort(), trained=("ct_multitask",))
    with pytest.raises(NothingToLearn, match="a network of each of two modalities, found ct_multitask"):
        cross_validate(settings, "central", "late", rows, ["ct_multitask"])
    bare = settings.changed({"crossval.clinical": ("age", "sex")})
    with pytest.raises(NothingToLearn, match="names no column of nodules"):
        cross_validate(bare, "central", "clinical", rows, [])


def test_networks_of_an_earlier_run_count_on_the_same_nodules_only(put):
    table = cohort()
    settings, rows = put(table)
    done = cross_validate(settings, "central", "late", rows, ["ct_multitask"])
    assert done.source.networks == ("us_multitask", "ct_multitask")
    path = settings.artifacts("crossval", "central", "us_multitask", "out_of_fold.csv")
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    digests.keep(path.parent)
    with pytest.raises(NothingToLearn, match="found ct_multitask"):
        cross_validate(settings, "central", "late", rows, ["ct_multitask"])


@pytest.mark.parametrize("baseline", ["clinical", "late"])
def test_models_of_an_earlier_run_are_taken_when_they_follow_from_the_same(put, baseline, monkeypatch):
    trained = ["us_multitask", "ct_multitask"]
    table = cohort()
    settings, rows = put(table)
    first = cross_validate(settings, "central", baseline, rows, trained)
    earlier = {"fitted_on": first.fitted_on, "folds": [model.plain() for model in first.models]}
    earlier = json.loads(json.dumps(earlier))
    fitted = []
    inner = baselines._fit
    monkeypatch.setattr(baselines, "_fit", lambda *given: fitted.append(given) or inner(*given))
    again = cross_validate(settings, "central", baseline, rows, trained, earlier)
    assert fitted == []
    assert again.models == first.models
    pd.testing.assert_frame_equal(again.table, first.table, check_exact=True)

    older = {"folds": earlier["folds"]}  # of a release that did not say what they follow from
    assert cross_validate(settings, "central", baseline, rows, trained, older).models == first.models
    assert len(fitted) == FOLDS
    table.loc[1, "max_diameter_mm"] = "99.5"  # the clinical baseline reads it, the networks' tables do not
    settings, rows = put(table)
    changed = cross_validate(settings, "central", baseline, rows, trained, earlier)
    assert (changed.fitted_on != first.fitted_on) == (baseline == "clinical")
    flipped = rows.assign(label=[1 - rows["label"].iloc[0], *rows["label"].iloc[1:]])
    assert cross_validate(settings, "central", baseline, flipped, trained, earlier).models != first.models


def test_models_follow_from_the_code_that_fits(put, monkeypatch):
    settings, rows = put(cohort())
    before = cross_validate(settings, "central", "clinical", rows, []).fitted_on
    monkeypatch.setattr(baselines, "_code", lambda: "other")
    assert cross_validate(settings, "central", "clinical", rows, []).fitted_on != before
