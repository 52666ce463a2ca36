from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dgfnet.measured.definitions import NAMES
from dgfnet.training.task import Places, Task
from tiny_archive import blob, write_archive

PATIENTS, FOLDS = 24, 4


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The machine that runs the tests is often shared, and these networks are small."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def reproducible():
    torch.manual_seed(0)


def cohort():
    """Nodules of 24 main patients, every third with two, and of 3 external ones; some labels are unknown.

    Central: about a third positive. Lateral: unknown for every fifth patient. Ages and sexes have gaps.
    """
    rows = []
    for number in range(PATIENTS + 3):
        patient = f"P{number:02d}"
        for nodule in range(1 + (number % 3 == 0)):
            lateral = np.nan if number % 5 == 0 else float(number % 2)
            rows.append(
                (f"{patient}-{nodule}", patient, "main", float(number % 3 == 1), lateral, number % FOLDS)
            )
    table = pd.DataFrame(
        rows, columns=["nodule_id", "patient_id", "cohort", "lnm_central", "lnm_lateral", "fold"]
    )
    table.loc[table["patient_id"] >= f"P{PATIENTS}", "cohort"] = "external"
    ages = [None if number % 7 == 3 else str(30 + 3 * (number * 11 % 17)) for number in range(len(table))]
    sexes = [("F", "M", "F", None)[number % 4] for number in range(len(table))]
    table = table.assign(age=pd.Series(ages, dtype=object), sex=pd.Series(sexes, dtype=object))
    return table.astype({"lnm_central": "float32", "lnm_lateral": "float32"})


def textured(modality, row, side):
    """A blob on noise, so that every picture differs."""
    planes = blob(modality, row, side)
    noise = np.random.default_rng([row, side]).integers(0, 80, (side, side), dtype=np.uint8)
    return np.stack([planes[0] // 2 + noise, planes[1], planes[2]])


@pytest.fixture(scope="session")
def shop(tmp_path_factory, tiny):
    """Archive, nodules.parquet and folds.csv of a small cohort; nothing is written to its work folder."""
    folder = tmp_path_factory.mktemp("cohort")
    table = cohort()
    nodules = [
        (row.nodule_id, row.patient_id, {"us": [40, 30 + index], "ct": [20, 25]})
        for index, row in enumerate(table.itertuples())
    ]
    archive = write_archive(folder / "archive", tiny.preprocess, nodules, textured)
    table.drop(columns="fold").to_parquet(folder / "nodules.parquet", index=False)
    main = table[table["cohort"] == "main"]
    main[["nodule_id", "patient_id", "fold"]].to_csv(folder / "folds.csv", index=False)
    draw = np.random.default_rng(3)
    rows = []
    for modality in ("us", "ct"):
        own = archive.rows(modality)
        values = pd.DataFrame(draw.normal(size=(len(own), len(NAMES[modality]))), columns=NAMES[modality])
        values["area_mm2"] = archive.planes(modality)[own["row"], 1].sum(axis=(1, 2)).astype(float)
        rows.append(values.assign(modality=modality, row=own["row"].to_numpy(), unit="grey"))
    pd.concat(rows).to_parquet(folder / "measured.parquet", index=False)
    names = ("archive", "measured.parquet", "nodules.parquet", "folds.csv", "unused")
    return Places(*(folder / name for name in names))


@pytest.fixture
def places(shop, tmp_path):
    """The small cohort with an empty work folder."""
    return replace(shop, work=tmp_path / "work")


@pytest.fixture(scope="session")
def task(tiny):
    """Makes a task of the small cohort."""

    def make(**facts):
        training = tiny.training.model_copy(update=facts.pop("training", {}))
        plain = {
            "phase": "classification",
            "variant": "us_multitask",
            "encoder": "resnet18",
            "site": "central",
            "fold": 1,
            "epochs": 2,
            "before": 0,
            "after": 0,
            "seed": 11,
            "parents": {},
            "network": tiny.network,
            "training": training,
            "pretrained": None,
            "pretrained_sha256": None,
            "archive": "a",
            "folds": "f",
            "measured": None,
            "measured_weight": 0.0,
            "record": (),
            "inner_folds": None,
            "choose": None,
            "validate_every": 2,
        }
        return Task(**{**plain, **facts})

    return make
