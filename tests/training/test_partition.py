from __future__ import annotations

import numpy as np
import pytest

from dgfnet.errors import InputError
from dgfnet.preprocess.archive import Archive
from dgfnet.training.partition import grouped_split, split


@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize("site", ["central", "lateral"])
def test_a_search_never_sees_the_held_out_fold(places, task, site, fold):
    archive = Archive.open(places.archive)
    outer, held_out = split(task(site=site, fold=fold), places, archive)
    inner, score = split(task(site=site, fold=fold, inner_folds=3), places, archive)
    assert sorted([*inner.ids, *score.ids]) == sorted(outer.ids)
    assert not set(inner.patients.tolist()) & set(score.patients.tolist())
    assert not set(held_out.patients.tolist()) & {*inner.patients.tolist(), *score.patients.tolist()}
    for part in (inner, score):
        assert set(part.labels.tolist()) == {0.0, 1.0}


def test_all_trials_of_a_fold_are_judged_on_the_same_nodules(places, task):
    archive = Archive.open(places.archive)
    judged = {
        split(task(inner_folds=3, seed=seed, training={"learning_rate": rate}), places, archive)[1].ids
        for seed in (1, 2)
        for rate in (1e-3, 1e-2)
    }
    assert len(judged) == 1


def test_the_inner_part_is_about_one_in_so_many(places, task):
    archive = Archive.open(places.archive)
    for parts in (2, 3):
        inner, score = split(task(inner_folds=parts), places, archive)
        assert len(score) / (len(inner) + len(score)) == pytest.approx(1 / parts, abs=0.12)


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # that is the point
def test_a_class_that_cannot_be_shared_is_an_error(places, task):
    outer, _ = split(task(), places, Archive.open(places.archive))
    one = np.flatnonzero(outer.labels == 1)[:1]
    lonely = outer.take(np.concatenate([one, np.flatnonzero(outer.labels == 0)]))
    with pytest.raises(InputError, match=r"lower tune\.inner_folds"):
        grouped_split(lonely, 3, 1)
