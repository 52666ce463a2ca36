"""What experiments are compared by: few nodules, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from dgfnet.compare import curves
from dgfnet.compare.usefulness import calibration
from dgfnet.metrics.discrimination import roc_curve


@pytest.fixture
def table():
    """Falling probabilities, two of four with metastasis: the first and the third."""
    return pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "label": [1, 0, 1, 0],
            "probability": [0.9, 0.8, 0.7, 0.1],
            "threshold": [0.5] * 4,
        }
    )


def test_a_roc_curve_is_read_at_even_steps_and_jumps_where_it_rises(table):
    curve = curves.roc({"dgf": table})
    assert list(curve["variant"].unique()) == ["dgf"]
    sensitivity = curve.set_index("false_positive_rate")["sensitivity"]
    assert len(sensitivity) == 101
    # the first is found without a false alarm, the second only after one of the two others
    assert (sensitivity[:0.49] == 0.5).all()
    assert (sensitivity[0.5:] == 1.0).all()


def test_a_rate_that_is_not_quite_a_step_counts_as_the_step():
    label = [0] * 57 + [1] + [0] * 43  # in the order of falling probabilities
    table = pd.DataFrame({"label": label, "probability": [rank / 101 for rank in range(101, 0, -1)]})
    sensitivity = curves.roc({"dgf": table}).set_index("false_positive_rate")["sensitivity"]
    assert (sensitivity[0.56], sensitivity[0.57]) == (0.0, 1.0)


def test_a_calibration_curve_has_shares_of_its_bins(table):
    curve = curves.calibration({"dgf": table, "concat": table.assign(probability=0.5)})
    alone = curve[curve["variant"] == "concat"].to_dict("records")
    assert alone == [{"variant": "concat", "predicted": 0.5, "observed": 0.5, "n": 4}]
    dgf = curve[curve["variant"] == "dgf"]
    assert list(dgf["predicted"]) == [0.1, 0.7, 0.8, 0.9]
    assert list(dgf["observed"]) == [0.0, 1.0, 0.0, 1.0]


def test_metrics_are_the_pooled_ones_with_the_error_of_the_probabilities(table):
    pooled = {"auc": 0.75, "sensitivity": 1.0, "specificity": 0.5, "f1": 0.8}
    told = curves.metrics({"dgf": {"pooled": pooled}}, calibration({"dgf": table}, []))["dgf"]
    assert list(told) == ["auc", "sensitivity", "specificity", "brier", "calibration_slope"]
    assert (told["auc"], told["sensitivity"], told["specificity"]) == (0.75, 1.0, 0.5)
    assert told["brier"] == pytest.approx((0.1**2 + 0.8**2 + 0.3**2 + 0.1**2) / 4)


def resampled(table, confidence, replicates, seed):
    """The limits by drawing the rows of every replicate and sorting them anew."""
    rows_of = list(table.reset_index(drop=True).groupby("patient_id").indices.values())
    generator, sensitivities = np.random.default_rng(seed), []
    for _ in range(replicates):
        drawn = generator.integers(len(rows_of), size=len(rows_of))
        rows = table.iloc[np.concatenate([rows_of[number] for number in drawn])]
        if rows["label"].nunique() == 2:
            across, up = roc_curve(rows["label"], rows["probability"])
            sensitivities.append(np.interp(curves.GRID, across, up))
    return np.quantile(sensitivities, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


@pytest.mark.parametrize(("patients", "decimals"), [(300, 9), (300, 1), (4, 9)], ids=["plain", "ties", "few"])
def test_a_band_is_that_of_drawing_and_sorting_the_rows(patients, decimals):
    rng = np.random.default_rng(patients)
    owner = rng.integers(patients, size=2 * patients)
    label = owner % 2 if patients == 4 else rng.integers(2, size=owner.size)  # some samples have one class
    probability = rng.uniform(0, 0.8, owner.size) + 0.2 * label
    table = pd.DataFrame(
        {"patient_id": owner.astype(str), "label": label, "probability": probability.round(decimals)}
    )
    found = curves.band(table, 0.9, 60, 5)
    assert np.abs(np.array(found) - resampled(table, 0.9, 60, 5)).max() < 1e-12
    assert (found[0] <= found[1]).all()


def test_a_band_without_errors_is_the_corner():
    table = pd.DataFrame(
        {"patient_id": list("abcdefgh"), "label": [0, 1] * 4, "probability": [0.1, 0.9, 0.2, 0.8] * 2}
    )
    low, high = curves.band(table, 0.95, 100, 0)
    assert (low == 1).all()
    assert (high == 1).all()
