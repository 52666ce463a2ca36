"""Intensity and texture on the digital phantom of the Image Biomarker Standardisation Initiative.

The phantom and its values are those of the IBSI reference manual (arXiv:1612.07003): benchmark tables of the
digital phantom for intensity statistics (3.3), the intensity histogram (3.4) and grey-level co-occurrence
(3.6, "2D, averaged"), to the three digits that the manual gives.
"""

import numpy as np
import pytest

from dgfnet.measured.definitions import DEFINITIONS
from dgfnet.measured.intensity import cooccurrence, discretised, entropy, statistics
from dgfnet.measured.measure import NAMES, measure

# four slices of 4 rows and 5 columns
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
INSIDE = np.ones(PHANTOM.shape, dtype=bool)
INSIDE[1, 2, 0] = INSIDE[2, 2, 2] = False  # the 9 lies outside
INSIDE[2:, 0, 3:] = False
STATISTICS = {"mean": 2.15, "variance": 3.05, "skewness": 1.08, "kurtosis": -0.355, "p10": 1, "p90": 4}
COOCCURRENCE = {
    "contrast": 5.28,
    "inverse_difference_moment": 0.619,
    "correlation": -0.0121,
    "joint_entropy": 2.05,
}


def three_digits(value):
    return float(f"{value:.3g}")


def test_the_phantom_is_the_manuals():
    counts = dict(
        zip(*(array.tolist() for array in np.unique(PHANTOM[INSIDE], return_counts=True)), strict=True)
    )
    assert counts == {1: 50, 3: 1, 4: 16, 6: 7}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics(name):
    assert three_digits(statistics(PHANTOM[INSIDE].astype(float))[name]) == STATISTICS[name]


def test_entropy_of_the_histogram():
    assert three_digits(entropy(PHANTOM[INSIDE])) == 1.27


@pytest.mark.parametrize("name", COOCCURRENCE)
def test_cooccurrence_by_slice_and_direction(name):
    slices = [cooccurrence(*pair)[name] for pair in zip(PHANTOM, INSIDE, strict=True)]
    assert three_digits(np.mean(slices)) == COOCCURRENCE[name]


def test_every_feature_that_carries_a_code_of_a_plane_is_tested_here():
    tested = {*STATISTICS, "entropy", *(f"glcm_{name}" for name in COOCCURRENCE)}
    assert {entry.name for entry in DEFINITIONS if entry.ibsi and "2D" not in entry.ibsi} == tested


def test_a_measured_picture_has_the_statistics_of_its_nodule():
    """The first slice as a picture; counted by hand: 1 nine times, 4 eight times, 6 three times."""
    values = measure(PHANTOM[0].astype(np.uint8), INSIDE[0], (2.0, 2.0), "us")
    # 9 + 32 + 18 = 59 over 20; squares 9 + 128 + 108 = 245
    assert values["mean"] == pytest.approx(59 / 20)
    assert values["variance"] == pytest.approx(245 / 20 - (59 / 20) ** 2)
    shares = np.array([9, 8, 3]) / 20
    assert values["entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert list(values) == list(NAMES["us"])


def test_bins_are_equally_wide_and_the_largest_grey_level_lies_in_the_last():
    assert discretised(np.array([0.0, 0.99, 1.0, 2.0, 3.5, 4.0]), 4).tolist() == [1, 1, 2, 3, 4, 4]
    assert discretised(np.full(3, 7.0)).tolist() == [1, 1, 1]
