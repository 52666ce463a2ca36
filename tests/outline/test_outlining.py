"""The network that outlines a nodule in a box."""

import numpy as np
import pytest
import torch

from dgfnet.errors import InputError
from dgfnet.imaging.boxes import Box, bounding_box, ellipse
from dgfnet.outline.boxed import Boxed
from dgfnet.outline.export import graph_of
from dgfnet.outline.fit import outlined, quality, train
from dgfnet.outline.network import OutlineNet, radius_of, restore_outline, save_outline
from dgfnet.outline.outliner import Outliner, Radii, in_crop
from dgfnet.outline.polar import RADII, RAYS, REACH, STEPS, polar, within
from dgfnet.preprocess.roi import Square
from dgfnet.register import boxes as registered
from dgfnet.serving.cases import loose_image
from dgfnet.settings import load

BOX = Box(12, 20, 52, 44)


def lozenges(count: int, side: int = 64) -> np.ndarray:
    """Bright lozenges on noise, (N, 2, S, S): half of the ellipse in their box is not theirs."""
    rng = np.random.default_rng(1)
    rows, columns = np.indices((side, side))
    planes = np.zeros((count, 2, side, side), np.uint8)
    for own in planes:
        x, y, a, b = *rng.uniform(26, 38, 2), *rng.uniform(10, 18, 2)
        own[1] = np.abs(columns - x) / a + np.abs(rows - y) / b <= 1
        own[0] = np.clip(70 + 90 * own[1] + rng.normal(0, 12, (side, side)), 0, 255)
    return planes


def test_a_radius_of_one_is_the_ellipse_in_the_box():
    np.testing.assert_array_equal(within(np.ones(RAYS), BOX, (64, 64)), ellipse((64, 64), BOX))
    small = within(np.full(RAYS, 0.5), BOX, (64, 64))
    np.testing.assert_array_equal(small, ellipse((64, 64), Box(22, 26, 42, 38)))


def test_rays_begin_to_the_right_and_turn_downwards():
    reach = np.full(RAYS, 0.4)
    reach[: RAYS // 4] = 1.2  # from the right to below
    drawn = within(reach, Box(20, 20, 44, 44), (64, 64))
    corner = drawn[33:, 33:].sum()
    assert corner > 3 * max(drawn[:31, :31].sum(), drawn[33:, :31].sum(), drawn[:31, 33:].sum())


def test_along_a_ray_stand_the_grey_values_of_the_picture():
    rows, columns = np.indices((64, 64))
    across = polar((2 * columns).astype(np.uint8), BOX)
    for ray, angle in ((0, np.pi / RAYS), (RAYS // 2, np.pi + np.pi / RAYS)):
        x = 32 - 0.5 + np.cos(angle) * RADII * 20
        np.testing.assert_allclose(across[ray], np.clip(2 * x, 0, 126), atol=1)
    assert polar(rows.astype(np.uint8), BOX).shape == (RAYS, STEPS)


def test_the_outline_crosses_a_ray_where_the_points_inside_end():
    certain = torch.where(torch.from_numpy(RADII) < 0.8, 50.0, -50.0).expand(1, RAYS, STEPS)
    torch.testing.assert_close(radius_of(certain), torch.full((1, RAYS), 0.8))
    assert pytest.approx(0.8) == REACH / STEPS * 12


def test_it_learns_a_shape_that_is_no_ellipse(params):
    settings = load_outline(params, steps=80, batch=16, width=8)
    planes = lozenges(60)
    model = train(planes, np.arange(45), settings, 3)
    found = quality(model, planes, np.arange(45, 60), 0.1, 0)
    assert found["ellipse_dice"] < 0.8  # 2 (1/2) / (1/2 + pi/4)
    assert found["dice"] > 0.95
    assert found["moved_dice"] > 0.93
    assert found["moved_ellipse_dice"] < 0.83
    again = train(planes, np.arange(45), settings, 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_graph_outlines_as_the_network_does(tmp_path, params):
    torch.manual_seed(2)
    model = OutlineNet(4).eval()
    planes = lozenges(3)
    boxes = [bounding_box(mask) for mask in planes[:, 1]]
    save_outline(model, tmp_path / "fold0.safetensors")
    graph = Radii(graph_of(restore_outline(tmp_path / "fold0.safetensors")))
    for picture, box, expected in zip(planes[:, 0], boxes, outlined(model, planes[:, 0], boxes), strict=True):
        np.testing.assert_array_equal(within(graph(polar(picture, box)[None])[0], box, (64, 64)), expected)
    (tmp_path / "fold0.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"cannot be read .*; run the stage outline again"):
        restore_outline(tmp_path / "fold0.safetensors")


def test_a_box_of_the_picture_stands_in_its_crop():
    square = Square(top=10, left=-4, side=40)
    assert in_crop(Box(6, 20, 26, 40), square, 20) == Box(5, 5, 15, 15)


def test_without_a_network_it_is_the_ellipse_and_without_need_the_box(tiny):
    grey, box = np.zeros((64, 64), np.uint8), BOX.filled((64, 64), "")
    np.testing.assert_array_equal(Outliner(tiny.preprocess)("us", grey, box), ellipse((64, 64), BOX))
    np.testing.assert_array_equal(Outliner(tiny.preprocess, needed=False)("us", grey, box), box)


def test_boxes_are_moved_for_each_picture_always_alike(tiny, tmp_path):
    image = loose_image("us", tmp_path / "us.png", tmp_path / "mask.png")
    mask, grey = ellipse((64, 64), BOX), np.zeros((64, 64), np.uint8)
    outliners = {"case": Outliner(tiny.preprocess, needed=False)}
    np.testing.assert_array_equal(Boxed(outliners)(image, grey, mask), BOX.filled((64, 64), ""))
    moved = bounding_box(Boxed(outliners, 0.1)(image, grey, mask))
    assert moved != BOX
    assert abs(moved.left - BOX.left) <= 4
    assert abs(moved.bottom - BOX.bottom) <= 3
    assert bounding_box(Boxed(outliners, 0.1)(image, grey, mask)) == moved
    assert not Boxed(outliners)(image, grey, mask * 0).any()


def load_outline(params, **values):
    return load(params, [f"outline.{name}={value}" for name, value in values.items()]).outline


def test_a_version_is_another_when_its_outlines_are(tiny, tmp_path, monkeypatch):
    """Else register would find the version with the old networks, and tell what the new ones cost."""
    monkeypatch.setattr(
        registered, "outline_weights", lambda settings, name, fold: tmp_path / f"{name}{fold}"
    )
    found = [registered.outlined_by(tiny, 0)]
    for content in (b"one", b"two"):
        (tmp_path / "us0").write_bytes(content)
        found.append(registered.outlined_by(tiny, 0))
    assert len({value["outlines"] for value in found}) == 3
    assert registered.outlined_by(tiny, 0) == found[-1]
