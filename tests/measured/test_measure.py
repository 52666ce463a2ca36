"""Every mask gives its features: which are NaN and when, crops, bad input, the nodule of several pictures."""

import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dgfnet.errors import InputError
from dgfnet.measured.definitions import DEFINITIONS
from dgfnet.measured.measure import NAMES, measure, measure_nodule
from dgfnet.measured.region import region_of
from dgfnet.vocabulary import MODALITIES

DOCS = Path(__file__).parents[2] / "docs"
SIZE = 120
Y, X = np.mgrid[:SIZE, :SIZE]
IN_MM = {"area_mm2", "equivalent_diameter_mm", "maximum_diameter_mm"}
UNKNOWN = {"us": IN_MM | {"foci_per_cm2"}, "ct": IN_MM | {"cores_area_mm2", "bodies_area_mm2"}}
TEXTURE = {name for name in NAMES["us"] if name.startswith("glcm_")}
OUTSIDE = {"surrounding_difference", "boundary_step"}
MASKS = {
    "disc": (np.hypot(Y - 60, X - 60) < 20, set(), set()),
    "pixel": ((Y == 60) & (X == 60), TEXTURE, set()),
    "two pixels apart": ((Y == 60) & ((X == 50) | (X == 70)), TEXTURE, set()),
    "row": ((Y == 60) & (X > 30) & (X < 90), set(), set()),
    "column": ((X == 60) & (Y > 30) & (Y < 90), set(), set()),
    "diagonal": ((X == Y) & (Y > 30) & (Y < 90), set(), set()),
    "ring": ((np.hypot(Y - 60, X - 60) < 30) & (np.hypot(Y - 60, X - 60) > 20), set(), set()),
    "corner": ((Y < 30) & (X < 20), set(), set()),
    "lower edge": ((Y > 90) & (X > 40) & (X < 80), set(), {"posterior_difference"}),
    "whole picture": (
        np.ones((SIZE, SIZE), dtype=bool),
        OUTSIDE,
        {"posterior_difference", "growth_difference"},
    ),
}


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("spacing", [(0.3, 0.3), (0.2, 0.5), None], ids=["square", "oblong", "unknown"])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("name", MASKS)
def test_features_are_numbers_but_where_they_do_not_exist(name, modality, spacing):
    mask, missing, of_modality = MASKS[name]
    found = measure(noise(), mask, spacing, modality)
    assert tuple(found) == NAMES[modality]
    expected = missing | (of_modality & set(found)) | (set() if spacing else UNKNOWN[modality])
    assert {key for key, value in found.items() if np.isnan(value)} == expected
    assert all(isinstance(value, float) and not np.isinf(value) for value in found.values())


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("grey", [0, 255, -1024])
def test_a_picture_of_one_grey_level_has_no_differences(modality, grey):
    found = measure(np.full((SIZE, SIZE), grey, dtype=np.int16), MASKS["disc"][0], (0.3, 0.3), modality)
    assert found["mean"] == found["p10"] == found["p90"] == grey
    for name in ("variance", "skewness", "kurtosis", "entropy", "glcm_contrast", "surrounding_difference"):
        assert found[name] == 0
    assert found["glcm_correlation"] == 1


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_same_picture_gives_the_same_numbers_whatever_its_type(modality):
    mask = MASKS["disc"][0]
    results = [
        measure(noise().astype(kind), mask.astype(kind_of_mask), (0.3, 0.3), modality)
        for kind, kind_of_mask in (
            (np.uint8, bool),
            (np.float32, np.uint8),
            (np.int16, bool),
            (np.float64, bool),
        )
    ]
    assert all(found == results[0] for found in results)


@pytest.mark.parametrize("spacing", [(0.5, 0.5), None])
@pytest.mark.parametrize("modality", MODALITIES)
def test_what_lies_beyond_the_neighbourhood_does_not_matter(modality, spacing):
    """Of a disc of 12 pixels 18 around it count, on CT 15 mm: 30 (26 where 12 pixels are taken for 7 mm)."""
    rng = np.random.default_rng(4)
    whole = rng.integers(0, 256, (200, 220)).astype(np.uint8)
    y, x = np.mgrid[:200, :220]
    mask = np.hypot(y - 90, x - 120) < 12
    crop = np.s_[90 - 46 : 90 + 46, 120 - 46 : 120 + 46]
    assert measure(whole[crop], mask[crop], spacing, modality) == pytest.approx(
        measure(whole, mask, spacing, modality), rel=1e-9, nan_ok=True
    )


