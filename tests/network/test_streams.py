"""Fusions of more than two streams: the paper's equations for M of them, by hand and in limiting cases."""

from __future__ import annotations

from itertools import permutations
from math import log

import numpy as np
import pytest
import torch
from test_dgf import (
    BRANCHES,
    FEATURES,
    NODULES,
    SUBSETS,
    combined,
    dgf,
    dimension_level,
    of_streams,
    softmax,
    w,
)

from dgfnet.network.dgf import DimensionLevel, DiverseGranularityFusion, ModalityLevel, NoduleLevel
from dgfnet.network.fusion import BasicFusion

THREE = ("us", "ct", "record")


@pytest.fixture
def streams():
    """Values of three streams of some nodules, float64."""
    rng = np.random.default_rng(2)
    return [rng.normal(0, 2, (NODULES, FEATURES)) for _ in THREE]


def set_weight(linear, rows):
    """The weight of a layer, whose rows say what each of its values takes of the input."""
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(rows, dtype=linear.weight.dtype))


def test_the_dimension_level_of_three_streams_by_hand():
    """D = 2; V takes the first half of a stream, Q and K the second; CT's Q takes nothing.

    q_us = (ln 3, 0), k_ct = (1, 0), k_record = (0, 1), so that the rows of A_us,ct are (3/4, 1/4) and
    (1/2, 1/2), those of A_us,record (1/4, 3/4) and (1/2, 1/2), and A_ct,record is 1/2.
    """
    level = DimensionLevel(4, False, THREE).double()
    first, second = [[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]]
    for name in ("value_us", "value_ct", "value_record"):
        set_weight(level.get_submodule(name), first)
    for name in ("query", "key", "key_record"):
        set_weight(level.get_submodule(name), second)
    set_weight(level.query_ct, np.zeros((2, 4)))
    us, ct, record = [[8, 16, log(3), 0]], [[4, 12, 1, 0]], [[8, 4, 0, 1]]
    expected = [
        *(8 + (6 + 4) + (2 + 12), 16 + (4 + 8) + (4 + 8)),  # v + A_us,ct v + A_us,record v
        *(4 + (3 + 6) + 8, 12 + (1 + 6) + 8),  # v + A_us,ct^T v + A_ct,record v
        *(8 + (2 + 2) + 6, 4 + (6 + 2) + 6),  # v + A_us,record^T v + A_ct,record^T v
    ]
    found = of_streams(level, [np.array(values, float) for values in (us, ct, record)])
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_the_modality_level_of_three_streams_by_hand():
    """D = 1: scores of US are ln 2, 0 and 0, so that it attends by 1/2, 1/4, 1/4; the others by thirds."""
    level = ModalityLevel(2).double()
    set_weight(level.query, [[log(2), 0]])
    set_weight(level.key, [[1, 0]])
    set_weight(level.value, [[0, 1]])
    found = of_streams(level, [np.array([row], float) for row in ([1, 4], [0, 8], [0, 12])])
    np.testing.assert_allclose(found, [[4 + (2 + 2 + 3), 8 + 8, 12 + 8]], rtol=1e-12)


def test_the_nodule_level_of_three_streams_by_hand():
    """F = 2, so 6 values in and 3 out. Q takes US, V one value of each; scores are 0 and ln 3."""
    level = NoduleLevel(2, "batch", 3).double().eval()
    set_weight(level.query, [[1, 0, 0, 0, 0, 0], [0] * 6, [0] * 6])
    set_weight(level.key, [[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6])
    set_weight(level.value, [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]])
    us = np.array([[3**0.5 * log(3), 0], [0, 1]])
    ct, record = np.array([[0, 4], [0, 8]]), np.array([[0, 12], [0, 4]])
    first, second = np.array([0, 4, 12]), np.array([1, 8, 4])  # what V takes
    expected = [first + (first + 3 * second) / 4, second + (first + second) / 2]
    np.testing.assert_allclose(of_streams(level, [us, ct, record], None), expected, rtol=1e-12)


