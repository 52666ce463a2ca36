from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.metrics.netbenefit import decision_curve, net_benefit

LABEL, PROBABILITY = [1, 1, 0, 0], [0.9, 0.2, 0.6, 0.1]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.5, 1 / 4 - 1 / 4),  # one true and one false positive of four, at odds 1
        (0.2, 2 / 4 - 1 / 4 * 0.25),
        (0.05, 2 / 4 - 2 / 4 * 0.05 / 0.95),  # acting on everyone
        (0.7, 1 / 4),
        (0.95, 0.0),  # on nobody
    ],
)
def test_by_hand(threshold, expected):
    assert net_benefit(LABEL, PROBABILITY, threshold) == pytest.approx(expected, abs=1e-15)


labels = st.lists(st.integers(0, 1), min_size=1, max_size=30)


@given(labels, st.floats(0.01, 0.99))
def test_a_perfect_model_gains_the_prevalence_and_no_model_gains_more(label, threshold):
    prevalence = np.mean(label)
    assert net_benefit(label, np.asarray(label, dtype=float), threshold) == pytest.approx(prevalence)
    noise = np.random.default_rng(len(label)).random(len(label))
    assert net_benefit(label, noise, threshold) <= prevalence + 1e-12


@given(labels, st.floats(0.01, 0.99))
def test_acting_on_everyone_breaks_even_at_the_prevalence(label, threshold):
    curve = decision_curve(label, np.full(len(label), 0.5), [threshold])
    prevalence = np.mean(label)
    assert curve.everyone[0] == pytest.approx(prevalence - (1 - prevalence) * threshold / (1 - threshold))
    assert curve.model[0] == (curve.everyone[0] if threshold <= 0.5 else 0.0)
    if 0 < prevalence < 1:
        assert decision_curve(label, label, [prevalence]).everyone[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, float("nan")])
def test_thresholds_out_of_range_are_refused(threshold):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        net_benefit(LABEL, PROBABILITY, threshold)