@pytest.mark.parametrize("name", MASKS)
def test_distances_of_square_and_of_oblong_pixels_agree(name):
    mask = MASKS[name][0]
    square, oblong = (region_of(noise(), mask, (0.3, width)).distance for width in (0.3, 0.3 + 1e-12))
    assert square == pytest.approx(oblong, abs=1e-4)
    assert (square[region_of(noise(), mask, (0.3, 0.3)).inside] < 0).all()


def test_the_distance_is_that_from_the_edge_of_the_pixels():
    """Beside a square of pixels of 2 mm the first centre lies 1 mm from the edge, the next 3 mm."""
    mask = np.zeros((9, 9), dtype=bool)
    mask[3:6, 3:6] = True
    region = region_of(np.zeros((9, 9)), mask, (2.0, 2.0))
    row = np.flatnonzero(region.inside.any(axis=1))[1]
    assert region.distance[row].tolist() == [5, 3, 1, -1, -3, -1, 1, 3, 5]


def test_large_pictures_cost_their_neighbourhood():
    """A picture of 4000 x 4000 is not copied as numbers of 8 bytes (128 MB)."""
    picture = np.zeros((4000, 4000), dtype=np.uint8)
    mask = np.zeros(picture.shape, dtype=bool)
    mask[2000:2060, 2000:2080] = True
    tracemalloc.start()
    measure(picture, mask, (0.1, 0.1), "us")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize(
    ("picture", "mask", "spacing", "words"),
    [
        (np.zeros((4, 5)), np.ones((5, 4), dtype=bool), None, r"the picture is \(4, 5\), the mask \(5, 4\)"),
        (np.zeros((4, 5, 3)), np.ones((4, 5, 3), dtype=bool), None, r"the picture is \(4, 5, 3\)"),
        (np.zeros((4, 5)), np.zeros((4, 5), dtype=bool), None, "the mask is empty"),
        (np.zeros((4, 5)), np.ones((4, 5), dtype=bool), (0.1, 0.0), r"the pixel spacing is \(0.1, 0.0\)"),
        (np.zeros((4, 5)), np.ones((4, 5), dtype=bool), (np.nan, 0.1), "the pixel spacing is"),
        (
            np.full((4, 5), np.nan),
            np.ones((4, 5), dtype=bool),
            None,
            "NaN or infinite pixels near the nodule",
        ),
    ],
)
def test_bad_input_is_refused_with_what_was_found(picture, mask, spacing, words):
    with pytest.raises(InputError, match=f"^measured features: .*{words}"):
        measure(picture, mask, spacing, "us")


def test_a_nodule_is_the_median_of_its_pictures():
    pictures = [
        {"a": 1.0, "b": np.nan, "c": 5.0},
        {"a": 2.0, "b": np.nan, "c": np.nan},
        {"a": 9.0, "b": np.nan, "c": 7.0},
    ]
    assert measure_nodule(pictures) == pytest.approx({"a": 2.0, "b": np.nan, "c": 6.0}, nan_ok=True)


def test_a_nodule_needs_pictures_of_one_modality():
    with pytest.raises(InputError, match="without pictures"):
        measure_nodule([])
    with pytest.raises(InputError, match="different modalities"):
        measure_nodule([{"a": 1.0}, {"b": 1.0}])


def test_the_page_is_the_one_that_make_docs_writes():
    script = runpy.run_path(str(DOCS / "measured_page.py"))
    text = script["PAGE"].read_text(encoding="utf-8")
    assert script["page"](text) == text, "run make docs"
    assert all(text.count(f"- `{entry.name}`") == 1 for entry in DEFINITIONS)


def test_names_stand_once_and_each_modality_has_its_own():
    assert all(len(set(NAMES[modality])) == len(NAMES[modality]) for modality in MODALITIES)
    assert len({entry.name for entry in DEFINITIONS}) == len(DEFINITIONS)
    assert len(NAMES["us"]) == 28
    assert len(NAMES["ct"]) == 30
