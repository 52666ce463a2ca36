"""Cases with boxes or calipers in place of masks."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from made import SETTINGS, SIDE, disc, picture, png

from dgfnet.bundle.layout import own_files
from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.files import sha256
from dgfnet.imaging.boxes import Box, bounding_box, ellipse
from dgfnet.outline.outliner import Outliner
from dgfnet.preprocess.roi import crop, find_square, resize_image
from dgfnet.registry.champion import check_format
from dgfnet.serving.cases import Reading, loose_image, read_case
from dgfnet.serving.decode import decode_case
from dgfnet.serving.records import answer_records
from dgfnet.vocabulary import MODALITIES

PREPROCESS = SETTINGS.preprocess
PLAIN = Outliner(PREPROCESS, needed=False)  # of a model that reads no mask


def decoded(record, outline=PLAIN):
    return decode_case(record, Reading(PREPROCESS, MODALITIES, outline=outline))


def edges(box):
    return [box.left, box.top, box.right, box.bottom]


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_box_around_the_mask_gives_the_crop_of_the_mask(modality):
    mask = disc(13)
    box = edges(bounding_box(mask))
    drawn = decoded({modality: png(picture(1)), f"{modality}_mask": png(mask)})
    for marks in ({f"{modality}_box": box}, {f"{modality}_box": [box]}, {f"{modality}_box": str(box)[1:-1]}):
        boxed = decoded({modality: png(picture(1)), **marks})
        np.testing.assert_array_equal(boxed.crops[modality], drawn.crops[modality])


def test_two_calipers_are_the_box_around_them():
    box = Box(20, 30, 60, 50)
    by_lines = decoded({"us": png(picture(1)), "us_calipers": [20, 40, 60, 40, 40, 30, 40, 50]})
    by_box = decoded({"us": png(picture(1)), "us_box": edges(box)})
    np.testing.assert_array_equal(by_lines.crops["us"], by_box.crops["us"])


def test_each_picture_has_its_own_box():
    boxes = [[20, 20, 50, 50], [30, 10, 70, 60]]
    pictures = [picture(1), picture(2)]
    crops = decoded({"us": [png(own) for own in pictures], "us_box": boxes}).crops["us"]
    assert crops.shape == (2, SIDE, SIDE)
    for got, place in zip(crops, (1, 0), strict=True):  # the largest box first
        square = find_square(Box(*boxes[place]).filled(pictures[place].shape, ""), PREPROCESS.us_dilations)
        np.testing.assert_array_equal(got, resize_image(crop(pictures[place], square), SIDE))


def test_a_model_that_reads_masks_gets_the_outline_in_the_box(bundle):
    model = ScoringModel.open(bundle)
    assert set(model.outline.networks) == {"us", "ct"}
    outline = dataclasses.replace(model.outline, needed=True)
    box = [20, 20, 60, 50]
    case = decoded({"us": png(picture(1)), "us_box": box}, outline)
    expected = outline("us", picture(1), Box(*box).filled(picture(1).shape, ""))
    again = decoded({"us": png(picture(1)), "us_mask": png(expected * np.uint8(255))})
    np.testing.assert_array_equal(case.crops["us"], again.crops["us"])
    np.testing.assert_array_equal(case.masks["us"], again.masks["us"])


def test_a_request_with_boxes_is_answered_as_one_with_masks(bundle):
    """This model reads no mask: the box that just holds it is as good."""
    model, mask = ScoringModel.open(bundle), disc(13)
    box = edges(bounding_box(mask))
    images = {"nodule": "n", "us": png(picture(1)), "ct": png(picture(2))}
    origin = {"model": "m", "version": "1"}
    with_masks = {**images, "us_mask": png(mask), "ct_mask": png(mask)}
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    with_boxes = {**images, "us_box": box, "ct_calipers": [box[0], y, box[2], y, x, box[1], x, box[3]]}
    (boxed,), (drawn,) = (answer_records(model, [record], origin) for record in (with_boxes, with_masks))
    moved = {"moved_low": None, "moved_high": None}
    assert boxed | moved == drawn


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"us_box": [1, 2, 30]}, "us_box[0]: found 3 numbers; expected 4 numbers: left, top, right, bottom"),
        (
            {"us_box": [[1, 2, 30, 40], [1, 2, 30, 40]]},
            "1 image(s) in us but 2 in us_box; expected",
        ),
        ({"us_box": [1, 2, 3000, 40]}, "us[0].png: the box 1 2 3000 40 reaches out of the picture of"),
        ({"us_box": True}, "us_box[0]: found bool; expected"),
        ({"us_box": [1, 2, 30, 40], "us_mask": ""}, "found us_mask and us_box; expected one of them"),
        ({"us_box": [1, 2, 30, 40], "us_calipers": 3}, "found us_box and us_calipers; expected one of them"),
        ({"us_calipers": [1, 2, 1, 3]}, "us_calipers[0]: a line of 1 pixels; expected"),
        ({}, "1 image(s) in us but 0 in us_mask; expected a mask of the nodule for every image, or a box"),
    ],
)
def test_what_marks_no_nodule_is_told(marks, message):
    with pytest.raises(InputError) as told:
        decoded({"us": png(picture(1)), **marks})
    assert str(told.value).startswith(message)


@pytest.mark.parametrize("far", ["1e308", "1e7", "nan", "inf"])
def test_numbers_that_no_pixel_has_are_told(far):
    for marks in ({"us_box": [0, 0, float(far), 9]}, {"us_calipers": f"-{far} 0 {far} 0"}):
        with pytest.raises(InputError, match="found a number that no pixel has; expected"):
            decoded({"us": png(picture(1)), **marks})


def test_mlflow_hands_boxes_on(model):
    """A signature that lacked them would have them dropped."""
    mask = disc(13)
    images = {"nodule": "n", "us": png(picture(1)), "ct": png(picture(2))}
    marks = {f"{name}_box": edges(bounding_box(mask)) for name in MODALITIES}
    drawn = {f"{name}_mask": png(mask) for name in MODALITIES}
    loaded = mlflow.pyfunc.load_model(str(model))
    (boxed,), (masked,) = (loaded.predict(pd.DataFrame([images | own])) for own in (marks, drawn))
    assert boxed["probability"] == masked["probability"]


def test_what_is_kept_of_a_case_is_small():
    record = {"us": [png(picture(seed)) for seed in (1, 2, 3)], "us_box": [[20, 20, 60, 50]] * 3}
    case = decoded(record)
    assert not case.drawn
    assert not any(moved.drawn or moved.chosen for moved in case.moved)


def test_a_picture_shows_the_outline_that_was_scored(tmp_path):
    cv2.imwrite(str(tmp_path / "us.png"), picture(1))
    image = loose_image("us", tmp_path / "us.png", Box(20, 20, 60, 50))
    case = read_case([image], Reading(PREPROCESS, MODALITIES))
    assert bounding_box(case.drawn["us"]) == Box(20, 20, 60, 50)
    assert 0 < case.drawn["us"].sum() < 40 * 30


def test_answers_to_boxes_have_the_range_over_moved_ones(bundle):
    model, box = ScoringModel.open(bundle), [20, 20, 60, 50]
    record = {"nodule": "n", "us": png(picture(1)), "ct": png(picture(2)), "us_box": box, "ct_box": box}
    origin = {"model": "m", "version": "1"}
    (answer,) = answer_records(model, [record], origin)
    assert answer["moved_low"] <= answer["calibrated"] <= answer["moved_high"]
    assert answer["moved_high"] > answer["moved_low"]
    assert answer_records(model, [record], origin) == [answer]
    # one of them by hand
    draw = np.random.default_rng(0)
    case = decode_case(record, Reading.of(model))
    assert len(case.moved) == 8
    for name, seed in (("us", 1), ("ct", 2)):  # in the order in which they are read
        moved = Box(*box).moved(0.1, draw).clipped(picture(seed).shape).filled(picture(seed).shape, "")
        square = find_square(moved, model.preprocess.dilations(name))
        np.testing.assert_array_equal(
            case.moved[0].crops[name][0], resize_image(crop(picture(seed), square), SIDE)
        )
    mask = Box(*box).filled(picture(1).shape, "") * np.uint8(255)
    drawn = {name: value for name, value in record.items() if not name.endswith("_box")}
    (fixed,) = answer_records(model, [drawn | {"us_mask": png(mask), "ct_mask": png(mask)}], origin)
    assert fixed["moved_low"] is fixed["moved_high"] is None
    assert fixed["probability"] == answer["probability"]


def test_a_bundle_of_the_format_before_is_read_and_takes_the_ellipse(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    for part in (folder, folder / "us", folder / "ct"):
        shutil.rmtree(part / "outline", ignore_errors=True)
        metadata = json.loads((part / "bundle.json").read_text())
        metadata.pop("outlines")
        (part / "bundle.json").write_text(json.dumps(metadata))
        sums = [f"{sha256(part / name)}  {name}\n" for name in own_files(part)]
        (part / "SHA256SUMS").write_text("".join(sums))
    outline = ScoringModel.open(folder).outline
    assert outline.networks == {}
    grey, box = picture(1), Box(20, 20, 60, 50)
    drawn = dataclasses.replace(outline, needed=True)("us", grey, box.filled(grey.shape, ""))
    np.testing.assert_array_equal(drawn, ellipse(grey.shape, box))


@pytest.mark.parametrize(
    ("written", "read"), [("4", False), ("5", True), ("8", True), ("10", True), (None, False)]
)
def test_formats_that_this_release_reads(written, read):
    tags = {"bundle_format": written} if written else {}
    version = SimpleNamespace(name="dgfnet-central", version="1", tags=tags)
    if read:
        check_format(version)
    else:
        with pytest.raises(InputError, match="by an earlier release of DGFNet and cannot be read"):
            check_format(version)
