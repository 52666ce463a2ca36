"""Pictures of two patients are found, everything else is not; shortcuts are measured out of fold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dgfnet import digests
from dgfnet.audit import stage
from dgfnet.audit.measurements import measure
from dgfnet.audit.shortcuts import COLUMNS, baselines, columns_alone
from dgfnet.cli import main
from dgfnet.cohort.records import Image, Nodule

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(5)


def speckle(seed, shape=(180, 240)):
    """An ultrasound-like picture: smooth anatomy that all share, speckle that nobody shares."""
    rng = np.random.default_rng(seed)
    anatomy = cv2.resize(np.linspace(30, 180, 16).reshape(4, 4).astype(np.float32), shape[::-1])
    grain = cv2.GaussianBlur(rng.rayleigh(1, shape).astype(np.float32), (0, 0), 1)
    return np.clip(anatomy * grain, 0, 255).astype(np.uint8)


def nodules(count, shortcut):
    rng = np.random.default_rng(1)
    label = np.arange(count) % 2
    columns = {
        f"{prefix}_{name}": rng.standard_normal(count)
        for prefix in ("us", "ct")
        for names in COLUMNS.values()
        for name in names
    }
    table = pd.DataFrame(columns | {"patient_id": [f"P{n}" for n in range(count)], "lnm_central": label})
    if shortcut:
        table["us_spacing_mm"] = 0.1 + 0.1 * label
    table.loc[:5, "ct_spacing_mm"] = np.nan
    return table, pd.Series((np.arange(count) // 2) % 4)


def test_a_shortcut_is_found_and_noise_is_not():
    for shortcut in (True, False):
        results = baselines(*nodules(240, shortcut), "central", 0.95)
        assert [(result.kind, result.model) for result in results] == [
            (kind, model) for kind in COLUMNS for model in ("linear", "trees")
        ]
        acquisition = [result.auc.estimate for result in results if result.kind == "acquisition"]
        size = [result.auc.estimate for result in results if result.kind == "size"]
        assert all(0.35 < value < 0.65 for value in size)
        assert all(value > 0.99 for value in acquisition) if shortcut else max(acquisition) < 0.65


def test_a_site_without_both_classes_has_no_baseline():
    table, fold = nodules(40, False)
    assert baselines(table.assign(lnm_central=1), fold, "central", 0.95) == []
    ages = pd.DataFrame({"age": ["50"] * 40}, dtype=object)
    assert columns_alone(table.assign(lnm_central=1), ages, fold, "central", 0.95) == []


def test_a_column_that_says_the_label_in_other_words_is_found():
    table, fold = nodules(240, False)
    label = table["lnm_central"].to_numpy()
    words = {
        "pathology": np.where(label == 1, "pN1a", "pN0"),
        "age": [f"{age:.0f}" for age in RNG.normal(50, 10, 240)],
        "remark": [f"text {number}" for number in range(240)],
    }
    attributes = pd.DataFrame(words, dtype=object)
    attributes.loc[::10, "pathology"] = None
    unknown = table.assign(lnm_central=np.where(np.arange(240) < 40, np.nan, label))
    found = {one.column: one for one in columns_alone(unknown, attributes, fold, "central", 0.95)}
    assert list(found) == list(words)
    assert {one.nodules for one in found.values()} == {200}
    # where it says nothing the label is 0, for every tenth row is even: between the two words
    assert found["pathology"].auc.estimate == 1
    assert 0.3 < found["age"].auc.estimate < 0.65
    assert 0.3 < found["remark"].auc.estimate < 0.65


@pytest.fixture(scope="module")
def project(tmp_path_factory, drawn):
    """A small phantom that has gone through the stage cohort."""
    folder = tmp_path_factory.mktemp("audited")
    params = folder / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    given = ["--params", str(params), "--set", "cohort.folds=2", "--set", "cohort.minimum_per_class=1"]
    shutil.copytree(drawn / "data", folder / "data")
    main(["cohort", *given])
    return folder, given


def test_the_stage_passes_a_clean_cohort(project, capsys):
    folder, given = project
    main(["audit", *given])
    audit = json.loads((folder / "artifacts/audit/audit.json").read_text())
    assert audit["same_picture"]["pairs"] == audit["images_not_read"] == 0
    assert {baseline["kind"] for baseline in audit["baselines"]} == set(COLUMNS)
    said = capsys.readouterr().err
    assert "size alone (linear): AUC" in said
    assert "nodules.csv alone" not in said
    told = {(column["site"], column["column"]) for column in audit["columns"]["alone"]}
    names = ("margin", "location", "max_diameter_mm", "aspect_ratio", "age", "sex")
    assert told == {(site, name) for site in ("central", "lateral") for name in names}


def test_the_stage_warns_of_a_column_that_tells_the_label(project, capsys):
    folder, given = project
    main(["audit", *given, "--set", "audit.column_auc=0.5", "--site", "central"])
    audit = json.loads((folder / "artifacts/audit/audit.json").read_text())
    above = [one for one in audit["columns"]["alone"] if one["auc"]["estimate"] > 0.5]
    said = capsys.readouterr().err
    assert said.count("of nodules.csv alone: AUC") == len(above) > 0
    assert f"column '{above[0]['column']}'" in said
    assert "above audit.column_auc 0.5; if it was derived from the label" in said


def test_images_that_cannot_be_read_are_left_to_preprocess(project):
    folder, given = project
    rows = pd.read_csv(folder / "data/images.csv")
    volumes = {folder / "data" / name for name in rows.loc[rows["modality"] == "ct", "image"]}
    kept = {path: path.read_bytes() for path in volumes}
    try:
        for path in volumes:
            path.write_bytes(b"broken")
        main(["audit", *given])
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    audit = json.loads((folder / "artifacts/audit/audit.json").read_text())
    assert audit["images"]["ct"] == 0 < audit["images"]["us"]
    assert audit["images_not_read"] > 0


def test_a_mask_of_another_size_is_no_crash(tmp_path):
    cv2.imwrite(str(tmp_path / "i.png"), speckle(1))
    cv2.imwrite(str(tmp_path / "m.png"), np.eye(20, dtype=np.uint8))
    image = Image(
        "N", "us", "transverse", tmp_path / "i.png", tmp_path / "m.png", 0.1, None, None, None, False
    )
    assert measure(Nodule("N", "P", "main", {"central": 1, "lateral": 0}, 1, {}, (image,))) == []


@pytest.mark.parametrize(
    ("blocks", "said"),
    [(None, "run the stage audit first"), (["2 pairs", "text"], "2 pairs; text; nothing is")],
)
def test_nothing_is_trained_on_a_cohort_that_is_not_audited(tmp_path, capsys, blocks, said):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    if blocks is not None:
        (tmp_path / "artifacts/audit").mkdir(parents=True)
        (tmp_path / "artifacts/audit/audit.json").write_text(json.dumps({"blocks": blocks}))
        digests.keep(tmp_path / "artifacts/audit")
    with pytest.raises(SystemExit):
        main(["pretrain", "--params", str(tmp_path / "params.yaml")])
    assert said in capsys.readouterr().err


def test_the_stage_stops_at_a_picture_of_two_patients(project, capsys):
    folder, given = project
    rows = pd.read_csv(folder / "data/images.csv")
    of = pd.read_csv(folder / "data/nodules.csv").set_index("nodule_id")["patient_id"]
    kept = set(pd.read_parquet(folder / "artifacts/cohort/images.parquet")["image"])
    us = rows[(rows["modality"] == "us") & rows["image"].isin(kept)]
    first = us.iloc[0]
    other = us[us["nodule_id"].map(of) != of[first["nodule_id"]]].iloc[0]
    path = folder / "data" / other["image"]
    before = path.read_bytes()
    path.write_bytes((folder / "data" / first["image"]).read_bytes())
    try:
        with pytest.raises(SystemExit):
            main(["audit", *given])
    finally:
        path.write_bytes(before)
    said = capsys.readouterr().err
    assert "1 pair(s) of pictures are the same in two patients" in said
    assert of[first["nodule_id"]] in said
    assert of[other["nodule_id"]] in said
    table = pd.read_csv(folder / "artifacts/audit/same_picture.csv")
    assert list(table.columns) == stage.COLUMNS
    assert {table["nodule_id_a"][0], table["nodule_id_b"][0]} == {first["nodule_id"], other["nodule_id"]}
    assert cv2.imread(str(folder / "artifacts/audit/same_picture.png")) is not None
