"""US against CT, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from dgfnet.compare.modalities import COLUMNS, sentences, table


def of(probability, threshold=0.5):
    """Six positives and six negatives, a patient each."""
    frame = pd.DataFrame({"label": [1] * 6 + [0] * 6, "probability": probability, "threshold": threshold})
    return frame.assign(patient_id=np.arange(12).astype(str))


# US calls nine of twelve: all six positives, three of the negatives
US = of([0.9, 0.8, 0.7, 0.65, 0.6, 0.55, 0.85, 0.75, 0.52, 0.1, 0.1, 0.1])
# CT calls three of twelve, all of them positive
CT = of([0.9, 0.8, 0.7, 0.2, 0.1, 0.05, 0.4, 0.3, 0.25, 0.1, 0.1, 0.01])


def test_sensitivity_and_specificity_are_compared_at_both_thresholds():
    found = table({"us_multitask": US, "ct_multitask": CT}, 0.95)
    assert found.columns.tolist() == COLUMNS
    rows = found.set_index(["thresholds", "measure"])[["value_a", "value_b", "estimate"]]
    assert rows.loc["own", "sensitivity"].tolist() == pytest.approx([1, 0.5, 0.5])
    assert rows.loc["own", "specificity"].tolist() == pytest.approx([0.5, 1, -0.5])
    # six of each: US takes 0.9 0.85 0.8 0.75 0.7 0.65, of which two are negative; CT 0.9 to 0.25, three
    assert rows.loc["matched", "sensitivity"].tolist() == pytest.approx([4 / 6, 3 / 6, 1 / 6])
    assert rows.loc["matched", "specificity"].tolist() == pytest.approx([4 / 6, 3 / 6, 1 / 6])


def test_the_sentence_says_what_is_seen():
    (said,) = sentences(table({"us_multitask": US, "ct_multitask": CT}, 0.95))
    assert said.startswith(
        "That ultrasound is more sensitive and CT more specific is seen here: us_multitask"
    )
    (said,) = sentences(table({"us_multitask": CT, "ct_multitask": US}, 0.95))
    assert "is not seen here" in said
    (said,) = sentences(table({"us_multitask": US, "ct_multitask": US}, 0.95))
    assert "is not seen here" in said


def test_without_both_networks_or_both_classes_there_is_nothing_to_say():
    assert sentences(table({"us_multitask": US}, 0.95)) == []
    alone = {name: frame.assign(label=1) for name, frame in {"us_resnet": US, "ct_resnet": CT}.items()}
    assert table(alone, 0.95).empty
