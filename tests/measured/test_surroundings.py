"""The border, bright spots, growth and bodies, on pictures drawn with known levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dgfnet.measured.measure import measure

SIDE = 0.25  # mm


def disc(radius_mm, centre_mm=(30.0, 30.0), side=SIDE, size_mm=60.0):
    """Pixels whose centre lies in a disc; places and radius in mm."""
    y, x = (np.mgrid[: int(size_mm / side), : int(size_mm / side)] + 0.5) * side
    return np.hypot(y - centre_mm[0], x - centre_mm[1]) <= radius_mm


def us(picture, mask, side=SIDE):
    return measure(picture, mask, (side, side), "us")


def ct(picture, mask, side=SIDE):
    return measure(picture, mask, (side, side), "ct")


def test_a_dark_nodule_in_brighter_tissue():
    mask = disc(8)
    found = us(np.where(mask, 60, 110).astype(np.uint8), mask)
    assert found["surrounding_difference"] == -50
    assert found["boundary_step"] == pytest.approx(-50)
    assert found["rim_difference"] == pytest.approx(0)
    assert found["posterior_difference"] == pytest.approx(0)


def test_the_surrounding_tissue_is_that_of_the_same_depth():
    """Grey levels that fall by 1 a mm: the tissue beside the nodule is as dark on average."""
    mask = disc(8)
    depth = np.broadcast_to((np.arange(mask.shape[0]) + 0.5)[:, None] * SIDE, mask.shape)
    found = us(150.0 - depth, mask)
    assert found["surrounding_difference"] == pytest.approx(0, abs=0.3)
    bright_below = np.where(
        depth > 38.5, 230.0, 100.0
    )  # below the nodule: a wall that is no tissue beside it
    assert us(bright_below, mask)["surrounding_difference"] == 0


def test_a_bright_rim_inside():
    """A rim of 0.2 radii, 40 brighter: it has 1 - 0.64 of the area and lies 40 * 0.64 above the mean."""
    mask = disc(10)
    picture = np.where(mask & ~disc(8), 140.0, 100.0)
    found = us(picture, mask)
    assert found["rim_difference"] == pytest.approx(40 * 0.64, abs=1.5)
    assert found["boundary_step"] == pytest.approx(40, abs=3)


@pytest.mark.parametrize(("grey", "sign"), [(170.0, 1), (40.0, -1)])
def test_enhancement_and_shadow_behind_the_nodule(grey, sign):
    mask = disc(6)
    picture = np.full(mask.shape, 100.0)
    columns = mask.any(axis=0)
    picture[int(36 / SIDE) :, columns] = grey
    found = us(picture, mask)["posterior_difference"]
    assert np.sign(found) == sign
    assert found == pytest.approx(grey - 100, abs=12)  # below the sides of the disc the band starts higher


def speckled(mask, seed=5):
    return np.random.default_rng(seed).normal(100, 12, mask.shape)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_punctate_foci_are_counted(count):
    """Discs of 0.8 mm on a circle of 5 mm around the nodule's centre; the nodule has 64 pi mm2, 2.01 cm2."""
    mask = disc(8)
    picture = speckled(mask)
    for turn in np.arange(count) * 2 * np.pi / 5:
        picture[disc(0.4, (30 + 5 * np.sin(turn), 30 + 5 * np.cos(turn)))] = 220
    picture[disc(0.4, (30, 45))] = 220  # outside the nodule
    found = us(picture, mask)
    assert found["foci_count"] == count
    assert found["foci_per_cm2"] == pytest.approx(count / 2.01, rel=0.02)
    # the Gaussian of 0.22 mm doubles the diameter above the threshold, at most
    assert count * 0.4**2 / 8**2 <= found["foci_area_share"] <= count * 0.8**2 / 8**2


def test_a_coarse_calcification_is_no_punctate_focus():
    """A disc of 4 mm whose edge is as soft as ultrasound shows it."""
    mask = disc(8)
    picture = ndimage.gaussian_filter(np.where(disc(2), 120.0, 0.0), 2) + speckled(mask)
    assert us(picture, mask)["foci_count"] == 0


