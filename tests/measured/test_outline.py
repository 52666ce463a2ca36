"""Sizes and shapes of discs, ellipses and rectangles against geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgfnet.measured.measure import measure
from dgfnet.measured.outline import outline_of, shape_of
from dgfnet.measured.region import region_of


def ellipse(rows, columns, shape=(160, 160), centre=(80.0, 80.0)):
    """Pixels whose centre lies in an ellipse of given half axes, pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / rows) ** 2 + ((x - centre[1]) / columns) ** 2 <= 1


def shape(mask, spacing=(1.0, 1.0)):
    return shape_of(region_of(np.zeros(mask.shape), mask, spacing))


@pytest.mark.parametrize("radius", [12, 25, 50])
def test_a_disc(radius):
    found = shape(ellipse(radius, radius))
    assert found["area_mm2"] == pytest.approx(np.pi * radius**2, rel=0.03)
    assert found["equivalent_diameter_mm"] == pytest.approx(2 * radius, rel=0.015)
    assert found["maximum_diameter_mm"] == pytest.approx(2 * radius, abs=1)
    assert found["height_over_width"] == pytest.approx(1, abs=0.01)
    assert found["elongation"] == pytest.approx(1, abs=0.01)
    assert found["solidity"] == pytest.approx(1, abs=0.02)
    assert found["circularity"] == pytest.approx(1, abs=0.04)
    assert found["radial_length_sd"] < 0.02
    assert found["elliptic_residual"] < 0.02


def test_an_ellipse_is_long_and_regular():
    """Half axes 50 and 25: area 1250 pi, perimeter 242.2 (Ramanujan), axes 1 to 2."""
    found = shape(ellipse(25, 50))
    assert found["area_mm2"] == pytest.approx(1250 * np.pi, rel=0.01)
    assert found["maximum_diameter_mm"] == pytest.approx(100, abs=1)
    assert found["height_over_width"] == pytest.approx(0.5, abs=0.01)
    assert found["elongation"] == pytest.approx(0.5, abs=0.01)
    assert found["circularity"] == pytest.approx(4 * np.pi * 1250 * np.pi / 242.2**2, rel=0.04)
    # of the perimeter's points: distances from 25 to 50
    assert found["radial_length_sd"] > 0.15
    assert found["elliptic_residual"] < 0.02


def test_a_rectangle():
    """60 x 30 pixels: the second moments of a rectangle are those of an ellipse of the same ratio of axes."""
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, 30:60] = True
    found = shape(mask, (0.5, 0.5))
    assert found["area_mm2"] == 60 * 30 * 0.25
    assert found["maximum_diameter_mm"] == pytest.approx(0.5 * np.hypot(60, 30), rel=0.02)
    assert found["height_over_width"] == pytest.approx(2, rel=0.02)
    assert found["elongation"] == pytest.approx(0.5, rel=0.02)
    assert found["solidity"] == pytest.approx(1, abs=0.01)
    assert found["circularity"] == pytest.approx(4 * np.pi * 1800 / 180**2, rel=0.03)


def test_a_cross_is_hollow():
    """Five squares of side 20: area 2000, hull a square of 60 less four triangles of 200."""
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, 40:60] = mask[40:60, 20:80] = True
    found = shape(mask)
    assert found["solidity"] == pytest.approx(2000 / 2800, rel=0.02)
    # the smoothing rounds twelve corners
    assert found["circularity"] == pytest.approx(4 * np.pi * 2000 / 240**2, rel=0.08)


def test_waves_of_the_border_count_as_irregularity_whatever_the_elongation():
    """r = 40 (1 + a cos 8 t): the standard deviation of the radial length is a / sqrt(2) of its mean."""
    y, x = (np.mgrid[:200, :200] - 100.0) / 40
    for stretch in (1.0, 1.6):
        radius, angle = np.hypot(y * stretch, x), np.arctan2(y * stretch, x)
        found = shape(radius <= 1 + 0.1 * np.cos(8 * angle))
        assert found["elliptic_residual"] == pytest.approx(0.1 / np.sqrt(2), rel=0.1)


