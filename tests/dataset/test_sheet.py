"""The contact sheet of augmented pictures."""

import cv2
import numpy as np
import pytest

from dgfnet.dataset.sheet import DRAWS, PICTURES, write_augmented_sheet

OFF = {"probability": 0.0}
BENT = {
    **{"probability": 1.0, "rotation_degrees": 0.0, "smallest_crop": 1.0, "brightness": 0.0, "contrast": 0.0},
    **{"elastic_displacement": 0.03, "elastic_smoothness": 0.08},
}


@pytest.mark.parametrize(("changes", "alike"), [(OFF, True), (BENT, False)])
def test_a_line_shows_a_picture_as_it_is_and_as_it_is_changed(blobs, tiny, tmp_path, changes, alike):
    settings = tiny.training.augment.model_copy(update=changes)
    write_augmented_sheet(tmp_path / "sheet.png", blobs, "us", settings, seed=1)
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
