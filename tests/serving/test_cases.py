"""Raw pictures become crops, or one sentence."""

import base64
import json
import os
import tempfile
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import SETTINGS, SIDE, case, disc, picture, png, tiff

from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.preprocess.crops import pad_of
from dgfnet.preprocess.sample import load_sample
from dgfnet.serving.cases import Reading, loose_image, read_case
from dgfnet.serving.decode import LARGEST_FILE, clear_folders, decode_case
from dgfnet.vocabulary import MODALITIES

PREPROCESS = SETTINGS.preprocess
BOTH = Reading(PREPROCESS, MODALITIES)


def written(folder, seed, radius, modality="us", spacing=None):
    """An image of the manifest with its mask."""
    paths = [folder / f"{modality}{seed}.png", folder / f"{modality}{seed}_mask.png"]
    for path, pixels in zip(paths, (picture(seed), disc(radius)), strict=True):
        cv2.imwrite(str(path), pixels)
    return Image("n", modality, "transverse", *paths, spacing, None, None, None, False)


@pytest.mark.parametrize("modality", ["us", "ct"])
def test_a_crop_is_the_centre_of_what_the_archive_stores(tmp_path, modality):
    image = written(tmp_path, 1, 13, modality)
    planes = load_sample(image, "p", PREPROCESS).planes
    pad = pad_of(SIDE, PREPROCESS.margin)
    crop = read_case([image], BOTH).crops[modality]
    assert crop.shape == (1, SIDE, SIDE)
    np.testing.assert_array_equal(crop[0], planes[0, pad : pad + SIDE, pad : pad + SIDE])


def test_the_largest_nodule_is_scored_in_mm2_where_every_image_tells(tmp_path):
    small, large = written(tmp_path, 1, 10, spacing=0.2), written(tmp_path, 2, 20, spacing=0.05)
    # 314 pixels of 0.04 mm2 are more than 1257 of 0.0025
    assert read_case([small, large], BOTH).chosen["us"] is small
    unknown = written(tmp_path, 3, 12)
    assert read_case([small, large, unknown], BOTH).chosen["us"] is large
    twin = written(tmp_path, 4, 10, spacing=0.2)
    assert read_case([twin, small], BOTH).chosen["us"] is twin


def test_base64_matrix_and_file_are_the_same_case(tmp_path):
    paths = [tmp_path / "us.png", tmp_path / "mask.png"]
    for path, pixels in zip(paths, (picture(1), disc(13)), strict=True):
        cv2.imwrite(str(path), pixels)
    expected = read_case([loose_image("us", *paths)], BOTH).crops["us"]
    as_files = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    as_rows = [json.loads(json.dumps(pixels.tolist())) for pixels in (picture(1), disc(13))]
    for us, mask in (
        as_files,
        [[as_files[0]], [as_files[1]]],
        as_rows,
        [[as_rows[0]], [as_rows[1]]],
        (picture(1), disc(13)),
        ([picture(1)], np.stack([disc(13)])),
        (picture(1), disc(13) > 0),
    ):
        for ct in ({}, {"ct": None, "ct_mask": float("nan")}):
            crops = decode_case({"us": us, "us_mask": mask, **ct}, BOTH).crops
            assert list(crops) == ["us"]
            np.testing.assert_array_equal(crops["us"], expected)


def test_of_several_images_the_one_with_the_largest_nodule_comes_first_and_the_others_in_their_order():
    radii = (8, 15, 11)
    pictures, masks = [picture(place) for place in range(3)], [disc(radius) for radius in radii]
    several = {"us": [png(pictures[0]), *pictures[1:]], "us_mask": [png(masks[0]), *masks[1:]]}
    crops = decode_case(several, BOTH).crops["us"]
    single = [
        decode_case({"us": pictures[place], "us_mask": masks[place]}, BOTH).crops["us"] for place in (1, 0, 2)
    ]
    np.testing.assert_array_equal(crops, np.concatenate(single))


def test_base64_with_line_breaks_is_base64():
    record = {"us": case()["us"], "us_mask": case()["us_mask"]}
    broken = {
        name: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)) for name, text in record.items()
    }
    expected, crop = (decode_case(form, BOTH).crops["us"] for form in (record, broken))
    np.testing.assert_array_equal(crop, expected)


def test_what_a_model_cannot_use_is_not_looked_at(tmp_path):
    record = {"us": case()["us"], "us_mask": case()["us_mask"], "ct": "%%%", "ct_mask": "%%%"}
    assert list(decode_case(record, Reading(PREPROCESS, ("us",))).crops) == ["us"]
    gone = loose_image("ct", tmp_path / "gone.png", tmp_path / "gone_mask.png")
    assert list(read_case([written(tmp_path, 1, 9), gone], Reading(PREPROCESS, ("us",))).crops) == ["us"]
    with pytest.raises(InputError, match="expected us with us_mask"):
        decode_case({"ct": "%%%", "ct_mask": "%%%"}, Reading(PREPROCESS, ("us",)))


