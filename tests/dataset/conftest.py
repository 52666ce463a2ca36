from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dgfnet.training.partition import select
from tiny_archive import blob, numbered, write_archive

# nodule, patient, areas of its images; the largest is the first, the last or one between
COHORT = [
    ("N1", "P1", {"us": [30, 90, 60], "ct": [5]}),
    ("N2", "P1", {"us": [80, 10], "ct": [3, 4, 9]}),
    ("N3", "P2", {"us": [20], "ct": [7, 2]}),
    ("N4", "P3", {"us": [11, 12, 13, 14], "ct": [8, 6]}),
    ("N5", "P4", {"us": [50, 40], "ct": [2, 1]}),
]
LABELS = [1.0, 0.0, 0.0, np.nan, 1.0]


def table():
    rows = [
        (nodule, patient, "main", label) for (nodule, patient, _), label in zip(COHORT, LABELS, strict=True)
    ]
    return pd.DataFrame(rows, columns=["nodule_id", "patient_id", "cohort", "lnm_central"])


@pytest.fixture(scope="session")
def by_number(tmp_path_factory, tiny):
    """An archive whose grey values are row numbers."""
    return write_archive(tmp_path_factory.mktemp("numbered"), tiny.preprocess, COHORT, numbered)


@pytest.fixture(scope="session")
def blobs(tmp_path_factory, tiny):
    """An archive whose image, nodule and boundary are one picture."""
    return write_archive(tmp_path_factory.mktemp("blobs"), tiny.preprocess, COHORT, blob)


@pytest.fixture(scope="session")
def nodules(by_number):
    """All nodules of the cohort; rows and areas are those of both archives."""
    return select(table(), by_number, "central")


@pytest.fixture
def only(tiny):
    """The augmentation with every transform drawn and at rest but for the given ones; a flip has no rest."""
    still = {
        **{"probability": 1.0, "rotation_degrees": 0.0, "smallest_crop": 1.0, "brightness": 0.0},
        **{"contrast": 0.0, "elastic_displacement": 0.0},
    }

    def make(**changes):
        return tiny.training.augment.model_copy(update=still | changes)

    return make
