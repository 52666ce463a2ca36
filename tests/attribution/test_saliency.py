"""Grad-CAM of a network whose maps are computed by hand, and its place in the figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dgfnet.attribution import figures
from dgfnet.attribution.networks import Pictures, last_layers
from dgfnet.attribution.saliency import SaliencyCase, grad_cam
from dgfnet.network.tlr import Head, TransferNet
from dgfnet.network.variants import DGFNet


class TwoStreams(nn.Module):
    """Means of 2 x 2 pixels times 1 and -1 (US) or 2 (CT); F = 3 u0 + 5 u1 + u0 c of their global means."""

    def __init__(self):
        super().__init__()
        self.us = nn.Conv2d(1, 2, 2, stride=2, bias=False)
        self.ct = nn.Conv2d(1, 1, 2, stride=2, bias=False)
        with torch.no_grad():
            self.us.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1) / 4
            self.ct.weight[:] = 2 / 4

    def forward(self, images, patients):
        u = torch.relu(self.us(images["us"][:, None])).mean(dim=(2, 3))
        c = self.ct(images["ct"][:, None]).mean(dim=(2, 3))
        return 3 * u[:, 0] + 5 * u[:, 1] + u[:, 0] * c[:, 0]


def shown(count=3):
    images = {name: torch.rand(count, 4, 4) * 255 for name in ("us", "ct")}
    images["us"][0], images["ct"][0] = torch.arange(16.0).view(4, 4), torch.ones(4, 4)
    masks = {name: torch.zeros(count, 4, 4, dtype=torch.bool) for name in images}
    return Pictures(images, masks, torch.arange(count))


def explained(pictures, rows=8):
    model = TwoStreams()
    return grad_cam(model, {"us": model.us, "ct": model.ct}, pictures, rows)


def test_the_map_is_the_channels_weighted_by_their_mean_gradient():
    """Of 0..15 the means of 2 x 2 pixels are 2.5, 4.5, 10.5, 12.5 with mean 7.5; CT's map is 2 everywhere.

    The gradient of F is (3 + 2) / 4 at each cell of u0, and 0 at u1, whose ReLU is closed; at each cell of CT
    it is 7.5 / 4. So the map of US is 5 / 4 times the means, and that of CT is 15 / 4.
    """
    maps = explained(shown())
    cells = torch.tensor([[2.5, 4.5], [10.5, 12.5]]) * 5 / 4
    corners = maps["us"][0][[0, 0, -1, -1], [0, -1, 0, -1]]  # bilinear interpolation keeps the corners
    assert torch.allclose(corners, cells.flatten())
    # by hand from 2 to 4 places: cell, 3 to 1, 1 to 3, cell
    first = cells[0, 0] * torch.tensor([1, 0.75, 0.25, 0]) + cells[0, 1] * torch.tensor([0, 0.25, 0.75, 1])
    assert torch.allclose(maps["us"][0][0], first)
    assert torch.allclose(maps["ct"][0], torch.full((4, 4), 15 / 4))


def test_evidence_against_metastasis_is_negative():
    """The ReLU of the original would leave nothing of a map that is negative everywhere."""
    model = TwoStreams()
    maps = grad_cam(lambda x, p: -model(x, p), {"us": model.us}, shown(), 8)
    assert maps["us"][0].max() < 0


def test_a_nodule_has_the_same_map_in_any_batch():
    torch.manual_seed(0)
    pictures = shown(5)
    together = explained(pictures)
    for rows in (1, 2):
        for name, values in explained(pictures, rows).items():
            assert torch.allclose(values, together[name], rtol=1e-5)


def test_neither_graph_nor_gradient_is_left_behind():
    pictures, model = shown(), TwoStreams()
    maps = grad_cam(model, {"us": model.us}, pictures, 8)
    assert not maps["us"].requires_grad
    assert not pictures.images["us"].requires_grad
    assert model.us.weight.grad is None


def test_no_nodule_has_no_map():
    assert explained(shown().take(torch.arange(0)))["ct"].shape == (0, 4, 4)


@pytest.mark.parametrize("variant", ["us_multitask", "ct_multitask", "concat"])
def test_with_a_linear_head_the_map_of_the_last_layer_adds_up_to_the_log_odds(variant, tiny):
    """F = w mean(A) + b: the mean gradient of channel k is w_k / cells, and all cells together give F - b."""
    torch.manual_seed(0)
    model = DGFNet(variant, "resnet18", tiny.network).eval()
    weight = torch.randn(sum(values.shape[1] for values in model.features(images(model))))

    def score(x, _):
        return torch.cat(model.features(x), dim=1) @ weight - 2

    maps = grad_cam(score, last_layers(model), Pictures(images(model), {}, torch.arange(2)), 8)
    # each of the 2 x 2 cells becomes 32 x 32 pixels, and bilinear interpolation keeps the mean
    total = sum(4 * values.mean(dim=(1, 2)) for values in maps.values())
    assert torch.allclose(total, score(images(model), None) + 2, rtol=1e-4, atol=1e-5)
    assert set(maps) == set(model.modalities)


def images(model):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(2, 64, 64, generator=generator) * 255 for name in model.modalities}


def test_transfer_learning_has_a_last_layer_too(tiny):
    model = TransferNet(Head(8, 1, 0.0, 1e-3, 0.0), tiny.network.tlr).eval()
    pictures = Pictures({"us": torch.rand(1, 75, 75) * 255}, {}, torch.arange(1))
    maps = grad_cam(lambda x, p: model(x, p).logit, last_layers(model), pictures, 8)
    assert maps["us"].shape == (1, 75, 75)


def test_the_figure_shows_grad_cam_beside_both_networks():
    planes = {name: np.ones((8, 8), np.float32) for name in ("us", "ct")}
    masks = {name: np.zeros((8, 8), bool) for name in planes}
    case = SaliencyCase("N1", planes, masks, planes, planes, planes)
    figure = figures.saliency("central", [case], {"N1": 1}, [])
    *panels, bar = figure.axes
    titles = [axes.get_title() for axes in panels]
    words = ("", "unimodal", "multimodal", "Grad-CAM")
    assert titles == [f"{name} {word}".strip() for name in ("ultrasound", "CT") for word in words]
    assert [tick.get_text().replace("\N{MINUS SIGN}", "-") for tick in bar.get_xticklabels()] == [
        *("-1", "-0.5", "0", "0.5", "1")
    ]


def test_the_outline_has_no_colour_of_a_map_and_every_map_says_its_scale():
    planes = {name: np.full((8, 8), value, np.float32) for name, value in (("us", 2.0), ("ct", -0.25))}
    larger = {name: 2 * values for name, values in planes.items()}
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    case = SaliencyCase("N1", planes, dict.fromkeys(planes, mask), planes, larger, planes)
    *panels, _ = figures.saliency("central", [case], {"N1": 0}, []).axes
    for axes in panels:
        (outline,) = axes.collections
        red, green, blue, alpha = outline.get_edgecolor()[0]
        assert red == green == blue
        assert alpha == 1
    scales = [axes.get_xlabel().removeprefix("\N{PLUS-MINUS SIGN}") for axes in panels]
    # the unimodal and the multimodal map share the larger one's: 2 x 2 and 2 x 0.25
    assert scales == ["", "4", "4", "2", "", "0.5", "0.5", "0.25"]
