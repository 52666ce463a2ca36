"""Rank correlations between networks whose agreement is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from dgfnet.attribution.repeatability import ExternalExplanation, blocks, fault, judged, summary

COUNT = 12
HOW = (0.95, 200, 0)  # confidence, replicates, seed


def network(us, ct, maps):
    ids = {"nodule_id": [f"E{n}" for n in range(COUNT)], "patient_id": [f"P{n}" for n in range(COUNT)]}
    table = pd.DataFrame(ids | {"us": us, "ct": ct})
    return ExternalExplanation(table.assign(log_odds=table["us"] + table["ct"]), maps)


def drawn(seed):
    """The same maps for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(COUNT, 16, 16, generator=generator) for name in ("us", "ct")}


def test_networks_that_rank_alike_agree_whatever_their_scale():
    us = np.linspace(-1, 2, COUNT)
    doubled = {name: 2 * values for name, values in drawn(0).items()}
    folds = [network(us, us**3, drawn(0)), network(5 * us + 1, np.exp(us), doubled)]
    agreement = summary(folds, None, *HOW)
    assert (agreement["nodules"], agreement["folds"], agreement["random_labels"]) == (COUNT, 2, None)
    assert agreement["labels_matter"] is None
    for name in ("us", "ct", "prediction", "maps", "blocks"):
        assert agreement["pairs"][name] == pytest.approx({"median": 1, "low": 1, "high": 1})


def test_the_median_and_the_range_are_those_of_the_pairs():
    """Ranks of us: up, up, down: of three pairs one agrees and two disagree."""
    up, flat = np.arange(COUNT, dtype=float), np.zeros(COUNT)
    folds = [network(up, flat, drawn(0)), network(up, flat, drawn(1)), network(-up, flat, drawn(0))]
    pairs = summary(folds, None, *HOW)["pairs"]
    assert pairs["us"] == pytest.approx({"median": -1, "low": -1, "high": 1})
    assert all(np.isnan(value) for value in pairs["ct"].values())  # nothing to rank
    assert pairs["maps"]["high"] == pytest.approx(1)
    assert abs(pairs["maps"]["median"]) < 0.05


def test_the_random_label_model_is_paired_with_every_fold_and_with_no_other():
    up = np.arange(COUNT, dtype=float)
    folds = [network(up, up, drawn(0)), network(up, up, drawn(0))]
    agreement = summary(folds, network(-up, up, drawn(1)), *HOW)
    assert agreement["pairs"]["us"]["low"] == pytest.approx(1)
    assert agreement["random_labels"]["us"] == pytest.approx({"median": -1, "low": -1, "high": -1})
    assert abs(agreement["random_labels"]["maps"]["median"]) < 0.05


def noisy(signal, seed):
    """Pixels of which 4 % of the variance are the same in every network."""
    noise = drawn(seed)
    return {name: 0.2 * values + noise[name] for name, values in signal.items()}


def coarse():
    """Ones and minus ones in blocks of two pixels: an eighth of the side of 16."""
    small = {name: torch.sign(values[:, :8, :8]) for name, values in drawn(9).items()}
    return {
        name: values.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2) for name, values in small.items()
    }


def test_blocks_show_what_pixels_hide():
    up = np.arange(COUNT, dtype=float)
    folds = [network(up, up, noisy(coarse(), seed)) for seed in range(3)]
    pairs = summary(folds, None, *HOW)["pairs"]
    # by hand: 0.04 / 1.04 of the variance of pixels is shared, 0.04 / (0.04 + 1 / 4) of that of blocks
    assert pairs["maps"]["median"] == pytest.approx(0.04 / 1.04, abs=0.03)
    assert pairs["blocks"]["median"] == pytest.approx(0.04 / 0.29, abs=0.06)


def test_blocks_are_means_in_their_places():
    ramp = torch.arange(32.0).expand(2, 32, 32)
    assert blocks({"us": ramp})["us"][1, 5].tolist() == [1.5 + 4 * n for n in range(8)]


def test_labels_matter_when_folds_are_more_alike_than_with_the_random_label_model():
    up = np.arange(COUNT, dtype=float)
    folds = [network(up, up, noisy(coarse(), seed)) for seed in range(3)]
    agreement = summary(folds, network(up, up, drawn(7)), *HOW)
    more = agreement["labels_matter"]
    expected = agreement["pairs"]["blocks"]["median"] - agreement["random_labels"]["blocks"]["median"]
    assert more["estimate"] == pytest.approx(expected, abs=0.05)
    assert 0 < more["low"] < more["estimate"] < more["high"]
    assert fault(agreement) is None


def test_a_random_label_model_that_is_as_alike_as_any_is_a_fault():
    up = np.arange(COUNT, dtype=float)
    folds = [network(up, up, noisy(coarse(), seed)) for seed in range(3)]
    agreement = summary(folds, network(up, up, noisy(coarse(), 7)), *HOW)
    assert "not shown to be more alike" in fault(agreement)
    checks = judged({"passed": True, "failed": [], "nodules": 8}, agreement)
    assert checks == {"passed": False, "failed": [fault(agreement)], "nodules": 8}
    assert judged({"passed": False, "failed": ["noise"]}, agreement)["failed"] == ["noise", fault(agreement)]
    assert judged({"passed": True, "failed": []}, {"reason": "nobody knows"})["passed"]
    assert fault(summary(folds, None, *HOW)) is None
