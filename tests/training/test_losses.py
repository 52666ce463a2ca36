from __future__ import annotations

import math

import pytest
import torch

from dgfnet.dataset.batch import Batch
from dgfnet.network.variants import Output
from dgfnet.training.losses import feature_loss, iou_loss, losses, segmentation_loss

SURE = 40.0  # log odds: the sigmoid is 1 - 4e-18


def mask(*pixels, side=8):
    plane = torch.zeros(side, side)
    for row, column in pixels:
        plane[row, column] = 1
    return plane


def logits(plane):
    return (2 * plane - 1) * SURE


def square(top, left, side=4):
    return mask(*((r, c) for r in range(top, top + side) for c in range(left, left + side)))


def test_a_certain_and_right_mask_costs_nothing():
    truth = square(1, 2)
    assert iou_loss(logits(truth), truth).item() == pytest.approx(0, abs=1e-6)
    assert segmentation_loss(logits(truth), truth).item() == pytest.approx(0, abs=1e-6)


def test_disjoint_masks_cost_nearly_one():
    # no common pixel, 16 + 16 in either: 1 - (0 + 1) / (32 + 1)
    assert iou_loss(logits(square(0, 0)), square(4, 4)).item() == pytest.approx(32 / 33)
    wide = torch.ones(512, 1024)
    assert iou_loss(torch.cat([wide, -wide]) * SURE, torch.cat([0 * wide, wide])).item() > 0.999999


def test_an_empty_target_found_empty_costs_nothing():
    nothing = torch.zeros(8, 8)
    assert iou_loss(logits(nothing), nothing).item() == pytest.approx(0, abs=1e-6)


def test_iou_counted_by_hand():
    # 16 and 16 pixels, 2 x 2 common: 28 in either; 1 - (4 + 1) / (28 + 1)
    assert iou_loss(logits(square(0, 0)), square(2, 2)).item() == pytest.approx(24 / 29)


def test_soft_iou_counted_by_hand():
    # p = 1/4 on four pixels, one of them true: both 1/4, either 1 + 1 - 1/4; 1 - 1.25 / 2.75
    found = torch.full((2, 2), -math.log(3))
    assert iou_loss(found, mask((0, 0), side=2)).item() == pytest.approx(1.5 / 2.75)


def test_iou_is_averaged_over_images_not_pooled_over_pixels():
    truth = torch.stack([square(0, 0, 2), square(4, 4)])
    found = torch.stack([logits(square(4, 4, 2)), logits(square(4, 4))])  # wrong, right
    assert iou_loss(found, truth).item() == pytest.approx((8 / 9 + 0) / 2)


def test_growing_the_overlap_lowers_the_loss():
    costs = [iou_loss(logits(square(0, shift)), square(0, 0)).item() for shift in range(5)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 5


@pytest.mark.parametrize("value", [-1e4, -5.0, 0.0, 5.0, 1e4])
def test_gradients_are_finite_however_certain_the_mask(value):
    found = torch.full((1, 2, 8, 8), value, requires_grad=True)
    segmentation_loss(found, torch.zeros(1, 2, 8, 8)).backward()
    assert torch.isfinite(found.grad).all()


def test_an_undecided_mask_costs_log_two_and_its_soft_iou():
    # p = 1/2 everywhere, half the pixels true: both 16, either 32 + 32 - 16
    truth = torch.cat([torch.ones(4, 8), torch.zeros(4, 8)])
    assert segmentation_loss(torch.zeros(8, 8), truth).item() == pytest.approx(math.log(2) + 1 - 17 / 49)


def test_half_precision_logits_are_summed_in_single_precision():
    truth = torch.ones(300, 300, dtype=torch.uint8)  # 90000 pixels, beyond the largest float16
    assert segmentation_loss(torch.full((300, 300), 10.0).half(), truth).item() == pytest.approx(0, abs=1e-3)


def batch(label, count):
    zeros = torch.zeros(count, 32, 32, dtype=torch.uint8)
    targets = torch.zeros(count, 2, 32, 32, dtype=torch.uint8)
    return Batch({"us": zeros, "ct": zeros}, {"us": targets, "ct": targets}, label, torch.zeros(count).long())


def output(logit, modalities=("us", "ct"), value=0.0):
    return Output(logit, {m: torch.full((len(logit), 2, 32, 32), value) for m in modalities}, {})


def test_the_label_costs_its_cross_entropy():
    # p = 3/4 for a positive and 1/2 for a negative
    logit, label = torch.tensor([math.log(3), 0.0]), torch.tensor([1.0, 0.0])
    terms = losses(output(logit), batch(label, 2), 1.0, 0.0, classify=True)
    assert set(terms) == {"label", "masks_us", "masks_ct"}
    assert terms["label"].item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_the_weight_multiplies_the_masks_and_not_the_label():
    one, two = (
        losses(output(torch.zeros(2)), batch(torch.tensor([1.0, 0.0]), 2), weight, 0.0, classify=True)
        for weight in (1.0, 2.0)
    )
    assert two["masks_us"].item() == pytest.approx(2 * one["masks_us"].item())
    assert two["label"].item() == one["label"].item() == pytest.approx(math.log(2))


def test_segmentation_alone_asks_for_no_label():
    unknown = batch(torch.full((2,), math.nan), 2)
    terms = losses(output(torch.zeros(2), ("ct",)), unknown, 1.0, 0.0, classify=False)
    assert set(terms) == {"masks_ct"}
    assert math.isfinite(terms["masks_ct"].item())


def test_features_cost_the_mean_square_of_what_is_known():
    read = torch.tensor([[1.0, 0.0], [2.0, 9.0]], requires_grad=True)
    target = torch.tensor([[0.0, 2.0], [2.0, math.nan]])
    cost = feature_loss(read, target)
    assert cost.item() == pytest.approx((1 + 4 + 0) / 3)
    cost.backward()
    # 2 (read - target) / 3, and nothing for the gap
    assert read.grad.flatten().tolist() == pytest.approx([2 / 3, -4 / 3, 0.0, 0.0])


def test_features_of_which_nothing_is_known_cost_nothing():
    read = torch.ones(2, 3, requires_grad=True)
    cost = feature_loss(read, torch.full((2, 3), math.nan))
    cost.backward()
    assert cost.item() == 0
    assert read.grad.abs().sum() == 0


def test_their_weight_multiplies_the_features_alone():
    features = {"us": torch.zeros(2, 3)}
    read = Output(torch.zeros(2), {}, {"us": torch.full((2, 3), 2.0)})
    zeros = torch.zeros(2, 32, 32, dtype=torch.uint8)
    known = Batch(
        *({"us": zeros}, {"us": torch.zeros(2, 2, 32, 32, dtype=torch.uint8)}),
        *(torch.tensor([1.0, 0.0]), torch.zeros(2).long(), features),
    )
    terms = losses(read, known, 1.0, 0.25, classify=True)
    assert terms["features_us"].item() == pytest.approx(0.25 * 4)
    assert terms["label"].item() == pytest.approx(math.log(2))
