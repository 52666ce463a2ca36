"""The second style draws the same lesions by other means, and its truth is as true as the first one's."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dgfnet.phantom import (
    enrolment,
    latents,
    pictures,
    second_tomography,
    second_ultrasound,
    tomography,
    ultrasound,
)
from dgfnet.phantom.styles import STYLES

SECOND = ("427e1ca9b28994abaf99569add42994a", "583b09dc1c072c4f38fcbbf1cb399532")  # one patient, each cohort


@pytest.fixture(scope="module", params=["main", "external"])
def both(request, tmp_path_factory):
    """One patient drawn in either style: bytes of every file, and the rows of both tables."""
    z = latents.draw(np.random.default_rng(4))
    patient = enrolment.Patient("A", request.param, 0, z, {"central": 1, "lateral": 0}, 1, None)
    made = {}
    for style in STYLES:
        folder = tmp_path_factory.mktemp(style)
        for name in ("data/us", "data/ct", "truth/signal/us", "truth/signal/ct"):
            (folder / name).mkdir(parents=True)
        rows = pictures.draw_patient((patient, folder / "data", folder / "truth", 3, style))
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        made[style] = files, *rows
    return made


def test_a_patient_has_the_same_files_in_either_style_and_not_one_of_them_is_the_same(both):
    (first, *_), (second, *_) = both["first"], both["second"]
    assert sorted(first) == sorted(second)
    assert len(first) == 4 * 3 + 2 + 3
    assert not [name for name in first if first[name] == second[name]]


def test_the_second_style_is_the_one_it_has_always_been(both):
    files = both["second"][0]
    total = hashlib.md5(usedforsecurity=False)
    for name in sorted(files):
        total.update(name.encode() + b"\0" + files[name])
    assert total.hexdigest() in SECOND


def test_the_record_is_the_same_but_for_what_is_measured_on_the_masks(both):
    (_, first, images), (_, second, others) = both["first"], both["second"]
    measured = {"max_diameter_mm", "aspect_ratio"}
    for one, other in zip(first, second, strict=True):
        assert {name for name in one if one[name] != other[name]} <= measured
        for name in measured:  # the irregular contour alone differs
            assert other[name] == pytest.approx(one[name], rel=0.35)
    for one, other in zip(images, others, strict=True):
        assert {name for name in one if one[name] != other[name]} == {"spacing_mm"}


def moments(speckle, scanner):
    """Mean squared intensity over squared mean intensity, of independent pictures."""
    rng = np.random.default_rng(2)
    intensity = np.stack([speckle((256, 256), scanner, rng) ** 2 for _ in range(12)])
    return (intensity**2).mean() / intensity.mean() ** 2


def test_speckle_is_that_of_few_scatterers():
    """Moments of the intensity: 2 of Rayleigh's, 2 (1 + 1 / shape) of K-distributed speckle."""
    assert moments(ultrasound._speckle, ultrasound.MAIN) == pytest.approx(2, abs=0.05)
    shape = second_ultrasound.SCATTERERS
    assert moments(second_ultrasound._speckle, second_ultrasound.MAIN) == pytest.approx(
        2 * (1 + 1 / shape), abs=0.1
    )


def test_the_contour_has_the_variance_of_the_first_style():
    """Six cosines of amplitude a / sqrt(6) have the variance a^2 / 2."""
    angle = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    for seed in range(5):
        radius = second_ultrasound._contour(angle, 0.1, np.random.default_rng(seed))
        assert radius.mean() == pytest.approx(1, abs=1e-4)
        assert radius.std() == pytest.approx(0.1 * np.sqrt(0.5), rel=1e-3)
        assert radius[0] == pytest.approx(radius[-1], abs=0.01)  # it closes
    np.testing.assert_allclose(second_ultrasound._contour(angle, 0.0, np.random.default_rng(1)), 1)


def us_lesion(dots, contrast=-8.5):
    return ultrasound.UsLesion(14, 10, 14, contrast, 0.0, np.zeros(6), np.array(dots).reshape(-1, 2), 1)


def us_drawn(lesion, lines=False, seed=4):
    scanner = second_ultrasound.MAIN
    drawn = second_ultrasound.draw(lesion, "transverse", lines, scanner, np.random.default_rng(seed))
    picture, mask, plane = drawn
    return picture.astype(float), mask > 0, plane


