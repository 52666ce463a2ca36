"""Pooling by regions, by hand on small masks and maps."""

from __future__ import annotations

import pytest
import torch

from dgfnet.network.encoders import Encoder, channels
from dgfnet.network.regions import RegionPooling, region_means, regions


def square(side=40, low=10, high=30):
    mask = torch.zeros(1, side, side, dtype=torch.uint8)
    mask[0, low:high, low:high] = 1
    return mask


def test_the_rim_lies_on_both_sides_of_the_outline():
    """A side of 40 pixels gives a reach of 2: the square of 20 grows to 24 and shrinks to 16."""
    nodule, rim, outside = regions(square())[0]
    assert (nodule.sum(), outside.sum()) == (400, 1200)
    assert rim.sum() == 24**2 - 16**2
    assert rim[9, 20] == rim[8, 20] == rim[10, 20] == rim[11, 20] == 1
    assert rim[7, 20] == rim[12, 20] == 0
    assert torch.equal(nodule + outside, torch.ones(40, 40))


def test_a_mean_weighs_a_cell_by_the_share_of_its_pixels():
    """Two cells in a row; three quarters of the left one and a quarter of the right one are nodule."""
    parts = torch.zeros(1, 3, 4, 4)
    parts[0, 0, 0, :3] = 1  # 2 of the 4 pixels of the cell at (0, 0), 1 of that at (0, 1)
    feature_map = torch.tensor([[[[10.0, 40.0], [7.0, 7.0]]]])
    nodule, rim, outside = region_means(feature_map, parts)[0]
    # shares 0.5 and 0.25; the sum of shares has 0.001 added
    assert nodule == pytest.approx((0.5 * 10 + 0.25 * 40) / 0.751, rel=1e-6)
    assert (rim, outside) == (0, 0)  # empty regions


def test_regions_stand_one_after_the_other():
    parts = regions(square())
    feature_map = torch.stack([torch.full((5, 5), 3.0), torch.full((5, 5), 8.0)])[None]
    means = region_means(feature_map, parts)
    assert means.shape == (1, 6)
    torch.testing.assert_close(means[0], torch.tensor([3.0, 8, 3, 8, 3, 8]), rtol=2e-3, atol=0)


def test_what_lies_outside_does_not_reach_the_nodule_s_mean():
    parts = regions(square(low=8, high=32))  # whole cells of a map of 5
    inside = torch.zeros(1, 1, 5, 5)
    inside[..., 1:4, 1:4] = 4.0
    noisy = torch.where(inside > 0, inside, torch.rand(1, 1, 5, 5) * 1000)
    quiet, loud = region_means(inside, parts)[0], region_means(noisy, parts)[0]
    assert quiet[0] == loud[0]
    assert loud[2] > quiet[2] == 0


def test_values_are_as_many_as_the_last_map_has_channels_and_not_negative():
    torch.manual_seed(0)
    maps = Encoder("resnet18", 0.25)(torch.randn(3, 1, 64, 64))
    pooling = RegionPooling(0.25)
    mask = torch.zeros(3, 64, 64)
    mask[:, 20:40, 20:40] = 1
    values = pooling(maps, mask)
    assert values.shape == (3, channels(0.25)[-1])
    assert (values >= 0).all()
    assert pooling.reduce.in_features == 3 * (32 + 64 + 128)


def test_a_checkpoint_without_a_mask_gives_the_same_maps_whatever_the_mask():
    torch.manual_seed(0)
    plain, masked = Encoder("resnet18", 1.0).eval(), Encoder("resnet18", 1.0, inputs=2).eval()
    masked.load_pretrained(plain.state_dict())
    picture = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        for mask in (torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 32, 32)):
            for own, other in zip(plain(picture), masked(torch.cat([picture, mask], 1)), strict=True):
                torch.testing.assert_close(own, other)
