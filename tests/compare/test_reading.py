"""What encoders tell of measured features, from the metrics of crossval."""

import pandas as pd

from dgfnet.compare import reading
from dgfnet.crossval import summarise

SCORES = {"auc": 0.5}


def test_r2_is_the_mean_over_the_folds_that_have_it():
    table = pd.DataFrame({"label": [0, 1, 0, 1], "probability": [0.1, 0.9, 0.2, 0.8], "threshold": 0.5})
    table["patient_id"] = ["a", "b", "c", "d"]
    plain = {"key": "k", "threshold": 0.5, "scores": SCORES, "dice": {}, "iou": {}}
    told = [{"us_mean": 0.9, "us_foci_count": 0.5}, {"us_mean": 0.7}]
    metrics = summarise(table, [plain | {"measured_r2": values} for values in told], 0.95)
    assert metrics["measured_r2"] == {"us_mean": 0.8, "us_foci_count": 0.5}
    assert "measured_r2" not in summarise(table, [plain, plain | {"measured_r2": {}}], 0.95)


def test_a_sentence_counts_what_is_told_and_names_the_least():
    results = {
        "us_multitask": {"measured_r2": {"us_mean": 0.95, "us_solidity": 0.7, "us_foci_count": -0.2}},
        "radiomics": {},
    }
    rows = reading.table(results)
    assert rows["variant"].unique().tolist() == ["us_multitask"]
    assert reading.sentences(rows) == [
        "Of 3 measured features the encoders of us_multitask tell 2 with an R2 of 0.7 or more on held-out "
        "pictures; the least: us_foci_count -0.20, us_solidity 0.70, us_mean 0.95."
    ]
    assert reading.sentences(reading.table({"radiomics": {}})) == []
