"""The contact sheet of augmented pictures."""

import cv2
import numpy as np
import pytest

from dgfnet.dataset.sheet import DRAWS, PICTURES, write_augmented_sheet


@pytest.mark.parametrize(
    ("changes", "alike"), [({"probability": 0.0}, True), ({"elastic_displacement": 0.03}, False)]
)
def test_a_line_shows_a_picture_as_it_is_and_as_it_is_changed(blobs, only, tmp_path, changes, alike):
    write_augmented_sheet(tmp_path / "sheet.png", blobs, "us", only(**changes), seed=1)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    side = sheet.shape[1] // (1 + DRAWS)
    assert sheet.shape == (PICTURES * side, (1 + DRAWS) * side, 3)
    for line in range(PICTURES):
        tiles = [
            sheet[line * side : (line + 1) * side, column * side : (column + 1) * side]
            for column in range(1 + DRAWS)
        ]
        below = [tile[24:] for tile in tiles]  # the caption says something else in each
        assert below[0].any()
        for drawn in below[1:]:
            assert np.array_equal(drawn, below[0]) == alike


def test_the_same_seed_draws_the_same_sheet(blobs, tiny, tmp_path):
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_augmented_sheet(tmp_path / name, blobs, "ct", tiny.training.augment, seed)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] != written[2]
