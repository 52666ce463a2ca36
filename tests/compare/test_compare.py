"""Tables of the stage compare against a second, direct implementation."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from dgfnet.compare import baselines, figures
from dgfnet.compare.pairs import PAIRS, all_pairs, differences, record_sentences
from dgfnet.compare.usefulness import calibration, decisions
from dgfnet.errors import InputError
from dgfnet.results import check_same
from dgfnet.settings import load
from dgfnet.vocabulary import BASELINES, CONTROLS, RECORD_FUSIONS, TABULAR

NAMES = ("us_multitask", "ct_multitask", "dgf")
FOLDS = 4


def tables(seed=0, count=160, per_patient=1):
    """Out-of-fold tables of three variants: the third sees what the first two see and is better."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    signal = {
        name: label + rng.normal(0, spread, count)
        for name, spread in zip(NAMES, (2.0, 1.6, 0.8), strict=True)
    }
    start = pd.DataFrame({"nodule_id": [f"n{i:03}" for i in range(count)]})
    start["patient_id"] = [f"p{i // per_patient}" for i in range(count)]
    start["fold"] = np.arange(count) // per_patient % FOLDS
    start["label"] = label
    start["threshold"] = 0.3 + 0.05 * start["fold"]
    return {name: start.assign(probability=expit(values - 0.5)) for name, values in signal.items()}


def results(by_variant):
    return {
        name: {
            "folds": [
                {"scores": {"auc": roc_auc_score(part["label"], part["probability"])}}
                for _, part in table.groupby("fold")
            ]
        }
        for name, table in by_variant.items()
    }


def direct_delong(label, a, b):
    """DeLong, DeLong & Clarke-Pearson 1988 by the kernel of all pairs, for independent nodules."""
    cases, controls = label == 1, label == 0

    def kernel(score):
        return (score[cases][:, None] > score[controls]) + 0.5 * (score[cases][:, None] == score[controls])

    first, second = kernel(np.asarray(a)), kernel(np.asarray(b))
    over_cases = np.cov(first.mean(1), second.mean(1)) / cases.sum()
    over_controls = np.cov(first.mean(0), second.mean(0)) / controls.sum()
    covariance = over_cases + over_controls
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return first.mean() - second.mean(), variance


def test_pairs_equal_a_direct_delong_and_scikit_learn():
    by_variant = tables()
    pairs = all_pairs(by_variant, results(by_variant), 0.95, 400, 7)
    assert list(pairs.columns) == PAIRS
    assert [*zip(pairs["a"], pairs["b"], strict=True)] == [
        (NAMES[0], NAMES[1]),
        (NAMES[0], NAMES[2]),
        NAMES[1:],
    ]
    for row in pairs.itertuples():
        a, b = by_variant[row.a], by_variant[row.b]
        label = a["label"].to_numpy()
        by_hand = roc_auc_score(label, a["probability"]) - roc_auc_score(label, b["probability"])
        assert row.estimate == pytest.approx(by_hand, abs=1e-12)
        estimate, variance = direct_delong(label, a["probability"], b["probability"])
        assert row.estimate == pytest.approx(estimate, abs=1e-12)
        # the clustered variance divides by (patients - 1) / patients once more than DeLong's
        assert (row.high - row.low) / 2 / stats.norm.ppf(0.975) == pytest.approx(np.sqrt(variance), rel=0.02)
        assert row.p == pytest.approx(2 * stats.norm.sf(abs(estimate) / np.sqrt(variance)), rel=0.1, abs=1e-6)
        assert row.boot_low < row.estimate < row.boot_high
        assert row.boot_high - row.boot_low == pytest.approx(row.high - row.low, rel=0.25)
        by_fold = [
            roc_auc_score(x["label"], x["probability"]) - roc_auc_score(y["label"], y["probability"])
            for (_, x), (_, y) in zip(a.groupby("fold"), b.groupby("fold"), strict=True)
        ]
        assert row.folds_estimate == pytest.approx(np.mean(by_fold))
        error = np.sqrt((1 / FOLDS + 1 / (FOLDS - 1)) * np.var(by_fold, ddof=1))
        assert row.folds_p == pytest.approx(2 * stats.t.sf(abs(np.mean(by_fold)) / error, FOLDS - 1))


