from __future__ import annotations

import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from masks import PLACES, box, grey, masks

from dgfnet.preprocess.crops import pad_of, stored_crop


def literal_crop(image, mask, modality, settings):
    size, dilations = settings.size(modality), settings.dilations(modality)
    return getattr(literal, modality)(image, mask, size, dilations)


def assert_centre_is_the_papers(mask, modality, settings):
    image = grey(mask.shape, 3)
    planes, square = stored_crop(image, mask, modality, settings)
    size, pad = settings.size(modality), pad_of(settings.size(modality), settings.margin)
    assert planes.dtype == np.uint8
    assert planes.shape == (3, size + 2 * pad, size + 2 * pad)
    expected = literal.square_of(literal.dilated(mask, settings.dilations(modality)))
    assert (square.top, square.left, square.side) == expected
    centre = planes[:, pad : pad + size, pad : pad + size]
    np.testing.assert_array_equal(centre, literal_crop(image, mask, modality, settings))


@pytest.mark.parametrize("modality", ["us", "ct"])
@pytest.mark.parametrize("place", PLACES)
def test_centre_is_the_papers_crop(settings, place, modality):
    assert_centre_is_the_papers(PLACES[place], modality, settings)


@tries(max_examples=60, deadline=None)
@given(
    mask=masks(largest=200),
    modality=st.sampled_from(["us", "ct"]),
    size=st.sampled_from([32, 64, 96]),
    dilations=st.integers(0, 40),
    margin=st.sampled_from([0.0, 0.1, 0.125, 0.5]),
)
def test_centre_is_the_papers_crop_anywhere(settings, mask, modality, size, dilations, margin):
    changes = {"us_size": size, "ct_size": size, "us_dilations": dilations, "ct_dilations": dilations}
    changed = settings.model_copy(update={**changes, "margin": margin})
    assert_centre_is_the_papers(mask, modality, changed)


@pytest.mark.parametrize("modality", ["us", "ct"])
def test_ring_continues_the_centre(settings, modality):
    """On a ramp, grey is position: the whole stored crop follows one straight line, across the seam too."""
    image = np.tile(np.linspace(0, 250, 400), (400, 1)).astype(np.uint8)
    planes, square = stored_crop(image, box((400, 400), 180, 220, 170, 230), modality, settings)
    size = settings.size(modality)
    pad = pad_of(size, settings.margin)
    position = square.left + (np.arange(size + 2 * pad) - pad + 0.5) * square.side / size - 0.5
    expected = np.tile(position * 250 / 399, (size + 2 * pad, 1))
    assert np.abs(planes[0] - expected).max() < 1.5  # grey levels; one image pixel is 0.63 of one


@pytest.mark.parametrize("modality", ["us", "ct"])
@pytest.mark.parametrize("seed", range(4))
def test_ring_is_the_larger_square_with_its_own_edges(settings, modality, seed):
    """Its edges are those of the larger square alone, so that the seam around the pasted centre adds none."""
    image, mask = grey((300, 320), seed), box((300, 320), 120, 161, 110, 187 + seed)
    planes, square = stored_crop(image, mask, modality, settings)
    side, pad = planes.shape[1], pad_of(settings.size(modality), settings.margin)
    ring = round(square.side * pad / settings.size(modality))
    larger = square.top - ring, square.left - ring, square.side + 2 * ring
    wide = literal.resized(literal.cropped(image, *larger), side)
    around = np.ones((side, side), dtype=bool)
    around[pad:-pad, pad:-pad] = False
    np.testing.assert_array_equal(planes[0][around], wide[around])
    nodule = literal.resized_mask(literal.cropped(mask, *larger), side)
    np.testing.assert_array_equal(planes[1][around], nodule[around])
    if modality == "ct":
        np.testing.assert_array_equal(planes[2][around], literal.edges(wide)[around])


def test_ring_is_black_outside_the_image_only(settings):
    white = np.full((100, 100), 255, dtype=np.uint8)
    planes, square = stored_crop(white, np.ones_like(white), "us", settings)
    size = settings.size("us")
    pad = pad_of(size, settings.margin)
    assert square.side == 100
    np.testing.assert_array_equal(planes[0] > 127, box(planes[0].shape, pad, pad + size, pad, pad + size) > 0)


def test_masks_and_boundaries_are_binary(settings):
    for modality in ("us", "ct"):
        planes, _ = stored_crop(grey((150, 150), 0), box((150, 150), 50, 90, 40, 110), modality, settings)
        assert set(np.unique(planes[1:])) == {0, 1}
