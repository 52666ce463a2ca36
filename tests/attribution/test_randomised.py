"""Exchanged labels: the same numbers, another order, whole patients, and only where they may be exchanged."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dgfnet.attribution.randomised import exchanged


def cohort(patients=40, seed=0):
    """Every third patient has two nodules; a nodule each of patients 0 and 1 has no label."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"N{n:02d}{k}", f"P{n:02d}", float(label))
        for n, label in enumerate(rng.random(patients) < 0.3)
        for k in range(2 if n % 3 == 2 else 1)
    ]
    table = pd.DataFrame(rows, columns=["nodule_id", "patient_id", "lnm_central"])
    table.loc[table["patient_id"].isin(["P00", "P01"]), "lnm_central"] = np.nan
    return table, table["patient_id"] < "P30"


def test_labels_are_the_same_numbers_in_another_order():
    table, training = cohort()
    permuted = exchanged(table, training, "central", 1)
    before, after = (each.loc[training, "lnm_central"].dropna() for each in (table, permuted))
    assert sorted(before) == sorted(after)
    assert (before != after).any()


def test_a_patient_hands_over_all_labels_at_once():
    """Labels differ within patients here: the pairs must stay together."""
    table, training = cohort()
    table["lnm_central"] = np.arange(len(table), dtype=float)
    permuted = exchanged(table, training, "central", 1)
    lists = [each[training].groupby("patient_id")["lnm_central"].agg(tuple) for each in (table, permuted)]
    assert sorted(lists[0]) == sorted(lists[1])
    assert (lists[0].map(len) == lists[1].map(len)).all()


def test_held_out_and_unknown_labels_stay():
    table, training = cohort()
    permuted = exchanged(table, training, "central", 1)
    pd.testing.assert_frame_equal(permuted[~training], table[~training])
    assert (permuted["lnm_central"].isna() == table["lnm_central"].isna()).all()
    pd.testing.assert_frame_equal(permuted.drop(columns="lnm_central"), table.drop(columns="lnm_central"))


def test_the_seed_decides_and_the_order_of_the_table_does_not():
    table, training = cohort()
    permuted = exchanged(table, training, "central", 1)
    assert permuted.equals(exchanged(table, training, "central", 1))
    assert not permuted.equals(exchanged(table, training, "central", 2))
    turned = exchanged(table[::-1], training[::-1], "central", 1)
    pd.testing.assert_frame_equal(turned.sort_index(), permuted)


def test_exchanged_labels_know_nothing_of_the_true_ones():
    """Over many seeds a metastasis is followed by another as often as the prevalence says."""
    table, training = cohort(300)
    truth = table.loc[training, "lnm_central"]
    kept = [exchanged(table, training, "central", seed).loc[training, "lnm_central"] for seed in range(60)]
    agreement = np.mean([(each[truth == 1] == 1).mean() for each in kept])
    assert abs(agreement - truth.mean()) < 0.06
