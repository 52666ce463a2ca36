"""Shares, Shapley values, regions and cases against numbers found by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.attribution.contributions import centred, shapley, share_us_above_ct, summary, towards_truth
from dgfnet.attribution.gradients import Effort, Paths, integrate, log_odds
from dgfnet.attribution.networks import scorer
from dgfnet.attribution.saliency import mass_differences, masses, pick, regions
from dgfnet.network.variants import DGFNet


def numbers(us, ct):
    return {"us": torch.tensor(us).view(-1, 1, 1), "ct": torch.tensor(ct).view(-1, 1, 1)}


def from_zero(us, ct):
    nothing = [0.0] * len(us)
    return Paths(numbers(us, ct), numbers(nothing, nothing), torch.arange(len(us)))


def value(x, _):
    """F = 2 a + 3 b + a b"""
    a, b = x["us"].sum(dim=(1, 2)), x["ct"].sum(dim=(1, 2))
    return 2 * a + 3 * b + a * b


def test_shapley_values_share_an_interaction_equally():
    us, ct = shapley(value, from_zero([1.0, 4.0], [2.0, 5.0]), 8).values()
    assert us == pytest.approx([2 + 1, 8 + 10])
    assert ct == pytest.approx([6 + 1, 15 + 10])


def test_shapley_values_of_a_game_by_hand():
    """v() = 1, v(US) = 4, v(CT) = 0, v(both) = 9: US brings 3 or 9, CT -1 or 5."""

    def game(x, _):
        us, ct = x["us"].sum(dim=(1, 2)), x["ct"].sum(dim=(1, 2))
        return 1 + 3 * us - ct + 6 * us * ct

    us, ct = shapley(game, from_zero([1.0], [1.0]), 8).values()
    assert us == pytest.approx([6])
    assert ct == pytest.approx([2])


def by_four_predictions(score, paths):
    """The mean over both orders of the players, written out."""
    own, none = paths.images, paths.baselines
    nothing, only_us, only_ct, both = (
        log_odds(score, {"us": us["us"], "ct": ct["ct"]}, paths.fixed, 8)
        for us, ct in ((none, none), (own, none), (none, own), (own, own))
    )
    return ((only_us - nothing) + (both - only_ct)) / 2, ((only_ct - nothing) + (both - only_us)) / 2


@pytest.mark.parametrize("variant", ["concat", "dgf"])
def test_shapley_values_of_a_network_are_those_of_four_predictions(variant, tiny):
    torch.manual_seed(0)
    model = DGFNet(variant, "resnet18", tiny.network).eval()
    if (level := model.nodule_level) is not None:
        features = level.query.out_features
        level.set_bank(torch.randn(6, features), torch.randn(6, features), torch.arange(6) + 100)
    images = {"us": torch.rand(5, 32, 32) * 255, "ct": torch.rand(5, 32, 32) * 255}
    paths = Paths(images, {name: torch.zeros(5, 32, 32) for name in images}, torch.arange(5))
    expected = by_four_predictions(scorer(model), paths)
    for rows in (8, 2):  # the last batch has a single nodule
        values = shapley(scorer(model), paths, rows).values()
        for theirs, ours in zip(values, expected, strict=True):
            assert np.abs(ours).min() > 0
            assert theirs == pytest.approx(ours, abs=1e-6)


def test_no_nodule_has_no_shapley_value():
    us, ct = shapley(value, from_zero([], []), 8).values()
    assert (us.shape, ct.shape) == ((0,), (0,))


def test_from_zero_a_product_has_equal_shapley_values_and_integrated_gradients():
    paths = from_zero([1.0, 4.0], [2.0, 5.0])
    us, ct = shapley(value, paths, 8).values()
    attributions = integrate(value, paths, Effort(1e-6, 4, 2, 8))
    assert attributions.sums["us"] == pytest.approx(us, abs=1e-5)
    assert attributions.sums["ct"] == pytest.approx(ct, abs=1e-5)


@pytest.mark.parametrize("strong", ["us", "ct"])
def test_the_modality_that_carries_the_signal_dominates(strong):
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(40, 3, 3, generator=generator) for name in ("us", "ct")}
    base = {name: torch.full((40, 3, 3), 0.5) for name in images}
    label = (images[strong].mean(dim=(1, 2)) > 0.5).float().numpy()

    def score(x, _):
        return 20 * (x[strong].mean(dim=(1, 2)) - 0.5) + sum(0.01 * x[name].mean(dim=(1, 2)) for name in x)

    attributions = integrate(score, Paths(images, base, torch.arange(40)), Effort(1e-4, 4, 2, 32))
    table = pd.DataFrame({name: towards_truth(attributions.sums[name], label) for name in ("us", "ct")})
    share = share_us_above_ct(table.assign(patient_id=np.arange(40)), 0.95, 200, 0)
    assert share["estimate"] == (1.0 if strong == "us" else 0.0)
    assert table[strong].min() > 0  # towards the correct answer for both classes


def test_attributions_of_the_negative_class_change_sign():
    assert towards_truth(np.array([1.0, -2.0, 3.0]), np.array([1, 0, 0])).tolist() == [1, 2, -3]


def contributions(count=8):
    """US above CT in the first quarter; Shapley values say the opposite for the last one."""
    us = np.arange(count) < count // 4
    shapley_us = us.copy()
    shapley_us[-1] = True
    return pd.DataFrame(
        {
            **{
                "nodule_id": [f"N{i}" for i in range(count)],
                "patient_id": [f"P{i // 2}" for i in range(count)],
            },
            **{"us": us * 2.0 - 1, "ct": 0.0, "shapley_us": shapley_us * 2.0 - 1, "shapley_ct": 0.0},
            **{"baseline_probability": 0.5, "completeness_error": np.linspace(0, 0.2, count)},
            **{"gradients": 8, "partner": ["surest positive", *["mean"] * (count - 1)], "fold": 0},
            **{"label": 1, "us_correct": 0, "ct_correct": 1, "correct": np.arange(count) % 2},
            # US says 1 of two nodules and -1 of six: -0.5 on average
            **{"centred_us": us * 2.0 - 0.5, "centred_ct": 0.0},
        }
    )


def test_a_summary_counts():
    table = contributions()
    others = table[["nodule_id", "patient_id"]].assign(us=[1.0] * 3 + [-1.0] * 5, ct=0.0, baseline="grey")
    facts = summary(table, others, 0.1, 0.95, 200, 0)
    assert facts["us_above_ct"]["estimate"] == 0.25
    assert facts["us_above_ct"]["low"] <= 0.25 <= facts["us_above_ct"]["high"]
    assert facts["us_above_ct"]["wilson_low"] == pytest.approx(0.0715, abs=1e-3)  # 2 of 8
    assert facts["shapley"]["us_above_ct"]["estimate"] == 3 / 8
    assert facts["shapley"]["same_order"] == 7 / 8
    assert facts["us_above_ct_of_label"] == {"1": 0.25}
    assert facts["centred"]["us_above_ct"]["estimate"] == 0.25
    # of eight nodules wrong alone the odd ones are right by fusion; among them N1 has US for it
    assert facts["rescued"]["us"] == {"wrong": 8, "fusion_right": 4, "rightly": 1}
    assert facts["rescued"]["ct"] == {"wrong": 0, "fusion_right": 0, "rightly": 0}
    assert facts["centred"]["rescued"]["us"] == {"wrong": 8, "fusion_right": 4, "rightly": 1}
    assert facts["baseline"]["other_patient"] == 1 / 8
    assert facts["completeness"]["within"] == 0.5
    assert facts["baseline"]["undecided"] == 1.0
    assert facts["stability"]["grey"]["estimate"] == 3 / 8
    assert facts["stability"]["grey"]["first"] == 2 / 8
    assert facts["stability"]["grey"]["same_order"] == 7 / 8


def test_centred_contributions_are_neutral_in_each_modality():
    """By hand: towards metastasis US says 3, 1 (mean 2) in fold 0, CT -1, -5 (mean -3); fold 1 has one."""
    table = pd.DataFrame({"label": [1, 0, 1], "fold": [0, 0, 1], "us": [3, -1, 7], "ct": [-1, 5, 7]})
    assert centred(table).to_numpy().tolist() == [[1, 2], [1, 2], [0, 0]]


NODULE = st.tuples(st.integers(0, 1), st.floats(-9, 9), st.floats(-9, 9))


@given(st.lists(NODULE, min_size=1), st.floats(-9, 9))
def test_a_constant_moved_from_one_modality_to_the_other_changes_no_centred_contribution(rows, moved):
    """The baseline decides how an offset is shared between the modalities."""
    table = pd.DataFrame(rows, columns=["label", "us", "ct"]).assign(fold=0)
    sign = 2 * table["label"] - 1
    other = table.assign(us=table["us"] + sign * moved, ct=table["ct"] - sign * moved)
    assert centred(other).to_numpy() == pytest.approx(centred(table).to_numpy(), abs=1e-9)


def disc(side=100):
    y, x = np.mgrid[:side, :side]
    return np.asarray((x - side / 2) ** 2 + (y - side / 2) ** 2 < 30**2)


def test_regions_are_a_partition_and_the_rim_lies_on_the_outline():
    parts = regions(disc())
    assert (sum(region.astype(int) for region in parts.values()) == 1).all()
    assert parts["inside"][50, 50]
    assert parts["rim"][50, 80]
    assert parts["rim"][50, 79]
    assert parts["outside"][0, 0]
    assert not parts["rim"][50, 70]  # 10 pixels inside; the rim is 4 wide on either side


def test_masses_are_shares_of_the_absolute_attribution():
    maps = np.zeros((100, 100), np.float32)
    maps[50, 50], maps[50, 80], maps[0, 0] = -2, 1, 1
    assert masses(maps, disc()) == {"inside": 0.5, "rim": 0.25, "outside": 0.25}
    assert np.isnan(masses(np.zeros((100, 100), np.float32), disc())["rim"])


def test_mass_differences_are_paired():
    table = pd.DataFrame({"modality": "us", "patient_id": range(6)})
    for region, shift in (("inside", 0.1), ("rim", 0.0), ("outside", -0.1)):
        table[f"unimodal_{region}"] = np.linspace(0.1, 0.6, 6)
        table[f"multimodal_{region}"] = table[f"unimodal_{region}"] + shift
    inside, rim, outside = mass_differences(table, 0.95, 200, 0)
    for row, expected in ((inside, 0.1), (rim, 0), (outside, -0.1)):
        assert [row["difference"], row["low"], row["high"]] == pytest.approx([expected] * 3)
        assert row["n"] == 6


def test_mass_differences_of_one_kind_ignore_maps_of_the_other_that_are_nothing():
    table = pd.DataFrame({"modality": "us", "patient_id": range(4)})
    for network, share in (("unimodal", 0.2), ("multimodal", 0.5)):
        for region in ("inside", "rim", "outside"):
            table[f"{network}_{region}"] = share
            table[f"{network}_grad_cam_{region}"] = [np.nan, share, share, share]
    rows = mass_differences(table, 0.95, 200, 0)
    assert [(row["n"], row["difference"]) for row in rows] == [(4, pytest.approx(0.3))] * 3
    rows = mass_differences(table, 0.95, 200, 0, kind="grad_cam_")
    assert [(row["n"], row["difference"]) for row in rows] == [(3, pytest.approx(0.3))] * 3


def test_cases_are_those_only_the_fusion_had_right_the_classes_taking_turns():
    ids, label = list("abcdef"), [1, 1, 1, 0, 0, 1]

    def table(probability):
        return pd.DataFrame({"nodule_id": ids, "label": label, "probability": probability, "threshold": 0.5})

    wrong = [0.1, 0.1, 0.1, 0.9, 0.9, 0.1]
    us = table([*wrong[:5], 0.9])  # f is right by US
    both = table([0.7, 0.9, 0.3, 0.2, 0.4, 0.9])  # c stays wrong
    assert pick(us, table(wrong), both, 9) == ["b", "d", "a", "e"]
    assert pick(us, table(wrong), both, 2) == ["b", "d"]