def test_microcalcifications_are_bright_where_the_truth_says_and_cast_shadows(monkeypatch):
    """The same random stream with and without the shadow: 5 dB of 66 on a map of 255 levels, fading."""
    picture, mask, plane = us_drawn(us_lesion([(0.0, -0.4)]))
    spots = (plane & 4) > 0
    np.testing.assert_array_equal((plane & 1) > 0, mask)
    assert spots.sum() * second_ultrasound.MAIN.spacing_mm**2 == pytest.approx(np.pi * 0.44**2, rel=0.15)
    inner = mask & ~spots & ((plane & 2) == 0)
    assert picture[spots].mean() > picture[inner].mean() + 40
    monkeypatch.setattr(second_ultrasound, "SHADOW_DB", 0.0)
    change = us_drawn(us_lesion([(0.0, -0.4)]))[0] - picture
    row, column = (int(each.mean()) for each in np.nonzero(spots))
    assert 8 < change[row + 6 : row + 10, column].mean() < 5 / 66 * 255 * 1.2
    assert abs(change[: row - 5]).max() < 2  # nothing above it
    assert abs(change[:, : column - 10]).max() < 2  # nor beside


def test_without_calcifications_the_truth_shows_none_and_a_darker_nodule_is_darker():
    levels = []
    for contrast in (-14.0, -8.5, -3.0):
        picture, mask, plane = us_drawn(us_lesion([], contrast))
        assert not (plane & 4).any()
        levels.append(np.median(picture[mask & (plane & 2 == 0)]))
    assert levels[0] < levels[1] - 8 < levels[2] - 16


def test_calipers_are_white_crosses_as_in_the_first_style():
    picture, mask, _ = us_drawn(us_lesion([]), lines=True)
    rows, columns = np.nonzero(mask)
    for x in (columns.min(), columns.max()):
        assert (picture[int(rows.mean()), max(x - 4, 0) : x + 5] == 255).all()


def ct_lesion(extension=0.0, enhancement=85.0, nodes=()):
    return tomography.CtLesion(16, 16, 16, enhancement, extension, np.zeros(6), nodes, 1)


def ct_drawn(lesion, seed=1):
    values, masks, planes = second_tomography.draw(
        lesion, (0.0,), second_tomography.MAIN, np.random.default_rng(seed)
    )
    return values[0].astype(int), masks[0] > 0, planes[0]


def test_lobules_are_where_they_change_the_picture_and_as_large_as_told():
    """The same random stream with and without them; their mean height is 0.6 of the extension."""
    (grown, mask, plane), (plain, _, nothing) = ct_drawn(ct_lesion(0.5)), ct_drawn(ct_lesion())
    assert not (nothing & 2).any()
    lobules = (plane & 2) > 0
    assert not (lobules & mask).any()
    near = cv2.dilate((plane & 2), np.ones((7, 7), np.uint8)) > 0
    assert np.abs(grown - plain)[~near].max() < 5
    assert np.abs(grown - plain)[lobules].mean() > 20
    # area of 1 + h over the circle's is 1 + 2 mean(h) + mean(h^2), from 0.69 up; a contour of 5 % in pixels
    assert 0.62 < lobules.sum() / mask.sum() < 0.85


def test_nodes_are_solid_with_a_cystic_part_and_enhancement_raises_the_nodule():
    values, _, plane = ct_drawn(ct_lesion(nodes=(12.0, 12.0)))
    inside = cv2.erode((plane & 4), np.ones((3, 3), np.uint8)) > 0
    assert np.quantile(values[inside], 0.9) == pytest.approx(150, abs=20)
    assert np.quantile(values[inside], 0.02) < 60
    low, high = (
        np.median(values[mask])
        for values, mask, _ in (ct_drawn(ct_lesion(enhancement=hu)) for hu in (60.0, 120.0))
    )
    assert high - low == pytest.approx(0.9 * 60, abs=3)


def test_noise_is_streaked_along_rows():
    noise = second_tomography._noise(second_tomography.MAIN, np.random.default_rng(1))
    along, across = (noise[:, 6:] * noise[:, :-6]).mean(), (noise[6:] * noise[:-6]).mean()
    assert noise.std() == pytest.approx(12 * np.hypot(0.9, 0.4), rel=0.05)
    assert along > 5 * abs(across)


def test_the_command_makes_the_style_that_is_asked_for_and_says_so(tmp_path):
    params = Path(__file__).parents[2] / "params.yaml"
    wanted = ("phantom.style=second", "phantom.patients=30", "phantom.external_patients=10")
    changes = [word for change in wanted for word in ("--set", change)]
    command = [sys.executable, "-m", "dgfnet.cli", "phantom", "--params", str(params)]
    subprocess.run([*command, *changes, "--out", str(tmp_path / "p")], check=True, capture_output=True)
    assert json.loads((tmp_path / "p" / "phantom.json").read_text())["style"] == "second"
    images = (tmp_path / "p" / "images.csv").read_text()
    assert f",{second_ultrasound.MAIN.spacing_mm}," in images
    assert f",{ultrasound.MAIN.spacing_mm}," not in images