def test_pixels_that_are_not_square():
    """Half axes 20 rows of 1 mm and 40 columns of 0.5 mm: a disc of 20 mm."""
    found = shape(ellipse(20, 40), (1.0, 0.5))
    assert found["equivalent_diameter_mm"] == pytest.approx(40, rel=0.01)
    assert found["maximum_diameter_mm"] == pytest.approx(40, abs=1)
    assert found["height_over_width"] == pytest.approx(1, abs=0.02)
    assert found["elongation"] == pytest.approx(1, abs=0.02)
    assert found["circularity"] == pytest.approx(1, abs=0.05)
    assert found["elliptic_residual"] < 0.02


def test_without_spacing_lengths_are_unknown_and_ratios_stay():
    known, unknown = shape(ellipse(20, 30), (0.2, 0.2)), shape(ellipse(20, 30), None)
    lengths = {"area_mm2", "equivalent_diameter_mm", "maximum_diameter_mm"}
    assert {name for name, value in unknown.items() if np.isnan(value)} == lengths
    assert all(unknown[name] == pytest.approx(known[name]) for name in known if name not in lengths)


def test_the_outline_is_that_of_the_largest_part_and_encloses_its_area():
    mask = ellipse(20, 20, centre=(60, 60)) | ellipse(5, 5, centre=(120, 120))
    points = outline_of(region_of(np.zeros(mask.shape), mask, (1.0, 1.0)))
    x, y = points.T
    area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    assert area == pytest.approx(ellipse(20, 20, centre=(60, 60)).sum())
    assert shape(mask)["area_mm2"] == mask.sum()


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(8, 30), columns=st.integers(8, 30), down=st.integers(-9, 9), right=st.integers(-9, 9))
def test_shape_neither_moves_nor_turns(rows, columns, down, right):
    mask = ellipse(rows, columns, (120, 120), (60, 60)) | ellipse(6, 6, (120, 120), (60 + rows, 60))
    found = shape(mask)
    moved = shape(np.roll(mask, (down, right), (0, 1)))
    assert moved == pytest.approx(found, rel=1e-9)
    turned = shape(np.rot90(mask))
    assert turned.pop("height_over_width") == pytest.approx(1 / found.pop("height_over_width"), rel=0.01)
    assert turned == pytest.approx(found, rel=0.02, abs=0.003)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(12, 25), columns=st.integers(12, 25), factor=st.sampled_from([2, 3]))
def test_finer_pixels_of_the_same_size_in_mm_give_the_same_shape(rows, columns, factor):
    mask = ellipse(rows, columns, (80, 80), (40, 40))
    fine = np.kron(mask, np.ones((factor, factor), dtype=bool))
    coarse, found = shape(mask, (0.6, 0.6)), shape(fine, (0.6 / factor, 0.6 / factor))
    assert found["area_mm2"] == pytest.approx(coarse["area_mm2"])
    assert found["maximum_diameter_mm"] == pytest.approx(coarse["maximum_diameter_mm"], rel=0.03)
    assert found["elongation"] == pytest.approx(coarse["elongation"], rel=0.03)


def test_turned_textures_keep_their_statistics_and_cooccurrence():
    picture = np.random.default_rng(3).integers(0, 255, (90, 90)).astype(np.uint8)
    mask = ellipse(20, 30, (90, 90), (45, 45))
    found = measure(picture, mask, (0.5, 0.5), "us")
    turned = measure(np.rot90(picture), np.rot90(mask), (0.5, 0.5), "us")
    for name in found:
        if name in ("mean", "variance", "skewness", "kurtosis", "p10", "p90", "entropy") or name.startswith(
            "glcm_"
        ):
            assert turned[name] == pytest.approx(found[name], rel=1e-9), name