def test_growth_is_tissue_of_the_nodules_density_beyond_its_border():
    """A nodule of 60 HU in a gland of 160; a quarter of a ring of 2 mm around it has its density.

    The ring has 36 pi mm2, a quarter of it 9 pi: 9 / 64 of the nodule's 64 pi, in 90 of 360 degrees.
    """
    mask = disc(8)
    noise = np.random.default_rng(1).normal(0, 5, mask.shape)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] * SIDE - 30 + SIDE / 2
    grown = disc(10) & (np.abs(np.arctan2(y, x)) <= np.pi / 4)
    plain, with_growth = (ct(np.where(where, 60.0, 160.0) + noise, mask) for where in (mask, mask | grown))
    assert plain["growth_area_share"] == pytest.approx(0, abs=0.01)
    assert plain["growth_sectors_share"] == 0
    assert plain["growth_difference"] == pytest.approx(100, abs=5)
    assert with_growth["growth_area_share"] == pytest.approx(
        9 / 64, abs=0.04
    )  # its outermost pixels are blurred
    assert with_growth["growth_sectors_share"] == pytest.approx(0.25, abs=0.06)


def test_tissue_as_dense_as_the_nodule_but_apart_from_it_is_no_growth():
    mask = disc(8)
    picture = np.where(mask | (disc(11) & ~disc(9)), 60.0, 160.0)
    assert ct(picture, mask)["growth_area_share"] < 0.01


def node(picture, centre, radius, rim, core):
    picture[disc(radius, centre)] = rim
    picture[disc(radius / 2, centre)] = core


def test_bodies_with_a_dark_core_within_15_mm_are_counted():
    """Cores of 2 mm radius, 12.6 mm2 each, enclosed at most of the thresholds between 30 and 150."""
    mask = disc(8)
    picture = np.where(mask, 100.0, 30.0)
    node(picture, (30, 45), 4, 150, 40)
    node(picture, (17, 40), 4, 150, 40)
    node(picture, (57, 30), 2.8, 150, 40)  # 19 mm from the border: too far
    found = ct(picture, mask)
    assert found["cores_count"] == 2
    assert 1 < found["cores_depth"] <= 2
    assert 0.5 * 25 < found["cores_area_mm2"] <= 26
    assert found["bodies_area_mm2"] > 0


def test_open_gaps_and_large_hollows_are_no_cores():
    mask = disc(8)
    picture = np.where(mask, 100.0, 60.0)
    picture[:, 180:184] = -90.0  # a gap of 1 mm that runs through
    picture[disc(9, (30, 52))] = -1000.0  # an airway of 254 mm2
    assert ct(picture, mask)["cores_count"] == 0


def test_solid_bright_bodies_have_their_area():
    """A disc of 4 mm radius, 50 mm2, brighter than all around at every threshold."""
    mask = disc(8)
    picture = np.where(mask, 60.0, 30.0)
    picture[disc(4, (30, 47))] = 150.0
    found = ct(picture, mask)
    assert found["bodies_area_mm2"] == pytest.approx(16 * np.pi, rel=0.12)
    assert found["cores_count"] == 0


DIFFERENCES = ("surrounding_difference", "boundary_step", "rim_difference", "posterior_difference")


@settings(max_examples=15, deadline=None)
@given(shift=st.integers(1, 60), seed=st.integers(0, 99))
def test_brightness_moves_means_and_nothing_else(shift, seed):
    mask = disc(5, (15, 15), size_mm=30)
    picture = np.random.default_rng(seed).integers(0, 190, mask.shape)
    for modality in ("us", "ct"):
        found, brighter = (measure(grey, mask, (SIDE, SIDE), modality) for grey in (picture, picture + shift))
        moved = {name for name in found if brighter[name] != pytest.approx(found[name], rel=1e-6, abs=1e-6)}
        assert moved == {"mean", "p10", "p90"}
        assert brighter["mean"] == pytest.approx(found["mean"] + shift)


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 4), seed=st.integers(0, 99))
def test_contrast_scales_differences_and_leaves_shares(factor, seed):
    mask = disc(5, (15, 15), size_mm=30)
    picture = np.random.default_rng(seed).normal(0, 30, mask.shape)
    found, scaled = (us(grey, mask) for grey in (picture, picture * factor))
    for name in (*DIFFERENCES, "foci_contrast"):
        assert scaled[name] == pytest.approx(factor * found[name], rel=1e-6, abs=1e-6)
    for name in ("skewness", "kurtosis", "foci_area_share", "foci_count"):
        assert scaled[name] == pytest.approx(found[name], rel=1e-6)
