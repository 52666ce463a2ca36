"""Measured features as targets, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from dgfnet.dataset.batch import Batch
from dgfnet.dataset.features import LIMIT, feature_targets
from dgfnet.measured.definitions import NAMES


def measured(us, units=None, **columns):
    """A table of `us` pictures in which every feature but the named ones is 1."""
    rows = pd.DataFrame(dict.fromkeys(NAMES["us"], [1.0] * us)).assign(**columns)
    return rows.assign(modality="us", row=range(us), unit=units or ["grey"] * us)


def column(targets, name):
    return targets["us"][:, NAMES["us"].index(name)]


def test_values_are_standardised_on_the_training_pictures_alone():
    table = measured(4, solidity=[1.0, 3.0, 5.0, 400.0])
    targets = feature_targets(table, {"us": np.array([0, 1])})  # mean 2, deviation 1
    assert column(targets, "solidity").tolist() == [-1.0, 1.0, 3.0, LIMIT]
    assert targets["us"].shape == (4, len(NAMES["us"]))
    assert targets["us"].dtype == np.float32


def test_rows_go_by_their_number_and_not_by_their_place():
    table = measured(3, solidity=[0.0, 2.0, 4.0]).iloc[[2, 0, 1]]
    targets = feature_targets(table, {"us": np.array([0, 1])})
    assert column(targets, "solidity").tolist() == [-1.0, 1.0, 3.0]


def test_gaps_stay_gaps_and_do_not_count():
    table = measured(4, area_mm2=[1.0, np.nan, 3.0, np.inf])
    targets = feature_targets(table, {"us": np.array([0, 1, 2])})
    np.testing.assert_array_equal(column(targets, "area_mm2"), [-1.0, np.nan, 1.0, np.nan])


@pytest.mark.parametrize("value", [0.1, 1e9, np.nan])
def test_nothing_is_learnt_of_what_is_the_same_everywhere(value):
    table = measured(7, solidity=[value] * 7)
    assert np.isnan(column(feature_targets(table, {"us": np.arange(7)}), "solidity")).all()


def test_grey_levels_are_not_learnt_beside_hounsfield_units():
    values = {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 2.0, 3.0], "solidity": [1.0, 2.0, 3.0]}
    mixed = feature_targets(measured(3, ["grey", "HU", "grey"], **values), {"us": np.arange(3)})
    assert np.isnan(column(mixed, "mean")).all()
    assert np.isnan(column(mixed, "variance")).all()
    assert not np.isnan(column(mixed, "solidity")).any()
    alike = feature_targets(measured(3, **values), {"us": np.arange(3)})
    assert not np.isnan(column(alike, "mean")).any()


@pytest.mark.parametrize("wrong", [torch.zeros(3, 5), torch.zeros(2), torch.zeros(2, 5).double()])
def test_a_batch_refuses_features_of_another_shape_or_type(wrong):
    picture, mask = torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2, 2, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"features\[us\] must be \(2, F\) float32"):
        Batch({"us": picture}, {"us": mask}, torch.zeros(2), torch.zeros(2).long(), {"us": wrong})