def dimension_of(level, streams, names, scaled):
    """v_i + sum over j > i of A_ij v_i + sum over j < i of A_ji^T v_i, nodule by nodule."""
    queries = {0: level.query} | {i: getattr(level, f"query_{names[i]}") for i in range(1, len(names) - 1)}
    keys = {1: level.key} | {j: getattr(level, f"key_{names[j]}") for j in range(2, len(names))}
    rows = []
    for nodule in zip(*streams, strict=True):
        v = [f @ w(getattr(level, f"value_{name}")) for f, name in zip(nodule, names, strict=True)]

        def a(i, j, nodule=nodule):
            q, k = nodule[i] @ w(queries[i]), nodule[j] @ w(keys[j])
            return softmax(np.outer(q, k) / (np.sqrt(len(q)) if scaled else 1.0))

        count = range(len(names))
        parts = [
            v[i] + sum(a(i, j) @ v[i] for j in count if j > i) + sum(a(j, i).T @ v[i] for j in count if j < i)
            for i in count
        ]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def modality_of(level, streams):
    rows = []
    for f in map(np.stack, zip(*streams, strict=True)):
        q, k, v = f @ w(level.query), f @ w(level.key), f @ w(level.value)
        rows.append((v + softmax(q @ k.T / np.sqrt(q.shape[1])) @ v).ravel())
    return np.stack(rows)


def nodule_of(level, streams):
    f = np.concatenate(streams, axis=1)
    q, k, v = f @ w(level.query), f @ w(level.key), f @ w(level.value)
    return v + softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


