"""Equations 1-21 of the paper, transcribed nodule by nodule in numpy, against the vectorised modules."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from dgfnet.network.dgf import (
    DimensionLevel,
    DiverseGranularityFusion,
    ModalityLevel,
    NoduleLevel,
    combine,
)
from dgfnet.sections.networks import Dgf

FEATURES, NODULES = 10, 5  # D = 5
BRANCHES = ("dimension", "modality", "nodule")
SUBSETS = [subset for count in (1, 2, 3) for subset in combinations(BRANCHES, count)]


def softmax(scores):
    """Over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def w(linear):
    """The paper's W, which multiplies a row vector from the right."""
    return linear.weight.detach().numpy().T


def dimension_level(level, us, ct, scaled):
    rows = []
    for f_us, f_ct in zip(us, ct, strict=True):
        q_us = (f_us @ w(level.query))[:, None]  # (1), a column
        v_us = (f_us @ w(level.value_us))[:, None]  # (2)
        k_ct = (f_ct @ w(level.key))[:, None]  # (3)
        v_ct = (f_ct @ w(level.value_ct))[:, None]  # (4)
        scale = np.sqrt(len(q_us)) if scaled else 1.0
        a = softmax(q_us @ k_ct.T / scale)  # (5)
        f_us_d = v_us + a @ v_us  # (6)
        f_ct_d = v_ct + a.T @ v_ct  # (7)
        rows.append(np.concatenate([f_us_d[:, 0], f_ct_d[:, 0]]))  # (8)
    return np.stack(rows)


def modality_level(level, us, ct):
    rows = []
    for f_us, f_ct in zip(us, ct, strict=True):
        f = np.stack([f_us, f_ct])  # (9)
        q, k, v = f @ w(level.query), f @ w(level.key), f @ w(level.value)  # (10)-(12)
        a = softmax(q @ k.T / np.sqrt(q.shape[1]))  # (13)
        rows.append((v + a @ v).ravel())  # (14)
    return np.stack(rows)


def nodule_level(level, us, ct):
    f = np.concatenate([us, ct], axis=1)  # (15)
    q, k, v = f @ w(level.query), f @ w(level.key), f @ w(level.value)  # (16)-(18)
    a = softmax(q @ k.T / np.sqrt(q.shape[1]))  # (19)
    return v + a @ v  # (20)


def combined(parts, how, reduce):
    if how == "concat":
        return np.concatenate(parts, axis=1) @ w(reduce) + reduce.bias.detach().numpy()
    result = parts[0]
    for part in parts[1:]:
        result = result * part if how == "product" else result + part  # (21)
    return result


@pytest.fixture
def features():
    """US and CT features of some nodules, float64, large enough that the attention is far from uniform."""
    rng = np.random.default_rng(1)
    return rng.normal(0, 3, (NODULES, FEATURES)), rng.normal(0, 3, (NODULES, FEATURES))


def run(module, us, ct, *rest):
    return of_streams(module, (us, ct), *rest)


def of_streams(module, streams, *rest):
    with torch.no_grad():
        return module([torch.from_numpy(values) for values in streams], *rest).numpy()


@pytest.mark.parametrize("scaled", [True, False])
def test_dimension_level_follows_equations_1_to_8(features, scaled):
    level = DimensionLevel(FEATURES, scaled).double()
    expected = dimension_level(level, *features, scaled)
    np.testing.assert_allclose(run(level, *features), expected, rtol=1e-12, atol=1e-12)


def test_the_scale_of_the_dimension_level_matters(features):
    torch.manual_seed(3)
    with_scale = DimensionLevel(FEATURES, True).double()
    without = DimensionLevel(FEATURES, False).double()
    without.load_state_dict(with_scale.state_dict())
    assert np.abs(run(with_scale, *features) - run(without, *features)).max() > 1e-3


def test_modality_level_follows_equations_9_to_14(features):
    level = ModalityLevel(FEATURES).double()
    np.testing.assert_allclose(
        run(level, *features), modality_level(level, *features), rtol=1e-12, atol=1e-12
    )


def test_modality_level_of_twin_modalities_doubles_the_values(features):
    us, _ = features
    level = ModalityLevel(FEATURES).double()
    v = us @ w(level.value)  # all four attentions are 1/2, so v + (v + v) / 2
    np.testing.assert_allclose(run(level, us, us), 2 * np.concatenate([v, v], axis=1), rtol=1e-12)


