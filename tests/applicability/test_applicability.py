"""On simulated predictions whose truth is known: who benefits from CT is found, and nobody else is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from dgfnet import digests
from dgfnet.applicability import rule
from dgfnet.applicability.attributes import DIAMETER, combined, grouped
from dgfnet.applicability.groups import by_group, interactions
from dgfnet.applicability.stage import _external
from dgfnet.settings import load

COUNT, FOLDS = 460, 4  # as many nodules as the phantom's main cohort keeps


def simulated(seed, *, large, small, count=COUNT):
    """Tables in which the log-odds of CT tell the label with these strengths in large and small nodules.

    US tells as much in both, and `both` adds the log-odds of US and CT, which is what a perfect fusion does.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    diameter = rng.uniform(8, 32, count)
    strength = np.where(diameter > 20, large, small)
    # log-odds of a normal reading at distance d are d (x - d / 2); calibrated by construction
    us = 1.0 * (label * 1.0 + rng.normal(0, 1, count) - 0.5)
    ct = strength * (label * strength + rng.normal(0, 1, count) - strength / 2)
    start = pd.DataFrame(
        {"nodule_id": [f"n{i}" for i in range(count)], "patient_id": [f"p{i}" for i in range(count)]}
    )
    start = start.assign(fold=np.arange(count) % FOLDS, label=label, threshold=0.5)
    log_odds = {"us": us, "ct": ct, "both": us + ct}
    tables = {name: start.assign(probability=expit(odds)) for name, odds in log_odds.items()}
    groups = pd.DataFrame(
        {DIAMETER: diameter, "margin": rng.choice(["smooth", "rough"], count)}, start["nodule_id"]
    )
    return tables, groups


def analysed(tables, attributes):
    groups = pd.DataFrame({name: grouped(attributes[name]) for name in attributes})
    table = by_group(tables, groups, 10, 0.95)
    return table, interactions(table, 0.95).set_index("attribute")


def useless(tables, seed):
    """In place of what CT would add, noise."""
    odds = logit(tables["us"]["probability"]) + np.random.default_rng([9, seed]).normal(
        0, 0.5, len(tables["us"])
    )
    tables["both"]["probability"] = expit(odds)


def test_a_group_that_benefits_is_found():
    tables, attributes = simulated(1, large=2.0, small=0.2)
    table, tests = analysed(tables, attributes)
    row = table.set_index("group")
    assert row.loc["20 - 36", "gain"] > 0.10
    assert row.loc["20 - 36", "gain_p_holm"] < 0.01
    assert abs(row.loc["12 - 20", "gain"]) < 0.05
    assert tests.loc[DIAMETER, "p_holm"] < 0.01
    assert tests.loc["margin", "p_holm"] > 0.05


