"""The gate, and the choice of the fold whose model is registered."""

import pytest

from dgfnet.registry.promote import judge
from dgfnet.registry.stage import best_fold
from dgfnet.settings import Register

SETTINGS = Register(variant="dgf", criterion="accuracy", minimum_auc_lower_bound=0.6)
NEW = {"pooled_auc": "0.8000", "pooled_auc_low": "0.7500", "data_md5": "x"}


def test_the_first_good_version_becomes_champion():
    assert judge(NEW, None, SETTINGS).promoted


@pytest.mark.parametrize(("low", "promoted"), [("0.6000", True), ("0.5999", False), ("nan", False)])
def test_the_lower_bound_must_reach_the_floor(low, promoted):
    verdict = judge({**NEW, "pooled_auc_low": low}, None, SETTINGS)
    assert verdict.promoted is promoted
    assert "at least 0.6 is needed" in verdict.reason or promoted


@pytest.mark.parametrize(("theirs", "promoted"), [("0.7999", True), ("0.8000", True), ("0.8001", False)])
def test_on_the_same_data_a_worse_version_is_refused(theirs, promoted):
    assert judge(NEW, {"pooled_auc": theirs, "data_md5": "x"}, SETTINGS).promoted is promoted


def test_a_champion_of_other_data_does_not_stand_in_the_way():
    verdict = judge(NEW, {"pooled_auc": "0.9", "data_md5": "y"}, SETTINGS)
    assert verdict.promoted
    assert "other data" in verdict.reason


def test_the_best_fold_is_the_first_of_equals_and_undefined_ones_lose():
    folds = [{"scores": {"auc": value}} for value in (None, 0.7, 0.9, 0.9)]
    assert best_fold({"folds": folds}, "auc") == 2