@pytest.mark.parametrize(("training", "over"), [(True, "bank"), (True, "batch"), (False, "batch")])
def test_nodule_level_follows_equations_15_to_20(features, training, over):
    level = NoduleLevel(FEATURES, over).double().train(training)
    np.testing.assert_allclose(
        run(level, *features, None), nodule_level(level, *features), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("combiner", ["product", "sum", "concat"])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("branches", SUBSETS, ids="+".join)
def test_fusion_follows_equation_21_for_every_switch(features, branches, scaled, combiner):
    fusion = DiverseGranularityFusion(FEATURES, dgf(branches, scaled, combiner)).double()
    levels = fusion.levels
    expected = {
        "dimension": lambda: dimension_level(levels["dimension"], *features, scaled),
        "modality": lambda: modality_level(levels["modality"], *features),
        "nodule": lambda: nodule_level(levels["nodule"], *features),
    }
    parts = [expected[name]() for name in branches]
    assert sorted(levels) == sorted(branches)
    np.testing.assert_allclose(
        run(fusion, *features, None), combined(parts, combiner, fusion.reduce), rtol=1e-11, atol=1e-11
    )


def dgf(branches=BRANCHES, scaled=True, combiner="product", nodule_level="batch"):
    return Dgf(
        branches=branches,
        combiner=combiner,
        scale_dimension_attention=scaled,
        nodule_level=nodule_level,
    )


@pytest.mark.parametrize(
    ("how", "expected"), [("product", [24, -6]), ("sum", [9, 0]), ("concat", [2, 1, 3, 2, 4, -3])]
)
def test_combiners_by_hand(how, expected):
    parts = [torch.tensor([row]) for row in ([2, 1], [3, 2], [4, -3])]
    assert combine(parts, how).tolist() == [expected]


@pytest.mark.parametrize("how", ["product", "sum"])
def test_products_and_sums_do_not_depend_on_the_order_of_branches(how):
    parts = list(torch.randn(3, 4, 6, dtype=torch.float64))
    results = [combine(order, how) for order in permutations(parts)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_one_branch_alone_passes_through_product_and_sum(features):
    for combiner in ("product", "sum"):
        fusion = DiverseGranularityFusion(FEATURES, dgf(("modality",), True, combiner)).double()
        np.testing.assert_array_equal(run(fusion, *features, None), run(fusion.levels["modality"], *features))


def test_dimension_and_modality_levels_look_at_one_nodule_at_a_time(features):
    us, ct = features
    for level in (DimensionLevel(FEATURES, True).double(), ModalityLevel(FEATURES).double()):
        alone = np.concatenate([run(level, us[i : i + 1], ct[i : i + 1]) for i in range(NODULES)])
        np.testing.assert_allclose(run(level, us, ct), alone, rtol=1e-12)


def test_a_batch_of_one_turns_the_nodule_level_into_twice_its_value(features):
    us, ct = features
    level = NoduleLevel(FEATURES, "batch").double().eval()
    for i in range(NODULES):
        value = np.concatenate([us[i], ct[i]]) @ w(level.value)
        np.testing.assert_allclose(run(level, us[i : i + 1], ct[i : i + 1], None)[0], 2 * value, rtol=1e-12)


def test_over_the_batch_a_nodule_depends_on_its_company_and_over_a_bank_not(features):
    us, ct = features
    level = NoduleLevel(FEATURES, "batch").double().eval()
    assert np.abs(run(level, us, ct, None)[0] - run(level, us[:2], ct[:2], None)[0]).max() > 1e-3
    bank = with_bank(level, us[2:], ct[2:], torch.arange(3))
    np.testing.assert_allclose(run(bank, us, ct, None)[0], run(bank, us[:1], ct[:1], None)[0], rtol=1e-12)


def with_bank(level, us, ct, patients):
    """The same weights, attending over a bank of these nodules."""
    bank = NoduleLevel(FEATURES, "bank").double().eval()
    bank.load_state_dict({k: v for k, v in level.state_dict().items() if "bank" not in k}, strict=False)
    with torch.no_grad():
        bank.set_bank(*bank.entries([torch.from_numpy(us), torch.from_numpy(ct)]), patients)
    return bank


def test_a_bank_of_the_batch_itself_gives_the_papers_attention(features):
    level = NoduleLevel(FEATURES, "batch").double().eval()
    bank = with_bank(level, *features, torch.arange(NODULES))
    np.testing.assert_allclose(run(bank, *features, None), nodule_level(level, *features), rtol=1e-12)


@pytest.fixture
def by_hand():
    """F = 2: the query is (u, 0), the value (0, c), the bank's keys are the axes.

    For u = sqrt(2) ln 3 the scores are ln 3 and 0, the attention 3/4 and 1/4.
    """
    level = NoduleLevel(2, "bank").double().eval()
    with torch.no_grad():
        for linear, (row, column) in ((level.query, (0, 0)), (level.value, (1, 2))):
            linear.weight.zero_()
            linear.weight[row, column] = 1.0
    keys, values = torch.eye(2).double(), torch.tensor([[4.0, 0.0], [0.0, 8.0]]).double()
    level.set_bank(keys, values, torch.tensor([7, 9]))
    return level


US, CT = np.array([[np.sqrt(2) * np.log(3), 5.0]]), np.array([[11.0, 6.0]])


def test_bank_attention_by_hand(by_hand):
    np.testing.assert_allclose(run(by_hand, US, CT, None), [[3.0, 2.0 + 11.0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("patient", "expected"), [(7, [0.0, 8.0 + 11.0]), (9, [4.0, 11.0]), (8, [3.0, 2.0 + 11.0])]
)
def test_entries_of_the_own_patient_are_not_attended_to(by_hand, patient, expected):
    found = run(by_hand, US, CT, torch.tensor([patient]))
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_each_nodule_of_a_batch_is_masked_for_its_own_patient(by_hand):
    us, ct = np.repeat(US, 3, axis=0), np.repeat(CT, 3, axis=0)
    found = run(by_hand, us, ct, torch.tensor([9, 7, 8]))
    np.testing.assert_allclose(found, [[4.0, 11.0], [0.0, 19.0], [3.0, 13.0]], rtol=1e-12)


def test_uniform_attention_by_hand(by_hand):
    """Both entries weigh a half; with one of the own patient masked, the other alone."""
    us, ct = torch.from_numpy(US), torch.from_numpy(CT)
    found = by_hand((us, ct), None, uniform=True)
    np.testing.assert_allclose(found.detach(), [[2.0, 4.0 + 11.0]], rtol=1e-12)
    found = by_hand((us, ct), torch.tensor([7]), uniform=True)
    np.testing.assert_allclose(found.detach(), [[0.0, 8.0 + 11.0]], rtol=1e-12)


def test_entropy_by_hand(by_hand):
    """Attention 3/4 and 1/4: 0.811278 of the one bit that two entries can have; one entry alone has 0."""
    fusion = DiverseGranularityFusion(FEATURES, dgf(("nodule",), nodule_level="bank")).double().eval()
    fusion.levels["nodule"] = by_hand
    us, ct = torch.from_numpy(US).repeat(2, 1), torch.from_numpy(CT).repeat(2, 1)
    found = fusion.entropy((us, ct), torch.tensor([8, 7]))["nodule"]
    np.testing.assert_allclose(found.detach(), [0.811278, 0.0], atol=1e-6)


@pytest.mark.parametrize("name", BRANCHES)
def test_attention_without_preference_is_uniform_and_has_the_largest_entropy(features, name):
    """Queries of zero score everything alike."""
    fusion = DiverseGranularityFusion(FEATURES, dgf((name,))).double()
    us, ct = map(torch.from_numpy, features)
    found = fusion.entropy((us, ct), None)[name]
    assert found.shape == (NODULES,)
    assert ((found > 0) & (found < 1)).all()
    uniform = fusion((us, ct), None, uniform=True)
    assert not torch.allclose(fusion((us, ct), None), uniform)
    with torch.no_grad():
        fusion.levels[name].query.weight.zero_()
    np.testing.assert_allclose(fusion.entropy((us, ct), None)[name].detach(), np.ones(NODULES))
    torch.testing.assert_close(fusion((us, ct), None), uniform)


def test_training_ignores_the_bank(by_hand):
    np.testing.assert_allclose(run(by_hand.train(), US, CT, torch.tensor([7])), [[0.0, 22.0]])


def test_evaluation_without_a_bank_is_an_error(features):
    level = NoduleLevel(FEATURES, "bank").double().eval()
    with pytest.raises(RuntimeError, match="no reference bank; call set_bank before evaluation"):
        run(level, *features, None)


def test_a_bank_of_one_patient_alone_is_refused(by_hand):
    with pytest.raises(RuntimeError, match="at least two patients"):
        by_hand.set_bank(by_hand.bank_keys, by_hand.bank_values, torch.tensor([7, 7]))


def test_the_bank_holds_no_gradient(features):
    level = NoduleLevel(FEATURES, "bank").double().eval()
    us, ct = (torch.from_numpy(values) for values in features)
    level.set_bank(*level.entries((us, ct)), torch.arange(NODULES))
    assert not level.bank_keys.requires_grad
    assert not level.bank_values.requires_grad
