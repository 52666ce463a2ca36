"""What encoders tell of measured features, from the fits of pretrain to a sentence of the report."""

import pytest

from dgfnet.pretrain import reading
from dgfnet.report.reading import sentences


def test_r2_is_the_mean_over_the_folds_that_have_it():
    told = [
        ("resnet18", "us", "mean", 0.9),
        ("resnet18", "us", "foci_count", 0.5),
        ("resnet18", "us", "mean", 0.7),
        ("resnet34", "us", "mean", 0.1),
    ]
    rows = reading(told).set_index(["encoder", "modality", "feature"])["r2"]
    assert rows["resnet18", "us", "mean"] == pytest.approx(0.8)
    assert rows["resnet18", "us", "foci_count"] == 0.5
    assert rows["resnet34", "us", "mean"] == pytest.approx(0.1)
    assert reading([]).columns.tolist() == ["encoder", "modality", "feature", "r2"]


def test_a_sentence_counts_what_is_told_and_names_the_least():
    told = [
        *(("resnet18", "us", "mean", 0.95), ("resnet18", "us", "solidity", 0.7)),
        *(("resnet18", "us", "foci_count", -0.2), ("resnet18", "ct", "mean", 0.5)),
    ]
    assert sentences(reading(told)) == [
        "us resnet18: 2 of 3 measured features with an R2 of 0.7 or more on held-out pictures; the least: "
        "foci_count -0.20, solidity 0.70, mean 0.95",
        "ct resnet18: 0 of 1 measured features with an R2 of 0.7 or more on held-out pictures; the least: "
        "mean 0.50",
    ]
    assert sentences(reading([])) == []
