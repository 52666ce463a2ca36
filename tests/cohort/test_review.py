"""Pictures that look drawn upon are shown to a person, and what the person decides is what happens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dgfnet.cli import main
from dgfnet.cohort.screening.flowchart import lines

ROOT = Path(__file__).parents[2]
SMALL = ["cohort.folds=2", "cohort.minimum_per_class=1"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory, drawn):
    """A project with a small phantom, whose manifest notes every picture with lines."""
    folder = tmp_path_factory.mktemp("phantom")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(drawn / "data", folder / "data")
    return folder


class Project:
    """A copy of the phantom that a test changes."""

    def __init__(self, source, folder):
        self.folder = folder
        shutil.copytree(source, folder, dirs_exist_ok=True)
        self.images = pd.read_csv(folder / "data/images.csv")

    def run(self, stage, *overrides):
        given = [text for value in (*SMALL, *overrides) for text in ("--set", value)]
        main([stage, "--params", str(self.folder / "params.yaml"), *given])
        path = self.folder / "artifacts/cohort"
        return json.loads((path / "enrolment.json").read_text()), pd.read_csv(path / "suspicious.csv")

    def forget_the_notes(self):
        self.images.drop(columns="measurement_lines").to_csv(self.folder / "data/images.csv", index=False)

    def decide(self, *rows):
        text = "image,slice,other,decision\n" + "".join(f"{row}\n" for row in rows)
        (self.folder / "data/decisions.csv").write_text(text)

    def drawn(self):
        return self.images.loc[self.images["measurement_lines"] == 1, "image"].tolist()

    def clean(self):
        rows = self.images[(self.images["measurement_lines"] == 0) & (self.images["modality"] == "us")]
        return rows["image"].tolist()

    def write(self, image, text, place):
        path = str(self.folder / "data" / image)
        picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
        cv2.imwrite(path, picture)


@pytest.fixture
def project(phantom, tmp_path):
    return Project(phantom, tmp_path / "project")


def test_lines_that_the_manifest_notes_are_all_found_and_nothing_else_is(project, capsys):
    flow, table = project.run("cohort")
    assert sorted(table["image"]) == sorted(project.drawn())
    assert table["noted"].all()
    assert flow["drawings"]["noted_but_not_found"] == flow["drawings"]["undecided"] == 0
    assert flow["main"]["excluded"]["measurement_lines"]["images"] > 0
    assert "WARNING" not in capsys.readouterr().err
    assert cv2.imread(str(project.folder / "artifacts/cohort/suspicious.png")) is not None
    assert cv2.imread(str(project.folder / "artifacts/cohort/enrolment.png")) is not None


def test_undecided_pictures_stay_or_go_as_the_settings_say(project, capsys):
    noted, _ = project.run("cohort")
    project.forget_the_notes()
    kept, table = project.run("cohort")
    assert kept["main"]["excluded"]["measurement_lines"]["images"] == 0
    assert kept["drawings"]["undecided"] == len(project.drawn()) == len(table)
    assert f"something is drawn in {len(table)} US picture(s), keep until decided" in capsys.readouterr().err
    gone, _ = project.run("cohort", "cohort.undecided=set_aside")
    assert gone["main"] == noted["main"]
    assert gone["excluded_nodules"] == noted["excluded_nodules"]


def test_a_decision_beats_the_detector_the_manifest_and_the_settings(project):
    drawn, clean = project.drawn(), project.clean()
    project.decide(f"{drawn[0]},,,keep", f"{clean[0]},,,set_aside")
    flow, table = project.run("cohort", "cohort.undecided=set_aside")
    kept = set(pd.read_parquet(project.folder / "artifacts/cohort/images.parquet")["image"])
    assert drawn[0] in kept
    assert clean[0] not in kept
    assert flow["drawings"]["decided"] == 2
    assert table.set_index("image")["decision"].to_dict()[clean[0]] == "set_aside"
    for name in ("main", "external"):
        out = sum(counts["images"] for counts in flow[name]["excluded"].values())
        assert (
            flow[name]["enrolled"]["images"]
            == out + flow[name]["images_set_aside"] + flow[name]["kept"]["images"]
        )


def test_a_decision_on_a_file_holds_for_all_its_frames_unless_one_is_named():
    from dgfnet.cohort.screening.decisions import Decisions

    decisions = Decisions({("a", None): False, ("a", 2): True}, frozenset())
    assert [decisions.kept("a", index) for index in (None, 0, 2)] == [False, False, True]
    assert decisions.kept("b", None) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("nowhere.png,,,keep", "row 2, column image: 'nowhere.png' is not in images.csv"),
        ("{0},,nowhere.png,different", "row 2, column other: 'nowhere.png' is not in images.csv"),
        ("{0},,,maybe", "row 2, column decision: found 'maybe', expected keep, set_aside or different"),
        ("{0},,,different", "row 2, column other: expected a second picture when the decision is different"),
        ("{0},,{1},keep", "row 2, column other: expected a second picture when the decision is different"),
        ("{0},,,keep\n{0},,,set_aside", "row 3, column decision: '{0}' is both kept and set aside"),
        ("{0},-1,,keep", "row 2, column slice: found '-1'"),
    ],
)
def test_faults_of_the_table_of_decisions(project, capsys, row, said):
    names = project.clean()[:2]
    project.decide(row.format(*names))
    with pytest.raises(SystemExit) as caught:
        project.run("cohort")
    assert caught.value.code == 2
    assert f"decisions.csv {said.format(*names)}" in capsys.readouterr().err


def test_words_near_a_nodule_stop_the_audit_until_somebody_decides(project, capsys):
    kept = project.run("cohort") and pd.read_parquet(project.folder / "artifacts/cohort/images.parquet")
    us = kept.loc[kept["modality"] == "us", "image"].tolist()
    rows = project.images.set_index("image")
    mask = cv2.imread(str(project.folder / "data" / rows.loc[us[0], "mask"]), cv2.IMREAD_GRAYSCALE)
    x, y, _, _ = cv2.boundingRect(mask)
    project.write(us[0], "TIRADS 5", (x, y))
    flow, table = project.run("cohort")
    assert flow["drawings"]["undecided"] == 1
    assert table.set_index("image")["found"][us[0]] == "text"
    with pytest.raises(SystemExit):
        project.run("audit")
    assert f"of 1 picture(s), and may tell the label: {us[0]};" in capsys.readouterr().err
    blocks = json.loads((project.folder / "artifacts/audit/audit.json").read_text())["blocks"]
    assert blocks == ["1 picture(s) are written upon and undecided"]
    for decision, stays in (("keep", True), ("set_aside", False)):
        project.decide(f"{us[0]},,,{decision}")
        project.run("cohort")
        project.run("audit")
        kept = pd.read_parquet(project.folder / "artifacts/cohort/images.parquet")
        assert (us[0] in set(kept["image"])) == stays


def test_words_that_the_network_never_sees_do_no_harm(project):
    rows = project.images.set_index("image")
    for image in project.clean():
        mask = cv2.imread(str(project.folder / "data" / rows.loc[image, "mask"]), cv2.IMREAD_GRAYSCALE)
        padded = np.zeros((mask.shape[0] + 60, mask.shape[1]), dtype=np.uint8)
        padded[: mask.shape[0]] = mask
        _, y, _, h = cv2.boundingRect(padded)
        if y + h + 45 < mask.shape[0] + 30:  # 40 pixels of reach, then black, then the words
            break
    picture = cv2.imread(str(project.folder / "data" / image), cv2.IMREAD_GRAYSCALE)
    below = np.zeros_like(padded)
    below[: picture.shape[0]] = picture
    cv2.imwrite(str(project.folder / "data" / image), below)
    cv2.imwrite(str(project.folder / "data" / rows.loc[image, "mask"]), padded)
    before, _ = project.run("cohort")
    project.write(image, "TIRADS 5", (20, padded.shape[0] - 8))
    after, _ = project.run("cohort")
    assert after["drawings"]["found"] == before["drawings"]["found"]


def test_a_cohort_of_one_modality_needs_that_one_alone(project, capsys):
    with pytest.raises(SystemExit):
        project.run("cohort", "cohort.modalities=[us]")
    assert "images besides cohort.modalities ['us']" in capsys.readouterr().err
    project.images[project.images["modality"] == "us"].to_csv(project.folder / "data/images.csv", index=False)
    flow, _ = project.run("cohort", "cohort.modalities=[us]")
    assert flow["main"]["kept"]["nodules"] > 0
    without = sum(project.images.groupby("nodule_id")["modality"].agg(lambda given: "us" not in set(given)))
    assert flow["main"]["excluded"]["missing_modality"]["nodules"] == without


def test_the_figure_tells_every_reason_with_its_counts():
    nothing = {"patients": 0, "nodules": 0, "images": 0}
    reasons = ("missing_modality", "measurement_lines", "several_malignant", "no_label")
    record = {"excluded": dict.fromkeys(reasons, nothing), "images_set_aside": 7}
    record["excluded"] = record["excluded"] | {"no_label": {"patients": 3, "nodules": 4, "images": 5}}
    assert lines(record)[3] == "no known LNM status at any site\n    3 patients, 4 nodules, 5 images"
    assert lines(record)[-1].endswith("7 images")
