"""Warnings about crops unlike those of training, by hand."""

import numpy as np
import pytest

from dgfnet.bundle.ranges import features, outside, training_limits


def test_features_by_hand():
    crop = np.array([[[0, 2], [4, 250]]], np.uint8)
    values = {name: column[0] for name, column in features(crop).items()}
    assert values["brightness"] == pytest.approx(64)
    assert values["contrast"] == pytest.approx(np.sqrt((64**2 + 62**2 + 60**2 + 186**2) / 4))
    assert values["share of black"] == pytest.approx(0.5)


def test_one_in_a_hundred_of_the_training_crops_is_outside_per_feature():
    crops = np.random.default_rng(0).integers(0, 256, (1000, 8, 8), dtype=np.uint8)
    sentences = outside(crops, training_limits(crops))
    for name in features(crops):
        assert sum(any(text.startswith(name) for text in texts) for texts in sentences) <= 10
    assert sum(map(bool, sentences)) >= 10


def test_a_bright_crop_is_named_with_what_training_had():
    trained = np.full((50, 4, 4), 100, np.uint8)
    trained[:, 0, 0] = np.arange(50) + 75
    sentences = outside(
        np.concatenate([trained[30:31], np.full((1, 4, 4), 250, np.uint8)]), training_limits(trained)
    )
    assert sentences[0] == []
    assert sentences[1][0] == "brightness 250, training 98.5 to 101"
    assert sentences[1][1].startswith("contrast 0, training ")
    assert len(sentences[1]) == 2
