"""Every centre by itself, and over centres."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from dgfnet.compare import centres
from dgfnet.metrics.intervals import auc_interval


def table(seed, names, n=60):
    generator = np.random.default_rng(seed)
    rows = []
    for name in names:
        label = np.arange(n) % 2
        odds = generator.normal(1.2 * label - 0.6, 1.0)
        rows.append(
            pd.DataFrame(
                {
                    "nodule_id": [f"{name}{k}" for k in range(n)],
                    "patient_id": [f"{name}{k // 2}" for k in range(n)],
                    "label": label,
                    "probability": expit(odds),
                    "threshold": 0.5,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def centre_of(frame):
    return pd.Series(frame["nodule_id"].str[0].to_numpy(), index=frame["nodule_id"])


def test_a_centre_is_measured_on_its_own_nodules():
    frame = table(0, "ab")
    found = centres.table({"dgf": frame}, centre_of(frame), 0.95)
    assert list(found["centre"]) == ["a", "b"]
    part = frame[frame["nodule_id"].str.startswith("b")]
    row = found.iloc[1]
    alone = auc_interval(part["label"], part["probability"], part["patient_id"], 0.95)
    assert (row["n"], row["positives"]) == (60, 30)
    assert (row["auc"], row["low"], row["high"]) == (alone.estimate, alone.low, alone.high)
    calls = part["probability"] >= 0.5
    assert row["sensitivity"] == pytest.approx(calls[part["label"] == 1].mean())
    assert row["specificity"] == pytest.approx(1 - calls[part["label"] == 0].mean())
    assert row["slope"] > 0


def test_a_centre_of_one_class_is_left_out_of_the_mean_and_counted():
    frame = table(1, "abcd")
    frame.loc[frame["nodule_id"].str.startswith("d"), "label"] = 1
    perfect = frame["nodule_id"].str.startswith("c")
    frame.loc[perfect, "probability"] = 0.1 + 0.8 * frame.loc[perfect, "label"]
    rows = centres.table({"dgf": frame}, centre_of(frame), 0.95)
    assert rows.loc[3, ["auc", "specificity", "slope"]].isna().all()
    combined = centres.summary(rows, 0.95)
    (line,) = combined.to_dict("records")
    assert (line["centres"], line["left_out"]) == (2, 2)  # one class alone, and an AUC of 1
    assert math.isnan(line["predicted_low"])
    assert centres.sentence(line).startswith(f"dgf: AUC {line['auc']:.3f} over 2 centres (")


def test_the_mean_lies_between_the_centres_and_a_further_one_is_less_certain():
    frame = table(2, "abcde", n=200)
    rows = centres.table({"dgf": frame, "us": frame.assign(probability=0.5)}, centre_of(frame), 0.95)
    combined = centres.summary(rows, 0.95).set_index("variant")
    line = combined.loc["dgf"]
    own = rows[rows["variant"] == "dgf"]["auc"]
    assert own.min() < line["auc"] < own.max()
    assert line["predicted_low"] <= line["low"] < line["auc"] < line["high"] <= line["predicted_high"]
    assert 0 <= line["inconsistency"] <= 1
    # standard errors of the logits are those of the limits
    one = centres.summary(rows[(rows["variant"] == "dgf") & (rows["centre"] == "a")], 0.95)
    assert logit(one["auc"].iloc[0]) == pytest.approx(logit(own.iloc[0]))
    assert centres.sentence(one.to_dict("records")[0]).endswith("nothing is known of others.")
