"""Maps of covered blocks, held against scoring covered pictures one by one."""

import numpy as np
import pytest
from made import SIDE
from scipy.special import logit

from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.occlusion import occlusion

NOISE = np.random.default_rng(8)


def pictures(count):
    return NOISE.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


@pytest.mark.parametrize("counts", [(1, 1), (3, 2), (1, 3)])
@pytest.mark.parametrize("modality", ["us", "ct"])
def test_a_block_counts_what_covering_it_takes_away(scoring, modality, counts):
    album = {"us": [pictures(counts[0])], "ct": [pictures(counts[1])]}
    values = occlusion(scoring, album, modality, blocks=4)
    assert values.shape == (4, 4)
    whole = logit(scoring.score(album)["probability"][0])
    for row, column in ((0, 0), (1, 3), (3, 2)):
        covered = album[modality][0].copy()
        own = np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        covered[0][own] = scoring.reference[modality][own]
        without = logit(scoring.score({**album, modality: [covered]})["probability"][0])
        assert values[row, column] == pytest.approx(whole - without, abs=1e-5)
    assert np.abs(values).max() > 1e-3


def test_the_mean_crop_speaks_neither_for_nor_against(scoring):
    album = {"us": [scoring.reference["us"][None]], "ct": [pictures(1)]}
    np.testing.assert_allclose(occlusion(scoring, album, "us"), 0, atol=1e-6)


def test_blocks_that_do_not_divide_the_side_cover_all_of_it(scoring):
    """With one block the whole picture is the mean crop, with five none is left out."""
    album = {"us": [pictures(1)], "ct": [pictures(1)]}
    (whole,) = occlusion(scoring, album, "us", blocks=1).ravel()
    mean = {**album, "us": [scoring.reference["us"][None]]}
    odds = [logit(scoring.score(each)["probability"][0]) for each in (album, mean)]
    assert whole == pytest.approx(odds[0] - odds[1], abs=1e-5)
    assert occlusion(scoring, album, "us", blocks=5).shape == (5, 5)


def test_it_stops_when_nobody_waits_any_longer(scoring):
    album = {"us": [pictures(1)], "ct": [pictures(1)]}
    with pytest.raises(TimeoutError):
        occlusion(scoring, album, "us", end=0.0)