@pytest.mark.parametrize("combiner", ["product", "sum", "concat"])
@pytest.mark.parametrize("branches", SUBSETS, ids="+".join)
def test_three_streams_follow_the_equations_for_every_switch(streams, branches, combiner):
    fusion = DiverseGranularityFusion(FEATURES, dgf(branches, True, combiner), THREE).double()
    levels = fusion.levels
    made = {
        "dimension": lambda: dimension_of(levels["dimension"], streams, THREE, True),
        "modality": lambda: modality_of(levels["modality"], streams),
        "nodule": lambda: nodule_of(levels["nodule"], streams),
    }
    parts = [made[name]() for name in branches]
    assert {part.shape for part in parts} == {(NODULES, 3 * FEATURES // 2)}
    expected = combined(parts, "concat", fusion.reduce) if combiner == "concat" else joined(parts, fusion)
    found = of_streams(fusion, streams, None)
    assert found.shape == (NODULES, FEATURES)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def joined(parts, fusion):
    """The product or sum of levels of 3 D values, brought back to F by the linear layer."""
    result = parts[0]
    for part in parts[1:]:
        result = result * part if fusion.combiner == "product" else result + part
    return result @ w(fusion.reduce) + fusion.reduce.bias.detach().numpy()


def test_the_equations_of_m_streams_are_the_papers_for_two(streams):
    us, ct, _ = streams
    level = DimensionLevel(FEATURES, True).double()
    expected = dimension_level(level, us, ct, True)
    np.testing.assert_allclose(dimension_of(level, [us, ct], ("us", "ct"), True), expected, rtol=1e-12)


def test_two_streams_give_bit_for_bit_what_they_gave(streams):
    """The paper's formulas as they stood before there could be three streams, in the same operations."""
    us, ct = (torch.from_numpy(values).float() for values in streams[:2])
    fusion = DiverseGranularityFusion(FEATURES, dgf()).train()
    one, two, three = (fusion.levels[name] for name in BRANCHES)
    v_us, v_ct = one.value_us(us), one.value_ct(ct)
    a = torch.softmax(one.query(us)[:, :, None] * one.key(ct)[:, None, :] / one.divisor, dim=-1)
    from_us = v_us + (a @ v_us[:, :, None])[:, :, 0]
    from_ct = v_ct + (a.transpose(1, 2) @ v_ct[:, :, None])[:, :, 0]
    tokens = torch.stack([us, ct], dim=1)
    v = two.value(tokens)
    b = torch.softmax(two.query(tokens) @ two.key(tokens).transpose(1, 2) / two.divisor, dim=-1)
    both = torch.cat([us, ct], dim=1)
    c = torch.softmax(torch.div(three.query(both) @ three.key(both).T, three.divisor), dim=-1)
    levels = [torch.cat([from_us, from_ct], dim=1), (v + b @ v).flatten(1)]
    levels.append(three.value(both) + c @ three.value(both))
    assert torch.equal(fusion((us, ct), None), torch.stack(levels).prod(dim=0))


def test_two_streams_have_the_parameters_they_had_drawn_in_the_same_order():
    """Names, shapes and random draws decide whether checkpoints and bundles of before still load."""
    torch.manual_seed(4)
    fusion = DiverseGranularityFusion(FEATURES, dgf(combiner="concat"))
    half = FEATURES // 2
    shapes = {
        **{f"dimension.{name}": (half, FEATURES) for name in ("query", "key", "value_us", "value_ct")},
        **{f"modality.{name}": (half, FEATURES) for name in ("query", "key", "value")},
        **{f"nodule.{name}": (FEATURES, 2 * FEATURES) for name in ("query", "key", "value")},
    }
    torch.manual_seed(4)
    drawn = {
        name: torch.nn.Linear(inside, outside, bias=False).weight
        for name, (outside, inside) in shapes.items()
    }
    last = torch.nn.Linear(3 * FEATURES, FEATURES)
    parameters = dict(fusion.named_parameters())
    assert list(parameters) == [*(f"levels.{name}.weight" for name in shapes), "reduce.weight", "reduce.bias"]
    for name, weight in drawn.items():
        assert torch.equal(parameters[f"levels.{name}.weight"], weight), name
    assert torch.equal(parameters["reduce.weight"], last.weight)
    assert list(DiverseGranularityFusion(FEATURES, dgf()).reduce.parameters()) == []


def test_a_stream_of_zeros_is_met_with_uniform_attention(streams):
    """Its K gives 0, so A_i,record is 1 / D everywhere: each value of the others gains their mean."""
    level = DimensionLevel(FEATURES, True, THREE).double()
    us, ct, record = streams[0], streams[1], np.zeros((NODULES, FEATURES))
    pair = DimensionLevel(FEATURES, True).double()
    weights = level.state_dict()
    pair.load_state_dict({name: weights[name] for name in pair.state_dict()})
    half = FEATURES // 2
    means = [(f @ w(v)).mean(axis=1) for f, v in ((us, level.value_us), (ct, level.value_ct))]
    gain = np.repeat(np.stack(means, axis=1), half, axis=1)
    without = of_streams(pair, [us, ct])
    expected = np.concatenate([without + gain, np.zeros((NODULES, half))], axis=1)
    np.testing.assert_allclose(of_streams(level, [us, ct, record]), expected, rtol=1e-12, atol=1e-12)


def test_streams_that_are_alike_double_their_values(streams):
    """Every attention between like tokens is a third, so v + (v + v + v) / 3."""
    level = ModalityLevel(FEATURES).double()
    v = streams[0] @ w(level.value)
    found = of_streams(level, [streams[0]] * 3)
    np.testing.assert_allclose(found, 2 * np.concatenate([v] * 3, axis=1), rtol=1e-12)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_tokens_change_places_with_their_streams(streams, order):
    level = ModalityLevel(FEATURES).double()
    found = of_streams(level, [streams[i] for i in order]).reshape(NODULES, 3, -1)
    plain = of_streams(level, streams).reshape(NODULES, 3, -1)
    np.testing.assert_allclose(found, plain[:, list(order)], rtol=1e-12)


def test_attention_without_preference_has_the_largest_entropy_in_all_pairs(streams):
    fusion = DiverseGranularityFusion(FEATURES, dgf(), THREE).double()
    tensors = [torch.from_numpy(values) for values in streams]
    assert fusion.levels["dimension"].scores(tensors, None).shape[1] == 3  # pairs
    found = fusion.entropy(tensors, None)
    assert all(((found[name] > 0) & (found[name] < 1)).all() for name in BRANCHES)
    with torch.no_grad():
        for name, parameter in fusion.named_parameters():
            if "query" in name:
                parameter.zero_()
    for name, entropy in fusion.entropy(tensors, None).items():
        np.testing.assert_allclose(entropy.detach(), np.ones(NODULES), err_msg=name)
    torch.testing.assert_close(fusion(tensors, None), fusion(tensors, None, uniform=True))


@torch.no_grad()
@pytest.mark.parametrize(("how", "expected"), [("sum", [9.0, -3.0]), ("product", [15.0, 12.0])])
def test_basic_fusions_of_three_streams_by_hand(how, expected):
    streams = [torch.tensor([row]) for row in ([1.0, 2.0], [3.0, -3.0], [5.0, -2.0])]
    assert BasicFusion(how, 2, 3)(streams, None).tolist() == [expected]


@torch.no_grad()
def test_concatenation_of_three_streams_whose_third_is_not_read_is_that_of_two(streams):
    three, two = BasicFusion("concat", FEATURES, 3).double(), BasicFusion("concat", FEATURES).double()
    three.reduce.weight[:, 2 * FEATURES :] = 0
    two.load_state_dict(
        {"reduce.weight": three.reduce.weight[:, : 2 * FEATURES], "reduce.bias": three.reduce.bias}
    )
    np.testing.assert_allclose(
        of_streams(three, streams, None), of_streams(two, streams[:2], None), rtol=1e-12, atol=1e-12
    )
