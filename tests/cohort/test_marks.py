"""Marks of any shape are found by sharp edges and even grey; echoes, blobs, noise and words are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dgfnet.cohort.records import Image, Nodule
from dgfnet.cohort.screening.overlays import find, marks
from dgfnet.cohort.screening.review import BESIDE, _inspect


def echoes(seed, shape=(300, 400), brightness=60.0):
    """Speckle blurred by a beam that is broader than long, as in ultrasound."""
    noise = np.random.default_rng(seed).rayleigh(1.0, shape)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigmaX=2.2, sigmaY=1.0)
    return np.clip(blurred / blurred.mean() * brightness, 0, 255).astype(np.uint8)


def polyline(picture, *points, value=220, thick=1):
    cv2.polylines(picture, [np.array(points, dtype=np.int32)], False, value, thick)
    return picture


SHAPES = {
    "thick +": [((192, 150), (208, 150)), ((200, 142), (200, 158))],
    "thick x": [((192, 142), (208, 158)), ((192, 158), (208, 142))],
    "bracket": [((206, 142), (200, 142), (200, 158), (206, 158))],
    "arrow": [((192, 142), (208, 158)), ((208, 150), (208, 158), (200, 158))],
    "long line": [((150, 120), (250, 180))],
    "triangle": [((200, 142), (208, 158), (192, 158), (200, 142))],
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("value", [170, 220, 255])
@pytest.mark.parametrize("jpeg", [False, True])
def test_a_mark_is_found_where_it_is_whatever_its_shape(name, value, jpeg):
    picture = echoes(1)
    for points in SHAPES[name]:
        polyline(picture, *points, value=value, thick=3 if "thick" in name else 1)
    if jpeg:
        file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        picture = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
    x, y, w, h = max(marks(picture), key=lambda box: box[2] * box[3])
    points = np.array([point for line in SHAPES[name] for point in line])
    assert (abs(np.array([x, y]) - points.min(axis=0)) <= 4).all()
    assert (abs(np.array([x + w, y + h]) - points.max(axis=0)) <= 5).all()


def test_dots_of_a_cross_are_one_mark():
    picture = echoes(2)
    for step in range(-8, 9, 2):
        picture[150 + step, 200] = picture[150, 200 + step] = 230
    assert len(marks(picture)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_echoes_and_noise_of_single_pixels_are_no_marks(seed):
    assert marks(echoes(seed, brightness=40.0 + 16 * seed)) == []
    noise = np.random.default_rng(seed).integers(0, 256, (300, 400)).astype(np.uint8)
    assert marks(noise) == []


def test_a_bright_echo_of_the_same_shape_is_none():
    """A cross of 17 pixels seen by a beam of 1.5 pixels: its edge is half as bright a pixel outside."""
    layer = np.zeros((300, 400), dtype=np.float32)
    for first, last in (((192, 150), (208, 150)), ((200, 142), (200, 158))):
        cv2.line(layer, first, last, 1.0, 2)
    seen = cv2.GaussianBlur(layer, (0, 0), 1.5)
    picture = np.clip(echoes(3) + 190 * seen / seen.max(), 0, 255).astype(np.uint8)
    assert marks(picture) == []


def test_flat_echoes_and_blobs_are_none():
    picture = echoes(4)
    picture[100:102, 150:170] = 250  # a reflection along the beam's breadth
    picture[200:206, 200:206] = 250  # a calcification
    assert marks(picture) == []


def test_a_scale_at_the_edge_of_the_ultrasound_is_none():
    picture = echoes(7)
    picture[:, 300:] = 0
    assert marks(polyline(picture.copy(), (296, 140), (304, 148), (296, 156))) == []
    assert len(marks(polyline(picture.copy(), (246, 140), (254, 148), (246, 156)))) == 1


def test_letters_of_a_word_are_no_marks():
    picture = cv2.putText(echoes(5), "Nodule", (90, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 1, cv2.LINE_AA)
    assert {drawing.kind for drawing in find(picture)} == {"text"}


@pytest.mark.parametrize(("away", "kinds"), [(BESIDE - 4, {"mark"}), (BESIDE + 6, set())])
def test_a_mark_counts_beside_the_nodule_only(tmp_path, away, kinds):
    mask = np.zeros((300, 400), dtype=np.uint8)
    mask[130:170, 150:190] = 255
    picture = echoes(6)
    x = 190 + away
    polyline(picture, (x + 6, 140), (x, 140), (x, 156), (x + 6, 156))
    for name, pixels in (("i.png", picture), ("m.png", mask)):
        cv2.imwrite(str(tmp_path / name), pixels)
    image = Image(
        "N", "us", "transverse", tmp_path / "i.png", tmp_path / "m.png", None, None, None, None, False
    )
    nodule = Nodule("N", "P", "main", {"central": 1, "lateral": 0}, None, {}, (image,))
    ((_, drawings),) = _inspect(40, nodule)
    assert {drawing.kind for drawing in drawings} == kinds