def test_what_the_record_adds_is_said_of_each_model_that_reads_it():
    by_variant = tables()
    start, rng = by_variant["dgf"], np.random.default_rng(3)
    for name in ("dgf_record", "record_stack", "stack"):
        by_variant[name] = start.assign(probability=expit(start["label"] + rng.normal(size=len(start))))
    said = record_sentences(all_pairs(by_variant, results(by_variant), 0.95, 100, 7), 0.95)
    areas = {name: roc_auc_score(t["label"], t["probability"]) for name, t in by_variant.items()}
    assert len(said) == 2
    for words, (name, other) in zip(said, (("dgf_record", "dgf"), ("record_stack", "stack")), strict=True):
        gain = f"{areas[name] - areas[other]:+.3f}"
        assert words.startswith(f"What the record adds: AUC of {name} minus that of {other} {gain} (95 % ")
        low, high = map(float, re.search(r"interval (\S+) to (\S+),", words).groups())
        assert low < float(gain) < high


def test_networks_against_baselines_equal_a_direct_delong_and_are_said():
    by_variant = tables()
    rng = np.random.default_rng(1)
    start = by_variant["dgf"]
    by_variant["size"] = start.assign(probability=rng.random(len(start)))
    by_variant["late"] = start.assign(probability=expit(start["label"] * 3 + rng.normal(size=len(start))))
    rows = baselines.against(by_variant, 0.95)
    assert list(rows.columns) == baselines.COLUMNS
    areas = {name: roc_auc_score(t["label"], t["probability"]) for name, t in by_variant.items()}
    order = sorted(NAMES, key=lambda name: -areas[name])
    assert [*zip(rows["variant"], rows["baseline"], strict=True)] == [
        (network, baseline) for network in order for baseline in ("size", "late")
    ]
    for row in rows.itertuples():
        assert row.estimate == pytest.approx(areas[row.variant] - areas[row.baseline], abs=1e-12)
        a, b = by_variant[row.variant], by_variant[row.baseline]
        _, variance = direct_delong(a["label"].to_numpy(), a["probability"], b["probability"])
        assert (row.high - row.low) / 2 / stats.norm.ppf(0.975) == pytest.approx(np.sqrt(variance), rel=0.02)
    said = baselines.best(rows, 0.95)
    assert said.startswith("Of networks and stacks dgf has the largest AUC: it beats size (+0.")
    assert " and does not beat late (-0." in said
    assert said.endswith(" (AUC minus the baseline's, 95 % interval).")
    without = baselines.against({name: by_variant[name] for name in NAMES}, 0.95)
    assert without.empty
    assert baselines.best(without, 0.95) == baselines.sentence(without, "dgf", 0.95) == ""


def test_a_difference_of_exactly_nothing_is_not_beaten():
    by_variant = {"dgf": tables()["dgf"]}
    by_variant["late"] = by_variant["dgf"]
    said = baselines.sentence(baselines.against(by_variant, 0.95), "dgf", 0.95)
    assert said.startswith("dgf does not beat late (+0.000, ")


def test_holm_is_over_all_pairs():
    by_variant = tables()
    pairs = all_pairs(by_variant, results(by_variant), 0.95, 100, 7)
    order = np.argsort(pairs["p"])
    p, adjusted = pairs["p"].to_numpy()[order], pairs["p_holm"].to_numpy()[order]
    assert adjusted[0] == pytest.approx(min(1, 3 * p[0]))
    assert adjusted[1] == pytest.approx(min(1, max(3 * p[0], 2 * p[1])))


