"""Copies of a picture are found under another patient and their change is named; look-alikes are not."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dgfnet.audit import cells, search
from dgfnet.audit.cells import ORDERS
from dgfnet.audit.copies import find_copies
from dgfnet.audit.fingerprint import find_field, picture_fingerprint
from dgfnet.audit.registration import register
from dgfnet.audit.search import candidates

ROOT = Path(__file__).parents[2]
THRESHOLD = yaml.safe_load((ROOT / "params.yaml").read_text())["audit"]["same_picture"]
SHAPE = (240, 300)


def speckle(seed, shape=SHAPE, anatomy=0):
    """An ultrasound-like picture: smooth anatomy that may be shared, speckle that nobody shares."""
    rng = np.random.default_rng(seed)
    coarse = np.random.default_rng(1000 + anatomy).uniform(40, 160, (4, 5)).astype(np.float32)
    grain = cv2.GaussianBlur(rng.rayleigh(1, shape).astype(np.float32), (0, 0), 1.2)
    return np.clip(cv2.resize(coarse, shape[::-1]) * grain, 0, 255).astype(np.uint8)


OTHERS = [picture_fingerprint(speckle(seed)) for seed in range(1, 13)]


def turned(picture, degrees):
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC)


def saved(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def framed(picture):
    """An export's frame: black around the field, with the writing of a machine."""
    whole = cv2.copyMakeBorder(picture, 50, 40, 70, 60, cv2.BORDER_CONSTANT, value=0)
    for text, place in (("12L6 9.0 31fps", (200, 30)), ("RT LOBE SAG", (10, 320))):
        cv2.putText(whole, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1, cv2.LINE_AA)
    return whole


def noisy(picture, deviation):
    noise = np.random.default_rng(3).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def stretched(picture, across, down):
    return cv2.resize(picture, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)


