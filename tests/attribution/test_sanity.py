"""The checks pass integrated gradients of a trained network, and catch attributions that are none."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from dgfnet.attribution import figures
from dgfnet.attribution.gradients import Effort, Paths, integrate
from dgfnet.attribution.sanity import check, shuffle
from dgfnet.network.variants import DGFNet

PATIENTS = torch.arange(4)


@pytest.fixture(scope="module")
def network():
    from pathlib import Path

    from dgfnet.settings import load

    paper = ["network.mask_channel=false", "network.pooling=global"]
    settings = load(Path(__file__).parents[2] / "params.yaml", ["network.width=0.0625", *paper])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return DGFNet("concat", "resnet18", settings.network).eval()


def honest(score, paths):
    return dict(integrate(score, paths, Effort(float("inf"), 16, 0, 64)).maps)


def paths():
    generator = torch.Generator().manual_seed(1)
    images = {name: torch.rand(4, 32, 32, generator=generator) * 255 for name in ("us", "ct")}
    grey = {name: torch.full_like(values, 120.0) for name, values in images.items()}
    return Paths(images, grey, PATIENTS)


def checked(network, explain, random_label_model=None):
    return check(network, random_label_model, explain, paths(), 64, np.random.default_rng(0))


def test_integrated_gradients_pass(network):
    checks = checked(network, honest)
    assert checks.failed() == []
    assert abs(checks.similarity["streams"]) < 0.2
    curves = checks.curves
    assert curves["deletion"]["attribution"][0] == pytest.approx(curves["insertion"]["random"][-1], abs=1e-5)
    assert curves["deletion"]["attribution"][-1] == pytest.approx(curves["deletion"]["random"][-1], abs=1e-5)


def test_a_picture_in_the_place_of_an_attribution_is_caught(network):
    """An edge detector would do the same: it does not know the network."""
    checks = checked(network, lambda score, paths: dict(paths.images))
    assert any("stay alike" in text for text in checks.failed())


def test_an_attribution_with_the_wrong_sign_is_caught(network):
    def wrong(*arguments):
        return {name: -values for name, values in honest(*arguments).items()}

    failed = " ".join(checked(network, wrong).failed())
    assert "deleting" in failed
    assert "inserting" in failed


def test_noise_in_the_place_of_an_attribution_is_caught(network):
    generator = torch.Generator().manual_seed(2)

    def dice(score, paths):
        return {name: torch.randn(values.shape, generator=generator) for name, values in paths.images.items()}

    assert any("noise turns maps over" in text for text in checked(network, dice).failed())


def test_a_network_of_other_labels_that_gives_the_same_maps_is_caught(network):
    """Its maps come from the pictures or from what the labels did not teach."""
    checks = checked(network, honest, random_label_model=deepcopy(network))
    assert checks.random_labels == pytest.approx({"similarity": 1.0, "absolute": 1.0})
    assert checks.failed() == [
        "maps stay alike (rank correlation 1.00) when the network learns labels without meaning"
    ]


def test_edges_that_two_networks_share_do_not_fail_the_label_check(network):
    """The opposite network: every size is the same and every sign another."""
    opposite = deepcopy(network)
    last = [part for part in opposite.classifier.modules() if isinstance(part, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.neg_()
        last.bias.neg_()
    checks = checked(network, honest, random_label_model=opposite)
    assert checks.random_labels == pytest.approx({"similarity": -1.0, "absolute": 1.0}, abs=1e-3)
    assert checks.failed() == []


def test_a_check_that_was_not_made_is_none(network):
    assert checked(network, honest).describe()["random_labels"] is None


def test_shuffling_keeps_the_numbers_and_moves_them():
    layer = torch.nn.Linear(8, 8)
    before = layer.weight.detach().clone()
    shuffle(layer, np.random.default_rng(0))
    assert torch.equal(before.flatten().sort().values, layer.weight.flatten().sort().values)
    assert not torch.equal(before, layer.weight)


def test_a_failed_check_stands_on_the_figure(network):
    checks = checked(network, lambda score, paths: dict(paths.images)).describe() | {"nodules": 4}
    assert not checks["passed"]
    title = figures.checks("central", checks)._suptitle
    assert title.get_text().startswith("NOT TRUSTWORTHY: maps stay alike")
    assert title.get_color() == "#D00000"