def test_nodules_of_one_patient_count_less():
    """Every patient twice over with the same scores: the interval must not become narrower."""
    once = tables(3, 100)
    twice = {
        name: pd.concat([table, table.assign(nodule_id=table["nodule_id"] + "b")])
        for name, table in once.items()
    }
    narrow, wide = (differences(by_variant, "dgf", 0.95) for by_variant in (twice, once))
    np.testing.assert_allclose(narrow["high"] - narrow["low"], wide["high"] - wide["low"], rtol=1e-6)
    alone = {name: table.assign(patient_id=table["nodule_id"]) for name, table in twice.items()}
    naive = differences(alone, "dgf", 0.95)
    assert ((naive["high"] - naive["low"]) < 0.8 * (wide["high"] - wide["low"])).all()


def test_calibration_equals_scikit_learn_and_undoes_the_correction():
    by_variant = tables(5, 400)
    rows = calibration(by_variant, NAMES).set_index(["variant", "stage"])
    for name, table in by_variant.items():
        label, p = table["label"], table["probability"]
        assert rows.loc[(name, "predicted"), "brier"] == pytest.approx(brier_score_loss(label, p))
        fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p).to_numpy()[:, None], label)
        assert rows.loc[(name, "predicted"), "slope"] == pytest.approx(fit.coef_[0, 0], rel=1e-4)
        assert rows.loc[(name, "predicted"), "intercept"] == pytest.approx(fit.intercept_[0], abs=1e-4)
        # log-odds move by those of the training prevalence, fold by fold
        before = expit(logit(p) - logit(table["threshold"]))
        assert rows.loc[(name, "before"), "brier"] == pytest.approx(brier_score_loss(label, before))
        assert rows.loc[(name, "scaled"), "temperature"] == pytest.approx(1 / fit.coef_[0, 0], rel=0.35)
    assert set(calibration(by_variant, ())["stage"]) == {"predicted", "scaled"}
    some = calibration(by_variant, ("dgf",))
    assert some.loc[some["stage"] == "before", "variant"].tolist() == ["dgf"]


def test_scaling_learns_nothing_from_the_fold_it_scales():
    by_variant = {"dgf": tables(6, 400)["dgf"]}
    flipped = by_variant["dgf"].copy()
    flipped.loc[flipped["fold"] == 0, "label"] = 1 - flipped.loc[flipped["fold"] == 0, "label"]

    def of_fold_0(table):
        from dgfnet.compare.usefulness import _scaled

        return _scaled(table)[0][(table["fold"] == 0).to_numpy()]

    np.testing.assert_array_equal(of_fold_0(by_variant["dgf"]), of_fold_0(flipped))


def test_decision_curves_start_at_the_prevalence_and_the_better_model_helps_more():
    by_variant = tables(8, 2000)
    curves = decisions(by_variant).set_index(["variant", "threshold"])["net_benefit"]
    prevalence = by_variant["dgf"]["label"].mean()
    assert curves["everyone", 0.02] == pytest.approx(prevalence - (1 - prevalence) * 0.02 / 0.98)
    assert curves["dgf", 0.5] > curves["us_multitask", 0.5] > 0
    assert curves["dgf", 0.5] > curves["everyone", 0.5]


def test_variants_on_different_nodules_are_not_compared():
    by_variant = tables()
    by_variant["dgf"] = by_variant["dgf"].iloc[1:]
    with pytest.raises(InputError, match="ct_multitask and dgf were validated on different nodules"):
        check_same(by_variant)


@pytest.mark.parametrize("profile", ["demo", "paper", "paper_size"])
def test_every_variant_of_a_profile_has_a_look_of_its_own(params, profile):
    settings = load(params, [f"base.profile={profile}"])
    names = [*settings.crossval.variants, *RECORD_FUSIONS, *CONTROLS, "dgf-one", "dgf-two", *TABULAR]
    looks = figures._looks(names)
    assert list(looks) == [*(n for n in names if n not in BASELINES), *(n for n in names if n in BASELINES)]
    assert len(set(looks.values())) == len(names)