# At a true rate of 5 %, 8 of 50 or more has a chance of 0.3 %, and 15 of 150 or more one of 0.8 %.
@pytest.mark.parametrize(
    ("cohorts", "most"), [(range(50), 7), pytest.param(range(150), 14, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("strength", [0.0, 1.2])
def test_where_ct_helps_all_alike_or_nobody_no_group_is_claimed(strength, cohorts, most):
    """The number of cohorts in which any attribute is claimed to matter, where none does."""
    claims = 0
    for seed in cohorts:
        tables, attributes = simulated(seed, large=strength, small=strength)
        if strength == 0.0:
            useless(tables, seed)
        _, tests = analysed(tables, attributes)
        claims += bool((tests["p_holm"] < 0.05).any())
    assert claims <= most


def test_the_rule_finds_whom_ct_helps_and_beats_chance_and_the_threshold():
    tables, attributes = simulated(2, large=2.0, small=0.0)
    expected = rule.learned(tables["us"], tables["both"], attributes[[DIAMETER]])
    curve = rule.frontier(tables["us"], tables["both"], expected, 3).set_index(["policy", "ct_share"])
    at_half = {policy: curve.loc[(policy, 0.5), "auc"] for policy in rule.POLICIES}
    assert at_half["rule"] > at_half["near threshold"] + 0.02
    assert at_half["rule"] > at_half["random"] + 0.02
    everyone = curve.loc[("rule", 1.0), "auc"]
    assert at_half["rule"] > everyone - 0.01  # half the CTs for nearly all of the benefit
    test = rule.better_than_chance(tables["us"], tables["both"], expected, 0.5, 500, 4)
    assert test["p"] < 0.01
    assert test["improvement"] > 1.5 * test["by_chance"] > 0


def test_the_rule_finds_whom_ct_helps_at_another_hospital_without_its_labels():
    tables, attributes = simulated(2, large=2.0, small=0.0)
    external, external_attributes = simulated(3, large=2.0, small=0.0, count=200)
    us, both = (external[name].assign(fold=0) for name in ("us", "both"))
    size = attributes[[DIAMETER]], external_attributes[[DIAMETER]]
    expected = rule.expected_externally(tables["us"], tables["both"], size[0], us, size[1])
    hidden = rule.expected_externally(tables["us"], tables["both"], size[0], us.assign(label=0), size[1])
    np.testing.assert_array_equal(expected, hidden)
    assert sorted(expected) == pytest.approx(np.arange(1, 201) / 200)
    test = rule.better_than_chance(us, both, expected, 0.5, 500, 4)
    assert test["p"] < 0.05
    assert test["improvement"] > 1.5 * test["by_chance"] > 0


def test_where_ct_is_useless_the_rule_does_not_claim_anything():
    """The share of claims over 60 cohorts in which noise stands for what CT would add."""
    claims = 0
    for seed in range(60):
        tables, attributes = simulated(seed, large=0.0, small=0.0)
        useless(tables, seed)
        expected = rule.learned(tables["us"], tables["both"], attributes[[DIAMETER]])
        test = rule.better_than_chance(tables["us"], tables["both"], expected, 0.5, 200, seed)
        claims += test["p"] < 0.05 and test["improvement"] > 0
    assert claims / 60 <= 0.1


def test_every_fold_gets_its_share_whatever_its_rule_expects():
    """The rule of a fold that excludes its own high gains expects too little there: scores do not compare."""
    fold = np.repeat([0, 1, 2], 20)
    score = np.tile(np.arange(20.0), 3) + 100 * fold
    picked = rule.chosen(rule.within_folds(score, fold), 0.5)
    assert [int(picked[fold == one].sum()) for one in range(3)] == [10, 10, 10]
    assert (score[picked] % 100).min() == 10


def test_improvement_counts_calls():
    us = pd.DataFrame({"probability": [0.2, 0.8, 0.8, 0.2], "threshold": 0.5, "label": [1, 0, 1, 0]})
    both = us.assign(probability=[0.6, 0.9, 0.4, 0.1])
    assert rule.improvement(us, both).tolist() == [1.0, 0.0, -1.0, 0.0]


def test_the_rule_never_sees_the_nodules_it_judges():
    tables, attributes = simulated(5, large=2.0, small=0.0, count=120)
    before = rule.learned(tables["us"], tables["both"], attributes[[DIAMETER]])
    changed = {name: table.copy() for name, table in tables.items()}
    held = changed["us"]["fold"] == 2
    for table in changed.values():
        table.loc[held, "label"] = 1 - table.loc[held, "label"]
    after = rule.learned(changed["us"], changed["both"], attributes[[DIAMETER]])
    np.testing.assert_array_equal(before[held], after[held])
    assert (before[~held] != after[~held]).any()


def test_the_ends_of_the_frontier_are_us_for_all_and_ct_for_all():
    tables, attributes = simulated(6, large=1.0, small=1.0)
    expected = rule.learned(tables["us"], tables["both"], attributes[[DIAMETER]])
    curve = rule.frontier(tables["us"], tables["both"], expected, 1)
    for policy in rule.POLICIES:
        part = curve[curve["policy"] == policy].set_index("ct_share")
        for share, name in ((0.0, "us"), (1.0, "both")):
            assert part.loc[share, "auc"] == pytest.approx(
                roc_auc_score(tables[name]["label"], tables[name]["probability"])
            )
        assert part.loc[0.0, "improvement"] == 0.0


@pytest.mark.parametrize("decimals", [9, 1], ids=["plain", "ties"])
def test_every_point_of_the_frontier_is_measured_on_its_mixture(decimals):
    tables, attributes = simulated(9, large=1.0, small=1.0, count=150)
    us, both = (
        tables[name].assign(probability=tables[name]["probability"].round(decimals))
        for name in ("us", "both")
    )
    expected = rule.learned(us, both, attributes[[DIAMETER]])
    curve = rule.frontier(us, both, expected, 1).set_index(["policy", "ct_share"])
    for share in rule.SHARES:
        mixed = np.where(rule.chosen(expected, share), both["probability"], us["probability"])
        point = curve.loc[("rule", share)]
        assert point["auc"] == pytest.approx(roc_auc_score(us["label"], mixed), abs=1e-12)
        gains = np.where(us["label"] == 1, mixed >= 0.5, -1.0 * (mixed >= 0.5))  # odds of 0.5 are 1
        assert point["net_benefit"] == pytest.approx(gains.mean(), abs=1e-12)
        right = [((p >= 0.5) == (us["label"] == 1)).mean() for p in (us["probability"], mixed)]
        assert point["improvement"] == pytest.approx(right[1] - right[0], abs=1e-12)


def test_unknown_sizes_do_not_stop_the_rule():
    tables, attributes = simulated(7, large=1.0, small=1.0, count=80)
    attributes[DIAMETER] = np.nan
    assert np.isfinite(rule.learned(tables["us"], tables["both"], attributes[[DIAMETER]])).all()


def test_groups_by_hand():
    tables, _ = simulated(8, large=1.0, small=1.0, count=60)
    name = pd.Series(["a"] * 50 + ["b"] * 10, index=tables["us"]["nodule_id"], name="kind")
    table = by_group(tables, pd.DataFrame({"kind": name}), 10, 0.95).set_index("group")
    part = tables["ct"].iloc[:50]
    correct = ((part["probability"] >= 0.5) == (part["label"] == 1)).mean()
    assert table.loc["a", "correct_ct"] == pytest.approx(correct)
    assert table.loc["a", "auc_ct"] == pytest.approx(roc_auc_score(part["label"], part["probability"]))
    assert (table.loc["a", "n"], table.loc["b", "n"]) == (50, 10)
    assert not table.loc["a", "small"]
    assert table.loc["b", "small"]  # fewer than ten of a class
    assert math.isnan(table.loc["b", "gain_p"])
    assert not math.isnan(table.loc["b", "auc_ct"])


def test_without_any_known_attribute_the_tables_are_empty_and_whole():
    tables, _ = simulated(8, large=1.0, small=1.0, count=60)
    nobody = pd.DataFrame({"kind": pd.Series(np.nan, index=tables["us"]["nodule_id"], dtype=object)})
    table = by_group(tables, nobody, 10, 0.95)
    assert len(table) == 0
    assert {"attribute", "group", "small", "correct_us", "gain", "gain_p_holm"} <= set(table)
    assert len(interactions(table, 0.95)) == 0


def test_cochrans_q_by_hand():
    z = stats.norm.ppf(0.975)
    rows = pd.DataFrame({"attribute": "x", "group": ["a", "b", "c"], "small": [False, False, True]})
    rows = rows.assign(gain=[0.1, 0.3, 9.0], error=[0.1, 0.05, 0.1])
    rows = rows.assign(gain_low=rows["gain"] - z * rows["error"], gain_high=rows["gain"] + z * rows["error"])
    result = interactions(rows, 0.95).iloc[0]
    # weights 100 and 400, mean 0.26: 100 * 0.16^2 + 400 * 0.04^2 = 3.2
    assert result["q"] == pytest.approx(3.2)
    assert result["p"] == pytest.approx(stats.chi2.sf(3.2, 1))
    assert result["groups"] == 2


def test_limits_belong_to_the_group_below():
    values = pd.Series([11.9, 12.0, 12.1, 36.0, 60.0, 60.1, np.nan], name=DIAMETER)
    assert grouped(values).tolist()[:-1] == ["<= 12", "<= 12", "12 - 20", "20 - 36", "36 - 60", "> 60"]
    assert pd.isna(grouped(values).iloc[-1])
    ages = pd.Series([str(age) for age in range(20, 60)], name="age")
    assert grouped(ages).value_counts().tolist() == [10, 10, 10, 10]
    assert grouped(pd.Series(["F", "M", None], name="sex")).tolist()[:2] == ["F", "M"]


def test_the_manifest_wins_and_what_it_lacks_is_measured():
    told = pd.DataFrame({DIAMETER: ["10", None, "30"]}, index=["a", "b", "c"])
    own = pd.DataFrame({DIAMETER: [10.5, 20.0, 20.0], "aspect_ratio": [0.9, 1.2, 1.0]}, index=["a", "b", "c"])
    table, agreement = combined(told, own)
    assert table[DIAMETER].tolist() == [10.0, 20.0, 30.0]
    assert table["aspect_ratio"].tolist() == [0.9, 1.2, 1.0]
    assert agreement == {DIAMETER: {"n": 2, "median_difference": pytest.approx(-4.75), "within_tenth": 0.5}}


def test_an_external_validation_of_an_earlier_release_is_told(tmp_path, params):
    (tmp_path / "params.yaml").write_text(params.read_text())
    settings = load(tmp_path / "params.yaml")
    assert "was not validated" in _external(settings, "central")
    path = settings.artifacts("external", "central", "metrics.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"threshold": 0.4}')
    digests.keep(path.parent)
    assert "earlier release" in _external(settings, "central")
