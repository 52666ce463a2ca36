"""The fits a setting asks for: the whole matrix, what is shared in it, and where pretrained encoders go."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import yaml

from dgfnet import digests
from dgfnet.errors import InputError
from dgfnet.sweep.plan import Inputs, _chosen, _columns, classification, inner_classification, segmentation
from dgfnet.vocabulary import RECORD_FUSIONS, SITES, SPECS, VARIANTS

DIGESTS = {None: "n", "central": "c", "lateral": "l"}
RECORD = (("age", "d1"), ("sex", "d2"))


@pytest.fixture
def inputs():
    def make(chosen=None, **pretrained):
        backbones = {"resnet18": None, "resnet34": None, "inception_v3": None}
        return Inputs("a", DIGESTS, "m", 4, {**backbones, **pretrained}, SITES, chosen or {}, RECORD)

    return make


def test_every_variant_is_a_fit(tiny, inputs):
    keys = set()
    for site in SITES:
        for variant in VARIANTS:
            task, origin = classification(tiny, inputs(), site, variant, 0)
            assert (task.variant, task.site, task.inner_folds) == (variant, site, None)
            assert sorted(task.parents) == sorted(SPECS[variant].modalities if SPECS[variant].tasks else ())
            assert [parent.key for parent in origin] == list(task.parents.values())
            keys.add(task.key)
            assert task.record == (RECORD if variant.endswith("_record") else ())
    assert len(keys) == 28


def test_the_record_is_part_of_the_keys_of_what_reads_it_alone(tiny, inputs):
    facts = inputs()
    for other in ((("age", "d1"), ("sex", "d3")), (("age", "d1"),), (("sex", "d2"), ("age", "d1"))):
        changed = replace(facts, record=other)
        for variant in VARIANTS:
            before, after = (
                classification(tiny, known, "central", variant, 0)[0].key for known in (facts, changed)
            )
            assert (before != after) == SPECS[variant].record, variant


def test_a_fusion_with_the_record_starts_from_the_same_parents(tiny, inputs):
    for variant in RECORD_FUSIONS:
        _, origin = classification(tiny, inputs(), "central", variant, 0)
        _, plain = classification(tiny, inputs(), "central", SPECS[variant].fusion, 0)
        assert [parent.key for parent in origin] == [parent.key for parent in plain]


def test_a_record_of_columns_that_nobody_has_is_an_error(tiny, inputs):
    settings = tiny.changed({"crossval.record": ["ages", "sexes"]})
    with pytest.raises(InputError, match=r"crossval\.record names no column of nodules\.csv: ages, sexes"):
        classification(settings, replace(inputs(), record=()), "central", "dgf_record", 0)


def test_columns_are_known_by_what_stands_in_them():
    table = pd.DataFrame(
        {"nodule_id": ["a", "b"], "age": ["40", "50"], "sex": [None, "F"], "empty": [None] * 2}
    )
    names = ("sex", "age", "empty", "absent")
    found = _columns(table, names)
    assert [name for name, _ in found] == ["sex", "age"]
    assert _columns(table.assign(lnm_central=1), names) == found
    other = dict(_columns(table.assign(age=["40", "51"]), names))
    assert other["sex"] == dict(found)["sex"]
    assert other["age"] != dict(found)["age"]


def test_one_schedule_for_both_phases_of_a_network_of_one_modality(tiny, inputs):
    joined = tiny.changed(
        {"training.schedule": "joined", "pretrain.epochs": 100, "crossval.unimodal_epochs": 200}
    )
    task, (phase,) = classification(joined, inputs(), "central", "us_multitask", 0)
    assert (phase.epochs, phase.before, phase.after) == (100, 0, 200)
    assert (task.epochs, task.before, task.after) == (200, 100, 0)
    for variant in ("us_resnet", "us_tlr", "concat", "dgf", "us_continued"):
        task, _ = classification(joined, inputs(), "central", variant, 0)
        assert (task.before, task.after) == (0, 0)
    for name in ("us_multitask", "dgf"):
        task, origins = classification(tiny, inputs(), "central", name, 0)
        assert {(each.before, each.after) for each in (task, *origins)} == {(0, 0)}


def test_the_control_of_a_fusion_has_its_epochs(tiny, inputs):
    for modality in ("us", "ct"):
        task, (parent,) = classification(tiny, inputs(), "lateral", f"{modality}_continued", 0)
        assert task.epochs == classification(tiny, inputs(), "lateral", "dgf", 0)[0].epochs
        assert parent.key == classification(tiny, inputs(), "lateral", f"{modality}_multitask", 0)[0].key


def test_the_segmentation_phase_is_shared_by_both_sites_and_all_variants(tiny, inputs):
    roots = set()
    for site in SITES:
        for variant in ("us_multitask", "ct_multitask", "concat", "sum", "product", "dgf"):
            _, origin = classification(tiny, inputs(), site, variant, 0)
            for parent in origin:
                roots |= {parent.key} if parent.phase == "segmentation" else set(parent.parents.values())
    expected = {segmentation(tiny, inputs(), modality, "resnet18", 0).key for modality in ("us", "ct")}
    assert roots == expected


def test_encoders_of_two_kinds_need_a_phase_each(tiny, inputs):
    settings = tiny.changed({"network.encoder.central": "resnet34"})
    origins = {classification(settings, inputs(), site, "us_multitask", 0)[1][0].key for site in SITES}
    assert len(origins) == 2


def test_what_a_search_chose_reaches_its_fold_and_no_other(tiny, inputs):
    chosen = {("central", "dgf", 1): {"training.learning_rate": 0.5, "network.dgf.combiner": "sum"}}
    with_it, without = inputs(chosen), inputs()
    task, origin = classification(tiny, with_it, "central", "dgf", 1)
    assert (task.training.learning_rate, task.network.dgf.combiner) == (0.5, "sum")
    plain, plain_origin = classification(tiny, without, "central", "dgf", 1)
    assert task.key != plain.key
    assert [parent.key for parent in origin] == [parent.key for parent in plain_origin]
    for site, variant, fold in (("central", "dgf", 0), ("lateral", "dgf", 1), ("central", "sum", 1)):
        assert (
            classification(tiny, with_it, site, variant, fold)[0].key
            == classification(tiny, without, site, variant, fold)[0].key
        )


def test_a_trial_and_its_parents_train_on_the_inner_part_alone(tiny, inputs):
    chosen = {("central", "us_multitask", 0): {"training.learning_rate": 0.5}}
    task, origin = inner_classification(tiny, inputs(chosen), "central", "dgf", 0, {"network.dropout": 0.4})
    assert task.network.dropout == 0.4
    assert task.inner_folds == tiny.tune.inner_folds
    for parent in origin:
        assert (parent.phase, parent.inner_folds) == ("classification", tiny.tune.inner_folds)
        assert parent.network.dropout == tiny.network.dropout
        assert parent.training.learning_rate == tiny.training.learning_rate


def test_a_trial_reads_the_record_and_its_parents_do_not(tiny, inputs):
    task, origin = inner_classification(tiny, inputs(), "central", "dgf_record", 0, {})
    assert (task.record, task.inner_folds) == (RECORD, tiny.tune.inner_folds)
    assert [parent.record for parent in origin] == [(), ()]


def test_pretrained_encoders_go_where_no_parent_is(tiny, inputs):
    pretrained = inputs(resnet18=("/r18.pt", "18"), inception_v3=("/i.pt", "i3"))
    for variant in VARIANTS:
        task, _ = classification(tiny, pretrained, "central", variant, 0)
        expected = {"us_tlr": "i3"}.get(variant, None if SPECS[variant].tasks else "18")
        assert task.pretrained_sha256 == expected
    assert segmentation(tiny, pretrained, "us", "resnet18", 0).pretrained_sha256 == "18"
    assert classification(tiny, pretrained, "central", "us_tlr", 0)[0].encoder == "inception_v3"


def chosen_file(settings, content):
    path = settings.artifacts("tune", "chosen.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content))
    digests.keep(path.parent)


def test_chosen_settings_are_read_per_fold(project):
    assert _chosen(project, DIGESTS) == {}
    record = {
        "folds": "c",
        "inner_score": [0.7, 0.8],
        "chosen": [{"training.batch": 8}, {"training.batch": 9}],
    }
    chosen_file(project, {"central": {"dgf": record}})
    assert _chosen(project, DIGESTS) == {
        ("central", "dgf", 0): {"training.batch": 8},
        ("central", "dgf", 1): {"training.batch": 9},
    }


def test_a_search_on_other_folds_is_refused(project):
    chosen_file(project, {"central": {"dgf": {"folds": "old", "inner_score": [], "chosen": []}}})
    with pytest.raises(InputError, match="central dgf was searched on other folds; run the stage tune again"):
        _chosen(project, DIGESTS)
