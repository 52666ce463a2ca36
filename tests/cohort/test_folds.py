from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import settings as tries
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from dgfnet.cohort.folds import Folds, by_centre, make, stratified
from dgfnet.cohort.records import Nodule
from dgfnet.errors import InputError


def nodules(patients, seed=0, labelled=1.0):
    """One or two nodules for each patient; `labelled` is the share of patients with a lateral label."""
    rng = np.random.default_rng(seed)
    made = []
    for patient in range(patients):
        central = int(rng.random() < 0.4)
        lateral = int(rng.random() < 0.3) if rng.random() < labelled else None
        labels = {"central": central, "lateral": lateral}
        for number in range(1 + (rng.random() < 0.2)):
            made.append(Nodule(f"P{patient}-{number}", f"P{patient}", "main", labels, 1, {}, ()))
    return made


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_folds_that_split_a_patient_cannot_be_built():
    patients = {"N1": "P1", "N2": "P2", "N3": "P1"}
    assert refusal(Folds, patients, {"N1": 0, "N2": 1, "N3": 1}) == (
        "folds: patient P1 is in folds 0 and 1; that is a leak"
    )
    assert Folds(patients, {"N1": 0, "N2": 1, "N3": 0}).count == 2


@pytest.mark.parametrize("numbers", [(0, 2), (1, 2), (1, 1), (-1, 0)])
def test_folds_with_a_gap_cannot_be_built(numbers):
    fold = dict(zip(("N1", "N2"), numbers, strict=True))
    folds_present = sorted(set(numbers))
    assert refusal(Folds, {"N1": "P1", "N2": "P2"}, fold) == (
        f"folds: expected 0 to {max(numbers)} without a gap, found {folds_present}"
    )


def test_a_nodule_without_patient_or_fold_is_named():
    assert refusal(Folds, {"N1": "P1"}, {"N1": 0, "N2": 0}) == "folds: ['N2'] lack a patient or a fold"
    assert refusal(Folds, {"N1": "P1", "N2": "P1"}, {"N1": 0}) == "folds: ['N2'] lack a patient or a fold"


@given(st.dictionaries(st.text('ab," é1', min_size=1, max_size=4), st.integers(0, 2), max_size=6))
def test_a_leak_is_found_wherever_it_is(fold):
    patients = {nodule: nodule[0] for nodule in fold}
    homes = {}
    for nodule, number in fold.items():
        homes.setdefault(nodule[0], set()).add(number)
    sound = all(len(home) == 1 for home in homes.values()) and set(fold.values()) == set(
        range(len(set(fold.values())))
    )
    if sound:
        assert Folds(patients, fold).count == len(set(fold.values()))
    else:
        assert refusal(Folds, patients, fold).startswith("folds: ")


