"""Logistic regression on tables, against counts, closed forms and scikit-learn's own pipelines."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dgfnet.tabular.logistic import STRENGTHS, Logistic, fit, fit_chosen, fit_nonnegative
from dgfnet.tabular.terms import Term, design, raw, terms_of

WEAK = 1e9  # a penalty too weak to be seen


def odds(share):
    return math.log(share / (1 - share))


def counted(ones, zeros, value):
    """`ones` positives and `zeros` negatives with one value."""
    return [value] * (ones + zeros), [1.0] * ones + [0.0] * zeros


def two_groups():
    """3 of 4 positive where x is 1, 2 of 8 where it is 0."""
    x1, y1 = counted(3, 1, 1.0)
    x0, y0 = counted(2, 6, 0.0)
    return pd.DataFrame({"x": x1 + x0}), np.array(y1 + y0)


def test_two_groups_get_the_shares_that_were_counted():
    table, label = two_groups()
    model = fit(table, label, WEAK)
    assert model.probability(pd.DataFrame({"x": [1.0, 0.0]})) == pytest.approx([3 / 4, 2 / 8], abs=1e-7)
    # mean 1/3 and deviation sqrt(2)/3 by hand; the slope per unit of x is the difference of the log odds
    (term,) = model.terms
    assert (term.centre, term.scale) == pytest.approx((1 / 3, math.sqrt(2) / 3))
    assert model.coefficients[0] / term.scale == pytest.approx(odds(3 / 4) - odds(2 / 8), abs=1e-6)
    texts = pd.DataFrame({"x": table["x"].map({1.0: "yes", 0.0: "no"})})
    of_texts = fit(texts, label, WEAK)
    assert of_texts.probability(pd.DataFrame({"x": ["yes", "no"]})) == pytest.approx([3 / 4, 2 / 8], abs=1e-6)


def test_the_penalty_is_the_documented_one():
    """One balanced term of +1 and -1: the slope w solves n (p - expit(w)) = w / C by hand."""
    x1, y1 = counted(8, 2, 1.0)
    x0, y0 = counted(2, 8, -1.0)
    model = fit(pd.DataFrame({"x": x1 + x0}), np.array(y1 + y0), 0.5)
    expected = brentq(lambda w: 20 * (0.8 - 1 / (1 + math.exp(-w))) - w / 0.5, 0, 5)
    assert model.coefficients[0] == pytest.approx(expected, abs=1e-8)
    assert model.intercept == pytest.approx(0, abs=1e-8)


def messy(seed, count=120):
    """Numbers with gaps, texts with gaps, a rare level; the label leans on both."""
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 12, count)
    margin = rng.choice(["smooth", "rough", "spiked"], count, p=[0.5, 0.45, 0.05])
    label = (age / 12 + (margin != "smooth") + rng.logistic(0, 1, count) > 4.6).astype(float)
    table = pd.DataFrame({"age": age, "margin": margin.astype(object)})
    table.loc[rng.random(count) < 0.1, "age"] = np.nan
    table.loc[rng.random(count) < 0.1, "margin"] = None
    return table, label


def pipeline(strength):
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    gaps = SimpleImputer(strategy="constant", fill_value=-1.0)  # see `of_scikit_learn`
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("n", numbers, ["age"]), ("g", gaps, ["gap"]), ("t", texts, ["margin"])])
    return make_pipeline(columns, LogisticRegression(C=strength, tol=1e-12, max_iter=10_000))


def of_scikit_learn(table):
    """The gap as a column of its own, and empty cells of texts as a level that has no column."""
    return table.assign(gap=table["age"].isna().astype(float), margin=table["margin"].fillna("nothing"))


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_the_design_and_the_fit_are_scikit_learns(strength):
    table, label = messy(1)
    train, held = table[:90], table[90:].copy()
    held.iloc[0, 1] = "never seen"
    full = train[train["margin"].notna()]  # scikit-learn would make the empty text a level
    truth = pipeline(strength).fit(of_scikit_learn(full), label[:90][train["margin"].notna()])
    model = fit(full, label[:90][train["margin"].notna()], strength)
    kinds = [(term.column, term.kind, term.level) for term in model.terms]
    levels = [("margin", "level", level) for level in ("rough", "smooth", "spiked")]
    assert kinds == [("age", "number", None), ("age", "gap", None), *levels]
    expected = truth[:-1].transform(of_scikit_learn(held))
    np.testing.assert_allclose(design(model.terms, held), expected, atol=1e-12)
    regression = truth[-1]
    np.testing.assert_allclose(model.coefficients, regression.coef_[0], atol=1e-4)  # lbfgs is no better
    copied = Logistic(model.terms, tuple(regression.coef_[0]), float(regression.intercept_[0]), strength)
    scored = truth.decision_function(of_scikit_learn(held))
    np.testing.assert_allclose(copied.log_odds(held), scored, atol=1e-12)


def test_the_plain_numbers_score_as_the_model_does():
    table, label = messy(2)
    model = fit(table, label)
    again = Logistic.of(json.loads(json.dumps(model.plain())))
    assert again == model
    np.testing.assert_array_equal(again.log_odds(table), model.log_odds(table))


def test_terms_come_from_the_training_rows_and_gaps_count_as_their_median():
    train = pd.DataFrame({"age": ["20", "30", None, "70"], "margin": ["a", "b", "a", None]}, dtype=object)
    terms = terms_of(train)
    # 20, 30, 30, 70: mean 37.5, squared deviations 306.25, 56.25, 56.25, 1056.25, their mean 368.75
    assert terms == (
        Term("age", "number", None, 30.0, 37.5, math.sqrt(368.75)),
        Term("age", "gap"),
        Term("margin", "level", "a"),
        Term("margin", "level", "b"),
    )
    held = pd.DataFrame({"age": ["unknown", "37.5"], "margin": ["c", "b"]}, dtype=object)
    expected = [[-7.5 / math.sqrt(368.75), 1, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(design(terms, held), expected)


def test_a_column_is_of_numbers_when_nearly_all_of_its_training_cells_are():
    ages = [str(age) for age in range(20, 40)]
    typed = terms_of(pd.DataFrame({"age": [*ages, "n/a"]}, dtype=object))
    assert [term.kind for term in typed] == ["number", "gap"]
    mixed = terms_of(pd.DataFrame({"age": [*ages, *["n/a"] * 5]}, dtype=object))
    assert {term.kind for term in mixed} == {"level"}
    infinite = terms_of(pd.DataFrame({"age": [*ages, "inf"]}, dtype=object))
    assert infinite == typed


def test_the_most_frequent_texts_are_levels():
    names = [f"hospital {number:02}" for number in range(60) for _ in range(1 + (number >= 20))]
    levels = [term.level for term in terms_of(pd.DataFrame({"site": names}, dtype=object))]
    assert levels == [f"hospital {number:02}" for number in (*range(10), *range(20, 60))]


def test_columns_that_say_nothing_do_no_harm():
    label = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    table = pd.DataFrame({"empty": [np.nan] * 5, "same": [0.1] * 5})
    model = fit(table, label)
    assert [term.column for term in model.terms] == ["same"]
    other = pd.DataFrame({"empty": [1.0], "same": [0.1]})
    assert model.probability(other) == pytest.approx([2 / 5], abs=1e-9)
    assert fit(table[["empty"]], label).probability(other) == pytest.approx([2 / 5])


def test_equal_networks_share_the_weight():
    """Both columns are +1 and -1 with 4 of 5 right: weights are half the log odds of 4/5 each."""
    x1, y1 = counted(4, 1, 1.0)
    x0, y0 = counted(1, 4, -1.0)
    table = pd.DataFrame({"us": x1 + x0, "ct": x1 + x0})
    model = fit_nonnegative(table, np.array(y1 + y0), WEAK)
    assert model.coefficients == pytest.approx([odds(4 / 5) / 2] * 2, abs=1e-6)
    assert model.intercept == pytest.approx(0, abs=1e-6)


def test_a_network_that_is_wrong_gets_no_weight():
    x1, y1 = counted(4, 1, 1.0)
    x0, y0 = counted(1, 4, -1.0)
    us = np.array(x1 + x0)
    label = np.array(y1 + y0)
    ct = np.array(
        [-1, -1, -1, 1, 1, -1, 1, 1, 1, -1.0]
    )  # against the label where us is 1, and where it is -1
    free = fit(pd.DataFrame({"us": us, "ct": ct}), label)
    assert min(free.coefficients) < 0
    model = fit_nonnegative(pd.DataFrame({"us": us, "ct": ct}), label, WEAK)
    assert model.coefficients == pytest.approx([odds(4 / 5), 0], abs=1e-6)
    alone = fit_nonnegative(pd.DataFrame({"ct": ct}), label, WEAK)
    assert alone.coefficients == (0.0,)
    assert alone.intercept == pytest.approx(odds(label.mean()))


@given(st.integers(0, 10_000))
def test_no_nonnegative_weights_are_better(seed):
    """Against a direct search around the optimum and at the borders."""
    rng = np.random.default_rng(seed)
    label = (np.arange(40) % 3 == 0).astype(float)
    table = pd.DataFrame({name: label * rng.normal(0, 1) + rng.normal(size=40) for name in ("us", "ct")})
    model = fit_nonnegative(table, label)

    def loss(weights, intercept):
        eta = design(model.terms, table) @ weights + intercept
        return (np.logaddexp(0, eta) - label * eta).sum() + weights @ weights / 2

    weights = np.array(model.coefficients)
    assert (weights >= 0).all()
    best = loss(weights, model.intercept)
    for step in rng.normal(0, 1, (50, 3)) * rng.choice([0.01, 0.1, 1.0], (50, 1)):
        assert loss(np.maximum(weights + step[:2], 0), model.intercept + step[2]) >= best - 1e-9


def test_the_order_of_rows_changes_nothing():
    table, label = messy(3)
    order = np.random.default_rng(0).permutation(len(table))
    patients = np.array([f"p{number // 2}" for number in range(len(table))])
    for first, second in (
        (fit(table, label), fit(table.iloc[order], label[order])),
        (fit_chosen(table, label, patients), fit_chosen(table.iloc[order], label[order], patients[order])),
    ):
        assert second.strength == first.strength
        np.testing.assert_allclose(first.log_odds(table), second.log_odds(table), atol=1e-8)


def test_the_penalty_is_strong_where_nothing_is_to_be_learnt_and_weak_where_much_is():
    rng = np.random.default_rng(4)
    label = np.arange(150) % 2 * 1.0
    noise = pd.DataFrame(rng.normal(size=(150, 20)), columns=[f"f{number}" for number in range(20)])
    patients = np.arange(150)
    assert fit_chosen(noise, label, patients).strength == STRENGTHS[0]
    told = noise.assign(f0=label * 4 + noise["f0"])
    assert fit_chosen(told, label, patients).strength > 0.05


def test_the_penalty_is_chosen_on_other_patients():
    """Every nodule twice with its own noise to learn by heart: only whole patients show that it is noise."""
    rng = np.random.default_rng(5)
    label = np.tile(np.arange(60) % 2, 2) * 1.0
    features = np.tile(rng.normal(size=(60, 40)), (2, 1))
    table = pd.DataFrame(features, columns=[f"f{number}" for number in range(40)])
    patients = np.tile(np.arange(60), 2)
    assert fit_chosen(table, label, patients).strength < 0.02
    apart = np.random.default_rng(0).permutation(120)  # now the twins lie in different parts
    assert fit_chosen(table, label, apart).strength > 0.5


def test_raw_terms_are_the_cells_before_they_are_standardised():
    train = pd.DataFrame({"age": ["20", "30", None, "70"], "margin": ["a", "b", "a", None]}, dtype=object)
    held = pd.DataFrame({"age": ["unknown", "37.5"], "margin": ["c", "b"]}, dtype=object)
    np.testing.assert_array_equal(raw(terms_of(train), held), [[np.nan, 1, 0, 0], [37.5, 0, 0, 1]])
