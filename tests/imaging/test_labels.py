"""The meaning of a mask's values: one rule, by cases worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from dgfnet.errors import InputError
from dgfnet.imaging import masks, pictures
from dgfnet.imaging.labels import Region, check_plausible, may_all_be_nodules, nodule_of
from dgfnet.imaging.places import Placement
from dgfnet.imaging.values import coding_of, regions_of, regions_of_colour

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


@pytest.mark.parametrize("low", [1, 2, 50, 100, 127, 128])
def test_255_that_is_no_border_is_a_label_of_its_own(low):
    values = (SECOND * low + MASK * 255).astype(np.uint8)
    assert set(regions(values)) == {low, 255}
    np.testing.assert_array_equal(regions(np.stack([values] * 2, axis=2))[255][:, :, 0], MASK > 0)


def test_a_thin_nodule_beside_a_grey_gland_is_not_joined_with_it():
    values = (SECOND * 200).astype(np.uint8)
    values[4:18, 5:7] = 255
    assert {number: int(mask.sum()) for number, mask in regions(values).items()} == {200: 120, 255: 28}


def organs():
    """Blocks of 117 labels in a volume, and the nodule as label 90 on its last slice."""
    blocks = np.arange(6)[:, None, None] * 16 + np.arange(8)[None, :, None] * 2 + np.arange(2)
    volume = np.kron(blocks + 5, np.ones((8, 8, 2), int))[:48, :64].astype(np.int16)
    volume[volume == 90] = 0
    volume[:3] = 0
    volume[:, :, 3][MASK > 0] = 90
    return volume


@pytest.mark.parametrize("factor", [1, 2, 9])
def test_many_labels_of_a_volume_are_labels(factor):
    found = regions(organs() * factor)
    assert len(found) > 60
    np.testing.assert_array_equal(found[90 * factor][:, :, 3], MASK > 0)


def test_grey_values_of_a_volume_are_no_labels():
    volume = np.random.default_rng(0).integers(0, 800, (48, 64, 4)).astype(np.int16)
    volume[:20] = 0
    assert "that is a picture" in fault(volume)
    soft = gaussian_filter(np.stack([MASK] * 4, axis=2).astype(np.float32), (2, 2, 0))
    ((_, mask),) = regions(np.rint(soft / soft.max() * 255).astype(np.uint8)).items()
    assert 0 < np.count_nonzero(mask) < 4 * 400


def test_probabilities_may_exceed_1_by_rounding():
    soft = gaussian_filter(MASK.astype(np.float32), 2)
    ((_, mask),) = regions(soft / soft.max() * np.float32(1.0000002)).items()
    np.testing.assert_array_equal(mask, soft >= soft.max() / 2)


@pytest.mark.parametrize("drawn", [MASK.astype(np.float32), gaussian_filter(MASK.astype(np.float32), 2)])
def test_probabilities_may_fall_below_0_by_rounding(drawn):
    low = np.where(drawn < 1e-6, np.float32(-1e-7), drawn / drawn.max() * np.float32(1.0000001))
    ((_, mask),) = regions(low).items()
    np.testing.assert_array_equal(mask, drawn >= drawn.max() / 2)
    assert "expected a mask" in fault(np.where(drawn < 1e-6, np.float32(-0.1), drawn))


def disk(row, column, radius):
    rows, columns = np.mgrid[:192, :256]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


@pytest.mark.parametrize("quality", [100, 95, 75])
@pytest.mark.parametrize("gland", [10, 100, 127, 128, 200])
def test_a_jpeg_of_labels_is_refused(tmp_path, quality, gland):
    values = np.where(disk(140, 190, 25), gland, 255 * disk(70, 90, 30)).astype(np.uint8)
    for one in (
        values,
        np.stack([0 * values, values, 0 * values], axis=2),
        values // 255 * np.uint8(gland),
    ):
        path = tmp_path / "m.jpg"
        PIL.Image.fromarray(one).save(path, quality=quality)
        try:
            found = pictures.read_regions(path, None)
        except InputError as error:
            assert "a JPEG with other values than 0 and 255" in str(error)  # noqa: PT017
        else:
            assert gland < 33
            assert np.mean(found[0].mask != disk(70, 90, 30)) < 1e-3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_ground_whatever_colour_it_keeps(tmp_path, mode):
    if mode == "P":
        picture = PIL.Image.frombytes("P", MASK.shape[::-1], MASK.tobytes())
        picture.putpalette([255, 255, 255, 255, 0, 0])
        picture.save(tmp_path / "m.png", transparency=0)
    else:
        grey = (MASK | SECOND) * np.uint8(255)
        bands = [*[grey] * (len(mode) - 1), MASK * np.uint8(255)]
        PIL.Image.fromarray(np.stack(bands, axis=-1), mode).save(tmp_path / "m.png")
    (region,) = pictures.read_regions(tmp_path / "m.png", None)
    np.testing.assert_array_equal(region.mask, MASK > 0)


def test_a_half_transparent_overlay_is_drawn(tmp_path):
    pixels = np.zeros((*MASK.shape, 4), np.uint8)
    pixels[MASK > 0] = (255, 0, 0, 110)
    PIL.Image.fromarray(pixels).save(tmp_path / "m.png")
    (region,) = pictures.read_regions(tmp_path / "m.png", None)
    assert region.name == "#ff0000"
    np.testing.assert_array_equal(region.mask, MASK > 0)


def test_two_channels_of_a_tiff_are_refused(tmp_path):
    """OpenCV returns the first and says nothing of the second."""
    PIL.Image.fromarray(np.stack([SECOND * 255, MASK * 255], axis=-1), "LA").save(tmp_path / "m.tif")
    with pytest.raises(InputError, match="2 channels"):
        pictures.read_regions(tmp_path / "m.tif", None)


def test_a_code_says_that_a_region_is_an_organ_where_its_name_does_not():
    gland = Region(1, "Segment 1", SECOND > 0, ("SCT:69748006", "Thyroid gland"))
    with pytest.raises(InputError, match="called 'Thyroid gland'"):
        nodule_of([gland], None, "m.dcm")
    assert not may_all_be_nodules([gland])
    assert may_all_be_nodules([Region(1, "Nodule", MASK > 0, ("SCT:69748006", "Thyroid gland"))])


def test_an_inverted_mask_of_a_nodule_at_the_side_is_refused():
    mask = np.ones((48, 64), np.uint8)
    mask[:, :20] = 0
    with pytest.raises(InputError, match="inverted"):
        check_plausible(mask, "m.png", "i.png")


def slicer(path, layers, names, **more):
    """A segmentation of 3D Slicer, a layer a segment; before 4.11 the header said no more than names."""
    meta = {f"Segment{n}_Name": name for n, name in enumerate(names)} | more
    count, *shape = layers.shape  # (layers, k, j, i)
    head = (
        f"NRRD0004\ntype: uint8\ndimension: 4\nspace: left-posterior-superior\n"
        f"sizes: {count} {shape[2]} {shape[1]} {shape[0]}\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\n"
        f"kinds: list domain domain domain\nencoding: raw\nspace origin: (0,0,0)\n"
    )
    head += "".join(f"{key}:={value}\n" for key, value in meta.items())
    path.write_bytes(f"{head}\n".encode() + np.ascontiguousarray(layers.transpose(1, 2, 3, 0)).tobytes())
    return path


def test_layers_of_an_old_segmentation_of_slicer_are_its_segments(tmp_path):
    layers = np.stack([SECOND, MASK])[:, None]
    path = slicer(tmp_path / "m.seg.nrrd", layers, ("gland", "nodule"))
    place = Placement("i.png", MASK.shape)
    np.testing.assert_array_equal(masks.read_mask(path, place, "nodule").values, MASK)
    np.testing.assert_array_equal(masks.read_mask(path, place, "2").values, MASK)


def test_numbers_of_a_segmentation_of_slicer_are_its_label_values(tmp_path):
    layers = np.stack([SECOND * 2, MASK])[:, None]
    said = {"Segment0_LabelValue": 2, "Segment1_LabelValue": 1, "Segment0_Layer": 0, "Segment1_Layer": 1}
    path = slicer(tmp_path / "m.seg.nrrd", layers, ("gland", "nodule"), **said)
    np.testing.assert_array_equal(masks.read_mask(path, Placement("i.png", MASK.shape), "1").values, MASK)


@pytest.mark.parametrize("width", [1, 2])
def test_an_outline_in_place_of_an_area_is_refused(width):
    line = np.zeros((100, 100), np.uint8)
    cv2.circle(line, (50, 50), 25, 1, width)
    with pytest.raises(InputError, match="an outline, not an area"):
        check_plausible(line, "m.png", "i.png")
    check_plausible(cv2.circle(line, (50, 50), 25, 1, cv2.FILLED), "m.png", "i.png")