def by_scikit_learn(strata, groups, count, seed):
    fold = np.full(len(strata), -1)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(strata, strata, groups)):
        fold[test] = number
    return fold


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@tries(max_examples=60)
@given(
    st.integers(60, 400), st.integers(2, 12), st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**32 - 1)
)
def test_rows_are_dealt_as_scikit_learn_deals_them(rows, count, strata, rows_per_group, seed):
    rng = np.random.default_rng(seed)
    # shares of strata that differ, and groups of different sizes: ties are where rounding would show
    weight = np.arange(1, strata + 1) / np.arange(1, strata + 1).sum()
    stratum = rng.choice(strata, rows, p=weight).astype(str)
    group = np.char.add("P", rng.integers(max(3 * count, rows // rows_per_group), size=rows).astype(str))
    found = stratified(stratum, group, count, seed)
    assert found.tolist() == by_scikit_learn(stratum, group, count, seed).tolist()


@pytest.mark.parametrize(("patients", "count", "seed"), [(200, 4, 2026), (3000, 4, 2026), (3000, 10, 7)])
def test_cohorts_keep_the_folds_that_scikit_learn_makes(patients, count, seed):
    members = nodules(patients, seed, labelled=0.8)
    strata = np.array([f"{n.labels['central']}{n.labels['lateral']}" for n in members])
    owners = np.array([n.patient_id for n in members])
    expected = by_scikit_learn(strata, owners, count, seed)
    found = make(members, count, seed, minimum_per_class=3)
    assert [found.fold[n.nodule_id] for n in members] == expected.tolist()


@tries(max_examples=25)
@given(st.integers(40, 90), st.integers(2, 5), st.integers(0, 10**6))
def test_made_folds_keep_patients_whole_and_balance_both_sites(patients, count, seed):
    members = nodules(patients, seed, labelled=0.8)
    try:
        folds = make(members, count, seed, minimum_per_class=2)
    except InputError:
        reject()  # no partition of so few; Hypothesis complains when that is the rule
    assert set(folds.fold) == {n.nodule_id for n in members}
    homes = {}
    for n in members:
        homes.setdefault(n.patient_id, set()).add(folds.fold[n.nodule_id])
    assert all(len(home) == 1 for home in homes.values())
    for site in ("central", "lateral"):
        for fold in range(count):
            labels = [n.labels[site] for n in members if folds.fold[n.nodule_id] == fold]
            assert labels.count(0) >= 2
            assert labels.count(1) >= 2


def test_folds_are_stratified_on_both_sites():
    members = nodules(400, seed=4)
    folds = make(members, 4, 2026, minimum_per_class=1)
    for site in ("central", "lateral"):
        whole = np.mean([n.labels[site] for n in members])
        for fold in range(4):
            share = np.mean([n.labels[site] for n in members if folds.fold[n.nodule_id] == fold])
            assert abs(share - whole) < 0.03  # drawn at random its standard deviation would be 0.045
    sizes = np.bincount(list(folds.fold.values()))
    assert sizes.max() - sizes.min() <= 4


def test_an_equal_seed_makes_equal_folds_and_another_does_not():
    members = nodules(60)
    assert make(members, 3, 5, 1) == make(members, 3, 5, 1)
    assert make(members, 3, 5, 1) != make(members, 3, 6, 1)


def test_a_site_without_labels_asks_for_none():
    members = nodules(60, labelled=0.0)
    assert make(members, 3, 1, minimum_per_class=3).count == 3


def test_classes_too_rare_for_the_folds_are_refused():
    text = refusal(make, nodules(60), 4, 1, 10)
    assert text.startswith("no partition into 4 folds passed the audit: fold ")
    assert "expected at least 10; lower cohort.folds or cohort.minimum_per_class" in text


def test_more_folds_than_patients_are_refused():
    assert refusal(make, nodules(3), 4, 1, 1) == "3 patients cannot fill 4 folds; lower cohort.folds"


def test_the_file_keeps_the_folds(tmp_path):
    folds = Folds({"b": "P, 1", "a": "007", "1": "P, 1"}, {"b": 0, "a": 1, "1": 0})
    folds.write(tmp_path / "made" / "folds.csv")
    assert (tmp_path / "made" / "folds.csv").read_text() == (
        'nodule_id,patient_id,fold\n1,"P, 1",0\na,007,1\nb,"P, 1",0\n'
    )
    assert Folds.read(tmp_path / "made" / "folds.csv") == folds


def test_a_file_edited_into_a_leak_is_refused(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("nodule_id,patient_id,fold\nN1,P1,0\nN2,P1,1\n")
    assert refusal(Folds.read, path) == "folds: patient P1 is in folds 0 and 1; that is a leak"


def test_a_missing_file_names_the_stage():
    path = Path("/nowhere/folds.csv")
    assert refusal(Folds.read, path) == "/nowhere/folds.csv: no such file; run the stage cohort first"


def test_every_centre_is_a_fold():
    made = nodules(90)
    centre = {nodule.nodule_id: "cab"[int(nodule.patient_id[1:]) % 3] for nodule in made}
    folds = by_centre(made, centre, 2)
    assert folds.count == 3
    for nodule in made:
        assert "abc"[folds.fold[nodule.nodule_id]] == centre[nodule.nodule_id]


def test_what_cannot_be_held_out_by_centre_is_said():
    made = nodules(60)
    one = dict.fromkeys((nodule.nodule_id for nodule in made), "Aix")
    assert refusal(by_centre, made, one, 1) == ("cohort.split: centres needs two centres or more, found Aix")
    twice = next(nodule for nodule in made if nodule.nodule_id.endswith("-1"))
    both = one | {f"{twice.patient_id}-1": "Bonn"}
    assert f"patient {twice.patient_id} has nodules at Aix and Bonn" in refusal(by_centre, made, both, 1)
    small = {nodule.nodule_id: "Bonn" if nodule.patient_id == "P0" else "Aix" for nodule in made}
    said = refusal(by_centre, made, small, 2)
    assert said.startswith("leave-one-centre-out: fold 1 has ")
    assert "(fold 0 is Aix, 1 is Bonn); join small centres" in said