def test_folders_of_killed_processes_are_removed_after_an_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (("dgfnet-case-old", 3700), ("dgfnet-case-new", 60), ("other", 9999)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "us[0].png").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    clear_folders()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dgfnet-case-new", "other"]


def encoded(raw):
    return base64.b64encode(raw).decode()


GOOD = case()
PNG = base64.b64decode(GOOD["us"])
BAD = [
    ({"us": None, "us_mask": None}, "no image in the case"),
    ({"us": GOOD["us"], "us_mask": None}, "1 image(s) in us but 0 in us_mask"),
    ({"us": None, "us_mask": GOOD["us_mask"]}, "0 image(s) in us but 1 in us_mask"),
    ({"us": [GOOD["us"]] * 65, "us_mask": [GOOD["us_mask"]] * 65}, "65 images in us; expected at most 64"),
    ({"us": "%%%"}, "us[0]: is not base64"),
    ({"us": "aé"}, "us[0]: is not base64"),
    ({"us": ""}, "us[0]: 0 bytes of no kind we read"),
    ({"us": encoded(b"hello")}, "us[0]: 5 bytes of no kind we read"),
    ({"us": encoded(PNG[:200])}, "us[0].png: cannot be decoded"),
    ({"us": "A" * (LARGEST_FILE * 4 // 3 + 8)}, "expected at most 33554432"),
    ({"us": encoded(b"\0" * 128 + b"DICM" + b"\1" * 50)}, "us[0].dcm"),
    ({"us": png(np.zeros((20, 20), np.uint16))}, "uint16 pixels, expected 8 bit"),
    ({"us": png(np.zeros((5000, 5000), np.uint8))}, "us[0].png: 25000000 pixels; expected at most 16000000"),
    ({"us": tiff(3)}, "us[0].tif: 3 pages; expected one picture"),
    ({"us_mask": png(disc(0) * 0)}, "us_mask[0].png: the mask is empty"),
    ({"us_mask": png(np.full((120, 160), 255, np.uint8))}, "covers the whole image"),
    ({"us_mask": png(picture(3))}, "grey values all over"),
    ({"us_mask": png(disc(5, 50, 60))}, "us[0].png has 120x160 pixels (rows x columns) but its mask"),
    ({"us": 5}, "us: found int; expected base64 text, a matrix, or a list"),
    ({"us": True}, "us: found bool"),
    ({"us": {"a": 1}}, "us[0]: found a reference"),
    ({"us": [5]}, "us[0]: found shape (); expected a matrix"),
    ({"us": [None]}, "us[0]"),
    ({"us": [[0, 1], [2]]}, "us[0]: is no matrix of numbers"),
    ({"us": [[0.0, float("nan")], [1, 2]]}, "us[0]: 1 values are no finite numbers"),
    ({"us": [[0.0, float("inf")], [1, 2]]}, "us[0]: 1 values are no finite numbers"),
    ({"us": [[-1, 2], [3, 4]]}, "us[0]: values from -1 to 4; expected whole grey values 0 to 255"),
    ({"us": [[256, 2], [3, 4]]}, "us[0]: values from 2 to 256"),
    ({"us": [[0.5, 2], [3, 4]]}, "us[0]: values from 0.5 to 4"),
    ({"us": [[10**400, 2], [3, 4]]}, "us[0]: is no matrix of numbers"),
    ({"us": [[[[1, 2], [3, 4]]]]}, "us[0]: found shape (1, 2, 2); expected a matrix"),
    ({"us": []}, "0 image(s) in us but 1 in us_mask"),
    ({"us": [[]]}, "us[0]"),
    ({"us": np.zeros((2, 2, 2, 2), np.uint8)}, "us[0]: found shape (2, 2, 2, 2)"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_used_is_one_sentence(change, words):
    record = {"us": GOOD["us"], "us_mask": GOOD["us_mask"], **change}
    with pytest.raises(InputError) as caught:
        decode_case(record, BOTH)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


words = st.text(max_size=8) | st.binary(max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3)
)


@given(anything, anything)
def test_whatever_comes_is_a_case_or_an_input_error(us, mask):
    try:
        shape = decode_case({"us": us, "us_mask": mask}, BOTH).crops["us"].shape
    except InputError:
        shape = None
    assert shape in (None, (SIDE, SIDE))