CHANGES = {
    "identical": (lambda p: p, "stored again"),
    "smaller": (lambda p: cv2.resize(p, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), "stored again"),
    "JPEG 20": (lambda p: saved(p, 20), "stored again"),
    "blurred": (lambda p: cv2.GaussianBlur(p, (0, 0), 1.5), "stored again"),
    "noise": (lambda p: noisy(p, 8), "stored again"),
    "written on": (
        lambda p: cv2.putText(p.copy(), "4C", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 2),
        "stored again",
    ),
    "mirrored": (lambda p: p[:, ::-1], "mirrored"),
    "upside down": (lambda p: p[::-1], "upside down"),
    "quarter clockwise": (lambda p: np.rot90(p, -1), "rotated 90"),
    "half": (lambda p: p[::-1, ::-1], "rotated 180"),
    "quarter back": (lambda p: np.rot90(p), "rotated 270"),
    "mirrored, then quarter clockwise": (lambda p: np.rot90(p[:, ::-1], -1), "mirrored, rotated 90"),
    "transposed": (lambda p: p.T, "mirrored, rotated 270"),
    "tilted": (lambda p: turned(p, 3), "tilted 3"),
    "tilted more": (lambda p: turned(p, -9), "tilted 9, cropped"),
    "a tenth cut off": (lambda p: p[: int(240 * 0.95), int(300 * 0.05) :], "cropped"),
    "three tenths cut off": (lambda p: p[int(240 * 0.16) :, : int(300 * 0.84)], "cropped"),
    "framed": (framed, "framed"),
    "stretched": (lambda p: stretched(p, 1.3, 1), "stretched"),
    "made square": (lambda p: cv2.resize(p, (224, 224), interpolation=cv2.INTER_AREA), "stretched"),
    "brighter": (lambda p: cv2.convertScaleAbs(p, alpha=1.2, beta=20), "grey values"),
    "gamma": (lambda p: (255 * (p / 255) ** 0.5).astype(np.uint8), "grey values"),
    "equalised": (cv2.equalizeHist, "grey values"),
    "inverted": (lambda p: 255 - p, "inverted"),
    "mirrored and inverted": (lambda p: 255 - p[:, ::-1], "mirrored, inverted"),
    "augmented": (
        lambda p: noisy(cv2.convertScaleAbs(turned(p, 6)[20:220, 25:275][:, ::-1], alpha=0.8), 4),
        "mirrored, tilted 6, cropped, grey values",
    ),
    "exported": (lambda p: saved(framed(stretched(p[:, ::-1], 1.3, 1)), 40), "mirrored, framed, stretched"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_copy_is_found_among_others_and_its_change_named(kind):
    change, name = CHANGES[kind]
    picture = speckle(0)
    copy = np.ascontiguousarray(change(picture))
    prints = [*OTHERS, picture_fingerprint(picture), picture_fingerprint(copy)]
    [found] = find_copies(prints, [str(n) for n in range(14)], THRESHOLD)
    assert (found.first, found.second, found.change) == (12, 13, name)
    assert THRESHOLD + 0.1 < found.correlation <= 1


def test_a_change_is_named_from_the_first_to_the_second():
    picture = speckle(0)
    quarter = picture_fingerprint(np.ascontiguousarray(np.rot90(picture, -1)))  # clockwise
    [found] = find_copies([quarter, picture_fingerprint(picture)], ["a", "b"], THRESHOLD)
    assert found.change == "rotated 270"


@pytest.mark.parametrize("width", [(400, 50), (1500, -600)])
def test_slices_of_ct_are_found_in_hounsfield_units_and_in_windows(width):
    hounsfield = speckle(0).astype(np.float32) * 2 - 200  # -200 to 310 HU
    range_hu, level = width
    shown = np.clip((hounsfield - level) / range_hu * 255 + 127.5, 0, 255).astype(np.uint8)
    for copy, name in ((hounsfield[:, ::-1], "mirrored"), (shown, "grey values")):
        prints = [*OTHERS, picture_fingerprint(hounsfield), picture_fingerprint(copy)]
        found = find_copies(prints, [str(n) for n in range(14)], THRESHOLD)
        if range_hu == 1500 and name == "grey values":  # what is above 150 HU is white there
            assert {copy.change for copy in found} <= {name}
        else:
            assert [(one.first, one.second, one.change) for one in found] == [(12, 13, name)]


def test_pictures_of_one_anatomy_and_the_same_statistics_are_no_copies():
    prints = [picture_fingerprint(speckle(seed)) for seed in range(60)]
    assert find_copies(prints, [str(n) for n in range(60)], 0.3) == []


def drawn(seed):
    """One anatomy with sharp edges, as all patients of a generated phantom have it, and noise of its own."""
    picture = np.full(SHAPE, 60, dtype=np.float32)
    for x, y, size, value in ((70, 80, 30, 200), (220, 90, 35, 30), (150, 180, 45, 120), (60, 190, 15, 240)):
        cv2.ellipse(picture, (x, y), (size, size * 3 // 4), 20, 0, 360, value, -1)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 12, SHAPE), (0, 0), 1.5)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_where_all_patients_have_one_anatomy_the_noise_tells_copies():
    pictures = [drawn(seed) for seed in range(20)]
    copy = np.ascontiguousarray(pictures[4][:, ::-1])
    prints = [picture_fingerprint(picture) for picture in [*pictures, copy]]
    [found] = find_copies(prints, [str(n) for n in range(21)], THRESHOLD)
    assert (found.first, found.second, found.change) == (4, 20, "mirrored")


def test_frames_and_writing_that_all_pictures_share_are_no_copies():
    prints = [picture_fingerprint(framed(speckle(seed, anatomy=seed))) for seed in range(30)]
    assert find_copies(prints, [str(n) for n in range(30)], 0.3) == []


def ramp(shape):
    return np.broadcast_to(np.linspace(0, 40, shape[1]), shape).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        np.full(SHAPE, 7, dtype=np.uint8),
        np.zeros(SHAPE, dtype=np.float32),
        ramp(SHAPE),
        cv2.putText(np.zeros(SHAPE, dtype=np.uint8), "no signal", (60, 120), 0, 1, 255, 2),
        np.full((3, 5), 9, dtype=np.uint8),
    ],
    ids=["flat", "flat HU", "ramp", "writing alone", "tiny"],
)
def test_pictures_that_show_nothing_are_like_no_other(picture):
    prints = [picture_fingerprint(picture), picture_fingerprint(picture), *OTHERS]
    assert find_copies(prints, [str(n) for n in range(14)], THRESHOLD) == []


def test_pairs_of_one_patient_are_no_finding():
    prints = [picture_fingerprint(speckle(1))] * 3
    found = find_copies(prints, ["a", "a", "b"], THRESHOLD)
    assert {(pair.first, pair.second) for pair in found} == {(0, 2), (1, 2)}
    assert find_copies([], [], THRESHOLD) == []


def found_among(prints):
    found = find_copies(prints, [str(n) for n in range(len(prints))], THRESHOLD)
    return sorted((pair.first, pair.second) for pair in found)


@pytest.mark.parametrize(
    ("per_cell", "flat", "rows"),
    [(700, 2048, 4096), (20, 2048, 4096), (50, 2048, 7), (20, 1, 4096), (50, 3, 7)],
    ids=["as set", "many cells", "small blocks", "two levels", "two levels, small blocks"],
)
def test_cells_and_blocks_find_the_same_pairs(monkeypatch, per_cell, flat, rows):
    prints = [picture_fingerprint(speckle(seed)) for seed in range(12)]
    prints += [picture_fingerprint(np.ascontiguousarray(speckle(seed)[:, ::-1])) for seed in (3, 7)]
    monkeypatch.setattr(cells, "PER_CELL", per_cell)
    monkeypatch.setattr(cells, "FLAT", flat)
    monkeypatch.setattr(cells, "ROWS", rows)
    monkeypatch.setattr(search, "ROWS", rows)
    assert found_among(prints) == [(3, 12), (7, 13)]


def test_cells_lose_no_pair_that_comparing_all_points_finds(monkeypatch):
    pictures = [speckle(seed, anatomy=seed) for seed in range(2 * len(CHANGES))]
    copies = [change(pictures[n]) for n, (change, _) in enumerate(CHANGES.values())]
    prints = [picture_fingerprint(np.ascontiguousarray(picture)) for picture in [*pictures, *copies]]
    monkeypatch.setattr(cells, "PER_CELL", 10**9)  # one cell
    every = found_among(prints)
    assert every == [(n, len(pictures) + n) for n in range(len(copies))]
    monkeypatch.setattr(cells, "PER_CELL", 700)
    for flat in (2048, 1):  # one level, two
        monkeypatch.setattr(cells, "FLAT", flat)
        assert cells.learn(np.concatenate([one.descriptors for one in prints])).count > 5
        assert found_among(prints) == every


def test_processes_find_the_same_pairs(monkeypatch):
    monkeypatch.setattr("dgfnet.audit.copies.FEW", 0)
    prints = [*OTHERS, OTHERS[5]]
    [found] = find_copies(prints, [str(n) for n in range(13)], THRESHOLD, processes=2)
    assert (found.first, found.second) == (5, 12)


@pytest.mark.parametrize(
    ("order", "change"),
    [(1, lambda p: p[:, ::-1]), (2, lambda p: 255 - p), (3, lambda p: 255 - p[:, ::-1])],
    ids=["mirrored", "inverted", "both"],
)
def test_orders_of_a_descriptor_undo_what_was_done_to_the_picture(order, change):
    picture = cv2.GaussianBlur(speckle(0), (0, 0), 2)
    sift = cv2.SIFT.create()
    points, before = sift.detectAndCompute(picture, None)
    others, after = sift.detectAndCompute(np.ascontiguousarray(change(picture)), None)
    place = np.array([point.pt for point in points])
    if order in (1, 3):
        place[:, 0] = picture.shape[1] - 1 - place[:, 0]
    beside = np.linalg.norm(place[:, None] - np.array([point.pt for point in others]), axis=2) < 0.5
    apart = {
        number: np.where(beside, np.linalg.norm(before[:, None, to] - after[None], axis=2), np.inf).min(
            axis=1
        )
        for number, to in enumerate(ORDERS)
    }
    met = np.isfinite(apart[0])
    assert met.sum() >= 20
    medians = {number: np.median(values[met]) for number, values in apart.items()}
    assert min(medians, key=medians.get) == order
    assert medians[order] < 60  # of a length of 512


def test_a_picture_is_laid_on_its_copy_to_the_pixel():
    picture = cv2.resize(speckle(0), (96, 96), interpolation=cv2.INTER_AREA)  # is kept as it is
    matrix = cv2.getRotationMatrix2D((47.5, 47.5), 5, 1.05) + np.array([[0, 0, 3], [0, 0, -2]])
    copy = cv2.warpAffine(picture, matrix, (96, 96), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    prints = [picture_fingerprint(picture), picture_fingerprint(copy)]
    [candidate] = candidates(prints, ["a", "b"])
    found = register(*prints, candidate)
    corners = np.array([[10, 10, 1], [10, 85, 1], [85, 10, 1], [85, 85, 1], [48, 48, 1]])
    there = np.column_stack([corners @ matrix.T, np.ones(5)])
    assert np.abs(there @ found.transform.T - corners[:, :2]).max() < 0.5


def test_the_field_is_found_inside_its_frame():
    field = find_field(framed(speckle(0)))
    expected = (70, 50, 370, 290)
    found = (field.left, field.top, field.right, field.bottom)
    assert (field.height, field.width) == (330, 430)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 8


@pytest.mark.realdata
def test_copies_of_real_pictures_are_found_and_other_cases_are_not():
    if not os.environ.get("DGFNET_DDTI"):
        pytest.skip("DGFNET_DDTI does not name the folder of the public set")
    paths = sorted((Path(os.environ["DGFNET_DDTI"]) / "images").glob("*.jpg"))
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    cases = [path.stem.partition("_")[0] for path in paths]
    prints = [picture_fingerprint(picture) for picture in pictures]
    assert find_copies(prints, cases, THRESHOLD - 0.15) == []
    for kind in ("mirrored", "three tenths cut off", "JPEG 20", "made square", "inverted"):
        change = CHANGES[kind][0]
        copies = [picture_fingerprint(np.ascontiguousarray(change(picture))) for picture in pictures]
        found = find_copies(prints + copies, [*cases, *(f"copy {n}" for n in range(len(copies)))], THRESHOLD)
        hits = {pair.first for pair in found if pair.second == pair.first + len(pictures)}
        print(kind, len(hits), "of", len(pictures))
        assert len(hits) >= 0.97 * len(pictures)
