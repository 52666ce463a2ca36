"""Rank correlations between networks whose agreement is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from dgfnet.attribution.repeatability import Elsewhere, summary

COUNT = 12


def network(us, ct, maps):
    table = pd.DataFrame({"nodule_id": [f"E{n}" for n in range(COUNT)], "us": us, "ct": ct})
    return Elsewhere(table.assign(log_odds=table["us"] + table["ct"]), maps)


def drawn(seed):
    """The same maps for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(COUNT, 16, 16, generator=generator) for name in ("us", "ct")}


def test_networks_that_rank_alike_agree_whatever_their_scale():
    us = np.linspace(-1, 2, COUNT)
    doubled = {name: 2 * values for name, values in drawn(0).items()}
    folds = [network(us, us**3, drawn(0)), network(5 * us + 1, np.exp(us), doubled)]
    found = summary(folds, None)
    assert (found["nodules"], found["folds"], found["random_labels"]) == (COUNT, 2, None)
    for name in ("us", "ct", "prediction", "maps"):
        assert found["pairs"][name] == pytest.approx({"median": 1, "low": 1, "high": 1})


def test_the_median_and_the_range_are_those_of_the_pairs():
    """Ranks of us: up, up, down: of three pairs one agrees and two disagree."""
    up, flat = np.arange(COUNT, dtype=float), np.zeros(COUNT)
    folds = [network(up, flat, drawn(0)), network(up, flat, drawn(1)), network(-up, flat, drawn(0))]
    pairs = summary(folds, None)["pairs"]
    assert pairs["us"] == pytest.approx({"median": -1, "low": -1, "high": 1})
    assert all(np.isnan(value) for value in pairs["ct"].values())  # nothing to rank
    assert pairs["maps"]["high"] == pytest.approx(1)
    assert abs(pairs["maps"]["median"]) < 0.05


def test_the_senseless_network_is_paired_with_every_fold_and_with_no_other():
    up = np.arange(COUNT, dtype=float)
    folds = [network(up, up, drawn(0)), network(up, up, drawn(0))]
    found = summary(folds, network(-up, up, drawn(1)))
    assert found["pairs"]["us"]["low"] == pytest.approx(1)
    assert found["random_labels"]["us"] == pytest.approx({"median": -1, "low": -1, "high": -1})
    assert abs(found["random_labels"]["maps"]["median"]) < 0.05
