"""A fusion that reads the record: held fixed along a path, and a third player beside US and CT."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from dgfnet.attribution.contributions import shapley
from dgfnet.attribution.gradients import Effort, Paths, integrate, log_odds
from dgfnet.attribution.networks import fixed_of, inputs_of, scorer, without_record
from dgfnet.network.variants import DGFNet
from dgfnet.settings import Settings
from dgfnet.vocabulary import RECORD_FUSIONS

NAN = float("nan")
UNKNOWN = torch.tensor([NAN, 1.0, 0.0], dtype=torch.float64)
RECORD = torch.tensor(
    [[58.25, 0.0, 1.0], [NAN, 1.0, 0.0], [-1e300, 0.0, 0.0], [3.0, 0.0, 1.0], [0.1, 0.0, 0.0]],
    dtype=torch.float64,
)


@pytest.fixture(autouse=True)
def reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network(variant: str, settings: Settings) -> DGFNet:
    model = DGFNet(variant, "resnet18", settings.network, terms=3).eval()
    if (level := model.nodule_level) is not None:
        bank = [torch.randn(6, level.query.out_features) for _ in range(2)]
        level.set_bank(*bank, torch.arange(6) + 100)
    return model


def inputs(model: DGFNet, side: int = 32) -> Paths:
    images = {name: torch.rand(5, side, side) * 255 for name in ("us", "ct")}
    masks = {name: torch.rand(5, side, side) > 0.5 for name in ("us", "ct")}
    black = {name: torch.zeros(5, side, side) for name in images}
    return Paths(images, black, fixed_of(model, torch.arange(5), masks, RECORD))


@pytest.mark.parametrize("masked", [False, True])
def test_masks_keys_and_record_come_out_as_they_went_in(tiny, masked):
    settings = tiny.changed({"network.mask_channel": masked, "network.pooling": "global"})
    model = network("sum_record", settings)
    masks = {name: torch.rand(5, 9, 9) > 0.5 for name in ("us", "ct")}
    images = {name: torch.rand(2, 9, 9) for name in ("us", "ct")}
    fixed = fixed_of(model, torch.arange(5) + 7, masks, RECORD)
    at = torch.tensor([2, 1])
    given, keys = inputs_of(model, images, fixed[at])
    assert keys.tolist() == [9, 8]
    torch.testing.assert_close(given["record"], RECORD[at], equal_nan=True, rtol=0, atol=0)
    given, keys = inputs_of(model, images, without_record(fixed, UNKNOWN)[at])
    assert keys.tolist() == [9, 8]
    torch.testing.assert_close(given["record"], UNKNOWN.expand(2, 3), equal_nan=True, rtol=0, atol=0)
    for name in ("us", "ct") if masked else ():
        assert (given[f"{name}_mask"] > 0).equal(masks[name][at])


@pytest.mark.parametrize("variant", RECORD_FUSIONS)
def test_shapley_values_are_those_of_eight_predictions(variant, tiny):
    """What each adds when they join, averaged over the six orders, written out."""
    model = network(variant, tiny)
    score, paths = scorer(model), inputs(model)
    nothing = without_record(paths.fixed, UNKNOWN)

    def value(present):
        images = {name: (paths.images if name in present else paths.baselines)[name] for name in ("us", "ct")}
        return log_odds(score, images, paths.fixed if "record" in present else nothing, 8)

    expected = {name: np.zeros(5) for name in ("us", "ct", "record")}
    for order in permutations(expected):
        for place, player in enumerate(order):
            before = order[:place]
            expected[player] += (value((*before, player)) - value(before)) / 6
    for rows in (8, 2):  # the last batch has a single nodule
        found = shapley(score, paths, rows, UNKNOWN)
        assert list(found) == ["us", "ct", "record"]
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, abs=1e-5)
    assert found["record"][1] == pytest.approx(0, abs=1e-6)  # nothing is known of that one
    assert np.abs(found["record"][[0, 2, 3, 4]]).min() > 1e-5


def test_integrated_gradients_share_what_pictures_say_beside_the_record_of_the_case(tiny):
    model = network("dgf_record", tiny)
    score, paths = scorer(model), inputs(model)
    attributions = integrate(score, paths, Effort(0.02, 8, 8, 32))
    with_record = log_odds(score, paths.images, paths.fixed, 8)
    without_pictures = log_odds(score, paths.baselines, paths.fixed, 8)
    total = attributions.sums["us"] + attributions.sums["ct"]
    assert total == pytest.approx(with_record - without_pictures, abs=0.02)
    assert attributions.at_baseline == pytest.approx(without_pictures, abs=1e-5)
