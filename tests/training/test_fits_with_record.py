"""Fits that read the record: its terms by the training part alone, and weights that carry its statistics."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.tabular.terms import Term, design, raw, terms_of
from dgfnet.training.fit import fit
from dgfnet.training.hardware import choose
from dgfnet.training.inference import predict
from dgfnet.training.partition import split
from dgfnet.training.start import initial_model, restore
from dgfnet.training.task import Places
from tiny_archive import write_archive

COLUMNS = (("age", "a"), ("sex", "s"))
FUSED = {"variant": "concat_record", "record": COLUMNS, "fold": 1}


def cells(places, nodules):
    table = pd.read_parquet(places.nodules).set_index("nodule_id")
    return table.loc[list(nodules.ids), ["age", "sex"]]


def changed(places, tmp_path, change):
    """The same cohort with another table of nodules."""
    table = pd.read_parquet(places.nodules)
    table.assign(**change(table)).to_parquet(tmp_path / "other.parquet", index=False)
    return replace(places, nodules=tmp_path / "other.parquet")


@pytest.mark.parametrize("inner", [None, 3])
def test_terms_are_those_of_the_training_part(places, task, inner):
    chosen = task(**FUSED, inner_folds=inner)
    training, held_out = split(chosen, places, Archive.open(places.archive))
    terms = terms_of(cells(places, training))
    assert [(term.column, term.kind) for term in terms] == [
        *(("age", "number"), ("age", "gap"), ("sex", "level"), ("sex", "level"))
    ]
    for part in (training, held_out):
        np.testing.assert_array_equal(part.record, raw(terms, cells(places, part)))
    assert np.isnan(training.record).any()
    some = np.array([4, 0])
    np.testing.assert_array_equal(training.take(some).record, training.record[some])
    model, origin = initial_model(chosen, places, Archive.open(places.archive), training, choose("auto"))
    found = model.record.standardised(torch.from_numpy(held_out.record))
    np.testing.assert_allclose(found, design(terms, cells(places, held_out)), rtol=1e-6)
    assert [Term(**term) for term in origin["record"]] == list(terms)


def test_ages_of_the_held_out_part_do_not_touch_the_statistics(places, task, tmp_path):
    archive = Archive.open(places.archive)
    _, held_out = split(task(**FUSED), places, archive)

    def older(table):
        own = table["nodule_id"].isin(held_out.ids)
        return {"age": table["age"].mask(own & table["age"].notna(), "99")}

    chosen, other = task(**FUSED), changed(places, tmp_path, older)
    models = []
    for where in (places, other):
        training, held_out = split(chosen, where, archive)
        models.append(initial_model(chosen, where, archive, training, choose("auto"))[0])
    assert (held_out.record[:, 0] == 99).any()
    for name, value in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], value), name


def test_a_fit_without_the_record_has_none(places, task):
    for part in split(task(), places, Archive.open(places.archive)):
        assert part.record is None


def test_a_trained_network_comes_back_and_reads_its_record(places, task):
    chosen = task(**FUSED, epochs=2)
    record = fit(chosen, places, 2, lambda *_: None)
    weights = load_file(places.fit(chosen.key) / "weights.safetensors")
    training, held_out = split(chosen, places, Archive.open(places.archive))
    terms = terms_of(cells(places, training))
    assert weights["record.centre"].tolist() == [term.centre for term in terms]
    stored = json.loads((places.fit(chosen.key) / "fit.json").read_text())
    assert [Term(**term) for term in stored["record"]] == list(terms)
    assert record["history"][0].keys() == {
        *("loss_label", "loss_masks_us", "loss_masks_ct", "learning_rate"),
    }
    archive, model, here = Archive.open(places.archive), restore(chosen, places), choose("auto")
    found = predict(model, archive, held_out, here, "all", segment=False).probability
    table = pd.read_csv(places.fit(chosen.key) / "predictions.csv").set_index("nodule_id")
    share = record["training_prevalence"]
    odds = found / (1 - found) * share / (1 - share)  # undersampled to one half
    expected = table.loc[list(held_out.ids), "probability"]
    np.testing.assert_allclose(odds / (1 + odds), expected, rtol=0, atol=1e-6)
    unknown = replace(held_out, record=np.where([[True, False, False, False]], np.nan, held_out.record))
    other = predict(model, archive, unknown, here, "all", segment=False).probability
    assert (np.abs(other - found) > 1e-9).any()


def test_a_training_part_without_any_value_is_an_error(places, task, tmp_path):
    """Of fold 1 the others alone have an age or a sex."""
    archive = Archive.open(places.archive)
    training, _ = split(task(**FUSED), places, archive)

    def emptied(table):
        own = table["nodule_id"].isin(training.ids)
        return {name: table[name].mask(own, None) for name in ("age", "sex")}

    with pytest.raises(InputError, match="no nodule of its training part has anything in age, sex"):
        split(task(**FUSED), changed(places, tmp_path, emptied), archive)


def test_a_column_that_the_training_part_has_not_is_left_out(places, task, tmp_path):
    archive = Archive.open(places.archive)
    training, _ = split(task(**FUSED), places, archive)

    def emptied(table):
        return {"sex": table["sex"].mask(table["nodule_id"].isin(training.ids), None)}

    training, held_out = split(task(**FUSED), changed(places, tmp_path, emptied), archive)
    assert training.record.shape[1] == held_out.record.shape[1] == 2  # age, and its gap


PATIENTS = 80


def noise(modality, row, side):
    """A picture that says nothing, and the same ellipse as nodule and boundary of all."""
    grey = np.random.default_rng([row, len(modality)]).integers(0, 256, (side, side), dtype=np.uint8)
    y, x = np.mgrid[:side, :side] / side
    mask = (((x - 0.5) / 0.25) ** 2 + ((y - 0.5) / 0.2) ** 2 < 1).astype(np.uint8)
    return np.stack([grey, mask, mask])


@pytest.fixture(scope="module")
def told_by_age(tmp_path_factory, tiny):
    """Pictures of noise; ages 40 or, with metastasis, 60, with a deviation of 10: the best AUC is 0.92."""
    folder = tmp_path_factory.mktemp("told")
    label = np.arange(PATIENTS) % 2
    ages = 40 + 20 * label + np.random.default_rng(0).normal(0, 10, PATIENTS)
    ids = [f"N{number:02d}" for number in range(PATIENTS)]
    pictures = [(name, name, {"us": [40], "ct": [20]}) for name in ids]
    write_archive(folder / "archive", tiny.preprocess, pictures, noise)
    table = pd.DataFrame({"nodule_id": ids, "patient_id": ids})
    facts = {"cohort": "main", "lnm_central": label.astype(np.float32), "age": [f"{age:.0f}" for age in ages]}
    table.assign(**facts).to_parquet(folder / "nodules.parquet", index=False)
    table.assign(fold=np.arange(PATIENTS) // 2 % 2).to_csv(folder / "folds.csv", index=False)
    return Places(*(folder / name for name in ("archive", "no", "nodules.parquet", "folds.csv", "work")))


@pytest.mark.parametrize("fusion", ["concat", "dgf"])
def test_a_record_that_tells_the_label_raises_the_auc_of_the_same_fusion(told_by_age, task, fusion):
    def reached(variant, record):
        chosen = task(variant=variant, record=record, fold=0, epochs=20, validate_every=20)
        fit(chosen, told_by_age, 20, lambda *_: None)
        table = pd.read_csv(told_by_age.fit(chosen.key) / "predictions.csv")
        return roc_auc_score(table["label"], table["probability"])

    without, with_record = reached(fusion, ()), reached(f"{fusion}_record", (("age", "a"),))
    assert with_record > 0.8
    assert with_record > without + 0.2
