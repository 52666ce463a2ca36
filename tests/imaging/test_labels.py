"""The meaning of a mask's values: one rule, by cases worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from dgfnet.errors import InputError
from dgfnet.imaging.labels import (
    Region,
    check_plausible,
    coding_of,
    may_all_be_nodules,
    nodule_of,
    regions_of,
    regions_of_colour,
)

MASK = np.zeros((48, 64), np.uint8)
MASK[6:20, 38:58] = 1
MASK[6:12, 38:48] = 0
SECOND = np.zeros_like(MASK)
SECOND[30:40, 8:20] = 1


def regions(values):
    return {region.number: region.mask for region in regions_of(values, coding_of(values, "m.png"))}


def fault(values):
    with pytest.raises(InputError) as caught:
        regions(values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (np.uint8, 1),
        (np.uint8, 255),
        (np.uint16, 65535),
        (np.int32, 7),
        (np.float32, 1.0),
        (np.float64, 255.0),
    ],
)
def test_zero_and_one_other_value_are_ground_and_nodule(kind, value):
    ((number, mask),) = regions(
        (MASK * value).astype(kind) if value == 1 else MASK.astype(kind) * kind(value)
    ).items()
    assert number == value
    np.testing.assert_array_equal(mask, MASK > 0)


def test_whole_numbers_are_labels():
    found = regions(MASK + 2 * SECOND)
    np.testing.assert_array_equal(found[1], MASK > 0)
    np.testing.assert_array_equal(found[2], SECOND > 0)


@pytest.mark.parametrize("width", [3, 7])
def test_255_beside_labels_is_void(width):
    border = cv2.dilate(MASK, np.ones((width, width), np.uint8)) > MASK
    ((number, mask),) = regions(np.where(border, 255, MASK).astype(np.uint8)).items()
    assert number == 1
    np.testing.assert_array_equal(mask, MASK > 0)


def test_flat_greys_are_labels_too():
    assert set(regions(MASK * 255 + SECOND * 128)) == {128, 255}


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_probabilities_are_halved(scale):
    soft = gaussian_filter(MASK.astype(np.float32), 2) * scale
    soft *= scale / soft.max()
    ((_, mask),) = regions(soft).items()
    np.testing.assert_array_equal(mask, soft >= scale / 2 if scale == 1 else soft > 127)


def test_edges_that_jpeg_and_antialiasing_blur_are_cut_in_the_middle():
    large = cv2.resize(MASK * 255, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    ((_, mask),) = regions(large).items()
    np.testing.assert_array_equal(mask, large > 127)
    jpeg = cv2.imdecode(
        cv2.imencode(".jpg", cv2.resize(MASK * 255, None, fx=4, fy=4))[1], cv2.IMREAD_GRAYSCALE
    )
    ((_, mask),) = regions(jpeg).items()
    assert np.mean(mask != (cv2.resize(MASK, None, fx=4, fy=4) > 0)) < 0.01


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).integers(0, 255, MASK.shape).astype(np.uint8),
        np.random.default_rng(0).normal(0, 60, MASK.shape).astype(np.int16),  # CT in HU
        np.random.default_rng(0).random(MASK.shape).astype(np.float32),  # normalised
        (np.random.default_rng(0).random(MASK.shape) ** 4 * 200).astype(np.uint8),  # dark ultrasound
        np.random.default_rng(0).integers(0, 4000, MASK.shape).astype(np.uint16),
    ],
)
def test_a_picture_is_no_mask(picture):
    assert "that is a picture" in fault(picture)


def test_a_ground_that_is_not_zero_is_told():
    assert (
        fault(MASK + np.uint8(1)) == "m.png: values 1 to 2 and none of them 0; expected 0 outside the nodule"
    )


def test_labels_that_one_slice_lacks_are_known_from_the_whole_volume():
    volume = np.stack([MASK * 0, MASK, SECOND * 2], axis=2)
    coding = coding_of(volume, "m.nii")
    assert [region.mask.sum() for region in regions_of(volume[:, :, 1], coding)] == [MASK.sum(), 0]


def test_colours_are_labels_whatever_their_brightness():
    colour = np.zeros((*MASK.shape, 3), np.uint8)
    colour[MASK > 0], colour[SECOND > 0] = (128, 0, 0), (0, 255, 255)  # blue first: navy and yellow
    found = {region.name: region.mask for region in regions_of_colour(colour, "m.png")}
    np.testing.assert_array_equal(found["#000080"], MASK > 0)
    np.testing.assert_array_equal(found["#ffff00"], SECOND > 0)


def test_a_colour_with_blurred_edges_is_one_region():
    colour = np.zeros((*MASK.shape, 3), np.uint8)
    colour[MASK > 0] = (0, 0, 255)
    large = cv2.resize(colour, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (region,) = regions_of_colour(large, "m.png")
    assert np.mean(region.mask != (cv2.resize(MASK, None, fx=4, fy=4) > 0)) < 0.01


NAMED = [
    Region(1, "Thyroid gland", SECOND > 0),
    Region(2, "Nodule left", MASK > 0, ("SCT:27925004", "Nodule")),
]


@pytest.mark.parametrize("wanted", ["2", "nodule left", "SCT:27925004", "Nodule", "nod*"])
def test_a_region_is_asked_for_by_number_name_code_or_pattern(wanted):
    np.testing.assert_array_equal(nodule_of(NAMED, wanted, "m.dcm"), MASK)


def test_several_regions_are_joined_where_that_is_asked_for():
    np.testing.assert_array_equal(nodule_of(NAMED, "1+2", "m.dcm"), MASK | SECOND)
    np.testing.assert_array_equal(nodule_of(NAMED, "*", "m.dcm"), MASK | SECOND)


@pytest.mark.parametrize(
    ("regions_", "wanted", "said"),
    [
        (
            NAMED,
            None,
            "m.dcm: 2 regions (1 'Thyroid gland', 2 'Nodule left'); say which is the nodule in segment",
        ),
        (NAMED, "3", "m.dcm: no region '3'; found 1 'Thyroid gland', 2 'Nodule left'"),
        (NAMED[:1], None, "m.dcm: its one region is called 'Thyroid gland'; expected a nodule"),
    ],
)
def test_a_region_that_may_be_another_organ_is_refused(regions_, wanted, said):
    with pytest.raises(InputError) as caught:
        nodule_of(regions_, wanted, "m.dcm")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("names", "may"),
    [
        (["n"], True),
        (["n", "n"], True),
        (["Nodule 1", "nodule 2", "Lesion"], True),
        (["Thyroid gland"], False),
        (["Nodule", "Lymph node"], False),
        (["Segment_1", "Segment_2"], False),
        (["thyroid", "thyroid"], False),
    ],
)
def test_names_decide_which_regions_of_an_export_may_be_nodules(names, may):
    assert may_all_be_nodules([Region(n, name, MASK > 0) for n, name in enumerate(names, 1)]) is may


@given(st.integers(0, 47), st.integers(0, 63), st.integers(1, 20), st.integers(1, 20))
def test_the_inverse_of_a_mask_inside_the_picture_is_refused(row, column, height, width):
    mask = np.zeros((48, 64), np.uint8)
    mask[row : row + height, column : column + width] = 1
    inside = mask[1:-1, 1:-1].sum() == mask.sum()
    check_plausible(mask, "m.png", "i.png")
    if inside:
        with pytest.raises(InputError, match="inverted"):
            check_plausible(1 - mask, "m.png", "i.png")


def test_a_mask_that_leaves_only_a_frame_is_refused():
    mask = np.ones((100, 100), np.uint8)
    mask[:2] = mask[-2:] = 0
    mask[:, :2] = mask[:, -2:] = 0
    with pytest.raises(InputError, match="covers 92% of the picture"):
        check_plausible(mask, "m.png", "i.png")
