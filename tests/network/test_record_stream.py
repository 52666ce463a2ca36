"""The stream of the record: the terms of the baselines, then a small perceptron."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dgfnet.network.record import HIDDEN, LIMIT, RecordStream
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.tabular.terms import design, raw, terms_of
from dgfnet.vocabulary import RECORD

TRAINING = pd.DataFrame(
    {"age": ["20", "30", None, "70"], "sex": ["F", "M", "F", None], "marker": ["0.5", "4", "8", "1e3"]},
    dtype=object,
)
HELD_OUT = pd.DataFrame(
    {"age": ["unknown", "45"], "sex": ["X", "M"], "marker": [None, "2"]}, index=["a", "b"], dtype=object
)


def stream(table=TRAINING, features=16):
    terms = terms_of(table)
    made = RecordStream(len(terms), features, 0.5)
    made.set_normalisation(terms)
    return made.eval(), terms


@pytest.mark.parametrize("table", [TRAINING, HELD_OUT])
def test_the_record_is_standardised_as_the_baselines_standardise_it(table):
    made, terms = stream()
    found = made.standardised(torch.from_numpy(raw(terms, table)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, design(terms, table), rtol=1e-6)


def test_standardisation_by_hand():
    """Ages 20, 30, 30 for the gap, 70: mean 37.5, squared deviations 306.25, 56.25, 56.25, 1056.25."""
    made, terms = stream(TRAINING[["age", "sex"]])
    assert [(term.column, term.kind, term.level) for term in terms] == [
        *(("age", "number", None), ("age", "gap", None)),
        *(("sex", "level", "F"), ("sex", "level", "M")),
    ]
    found = made.standardised(torch.from_numpy(raw(terms, HELD_OUT)))
    deviation = math.sqrt(368.75)
    expected = [[-7.5 / deviation, 1, 0, 0], [7.5 / deviation, 0, 0, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@torch.no_grad()
def test_the_values_of_a_record_by_hand():
    """Two terms, hidden values 1 and 2 of all, F = 2: relu(W2 relu(W1 x + b1) + b2)."""
    made = RecordStream(2, 2, 0.5).eval()
    for parameter in made.parameters():
        parameter.zero_()
    made.hidden.weight[:2] = torch.tensor([[2.0, 0.0], [-1.0, 3.0]])
    made.hidden.bias[1] = 0.5
    made.value.weight[:, :2] = torch.tensor([[1.0, 1.0], [1.0, -4.0]])
    made.value.bias[0] = 0.25
    record = torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    # hidden (2, 1) and (0, 1.5); values (3.25, -2 cut off) and (1.75, -6 cut off)
    assert made(record).tolist() == [[3.25, 0.0], [1.75, 0.0]]
    assert made.hidden.out_features == HIDDEN


def test_a_slip_of_the_pen_counts_as_the_limit():
    """An age of 1e300 overflows single precision; it and its opposite are LIMIT deviations away."""
    made, terms = stream(TRAINING[["age"]])
    absurd = pd.DataFrame({"age": ["1e300", "-1e300"]}, dtype=object)
    found = made.standardised(torch.from_numpy(raw(terms, absurd)))
    assert found[:, 0].tolist() == [LIMIT, -LIMIT]
    assert torch.isfinite(made(torch.from_numpy(raw(terms, absurd)))).all()


@given(
    arrays(np.float64, (3, 5), elements=st.floats(allow_nan=True, allow_infinity=False)),
)
def test_whatever_stands_in_a_record_its_values_are_numbers_from_0(cells):
    made, terms = stream()
    assert len(terms) == cells.shape[1]
    values = made(torch.from_numpy(cells)).detach()
    assert torch.isfinite(values).all()
    assert (values >= 0).all()


@torch.no_grad()
def test_statistics_lie_among_the_weights(tiny):
    made, terms = stream()
    source = DGFNet("concat_record", "resnet18", tiny.network, terms=len(terms)).eval()
    source.record.set_normalisation(terms)
    target = DGFNet("concat_record", "resnet18", tiny.network, terms=len(terms)).eval()
    load_weights(target, source.state_dict())
    pictures = {name: torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8) for name in ("us", "ct")}
    inputs = {**pictures, RECORD: torch.from_numpy(raw(terms, HELD_OUT))}
    assert torch.equal(source(inputs).logit, target(inputs).logit)
    assert torch.equal(target.record.centre, made.centre)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["concat", "sum"])
def test_a_record_whose_values_are_zero_leaves_a_basic_fusion_as_it_is(tiny, variant):
    """Concatenation whose layer gives the record no weight, and a sum with values of 0."""
    terms = terms_of(TRAINING)
    three = DGFNet(f"{variant}_record", "resnet18", tiny.network, terms=len(terms)).eval()
    three.record.value.weight.zero_()
    three.record.value.bias.fill_(-1)  # cut off at 0
    weights = {name: value for name, value in three.state_dict().items() if not name.startswith("record.")}
    two = DGFNet(variant, "resnet18", tiny.network).eval()
    if variant == "concat":
        width = two.fusion.reduce.in_features
        weights["fusion.reduce.weight"] = weights["fusion.reduce.weight"][:, :width]
    two.load_state_dict(weights)
    pictures = {name: torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8) for name in ("us", "ct")}
    with_record = {**pictures, RECORD: torch.from_numpy(raw(terms, HELD_OUT))}
    torch.testing.assert_close(three(with_record).logit, two(pictures).logit, rtol=1e-5, atol=1e-6)


def test_variants_without_the_record_have_no_stream_of_it(tiny):
    model = DGFNet("dgf", "resnet18", tiny.network)
    assert model.record is None
    assert not [name for name in model.state_dict() if "record" in name]
    assert RECORD not in model.inputs
