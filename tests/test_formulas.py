"""Cells of our tables are text to a spreadsheet, numbers stay numbers, and what we read back is what was."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

from dgfnet import files
from dgfnet.cohort.manifest import read_cohort
from dgfnet.errors import InputError
from dgfnet.external.casemix import case_mix
from dgfnet.formulas import guarded, guarded_table, is_formula, unguarded, unguarded_table
from dgfnet.ingest.folder import write_table

RUN = {  # what Excel or LibreOffice would evaluate, and how it is written
    "=1+1": "'=1+1",
    '=HYPERLINK("http://x","y")': '\'=HYPERLINK("http://x","y")',
    "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "\t'=1",
    "\r=1": "\r'=1",
    "\uff1d1+1": "'\uff1d1+1",
    "a;=1+1": "a;'=1+1",  # a spreadsheet set to German begins a cell at the semicolon
    "a\n@x": "a\n'@x",
    "+ve": "'+ve",
}
LEFT = ["", "a", "-", "+", "-5", "+3.5", "-1e-7", "1=2", "a-b", "a@b.org", "'a", "-7%", "1,5"]


@pytest.mark.parametrize(("text", "written"), RUN.items())
def test_what_would_be_run_is_written_as_text_and_read_as_it_was(text, written):
    assert is_formula(text)
    assert guarded(text) == written
    assert not is_formula(written)
    assert unguarded(written) == text
    assert unguarded(guarded(written)) == written  # an apostrophe of its own is kept too


@pytest.mark.parametrize("text", LEFT)
def test_other_text_and_numbers_are_left_alone(text):
    assert not is_formula(text)
    assert guarded(text) == text
    assert unguarded(text) == text


def test_a_table_keeps_its_numbers_and_comes_back(tmp_path):
    table = pd.DataFrame(
        {
            "=name": ["=1+1", "plain", None],
            "number": [-1.5, 2.0, np.nan],
            "count": pd.array([-1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["+ve", "-ve", "+ve"]),
        }
    )
    files.write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == (
        "'=name,number,count,kind\n'=1+1,-1.5,-1,'+ve\nplain,2.0,,'-ve\n,,3,'+ve\n"
    )
    back = unguarded_table(pd.read_csv(tmp_path / "t.csv"))
    assert list(back) == list(table)
    assert back["=name"].tolist()[:2] == ["=1+1", "plain"]
    assert back["kind"].tolist() == ["+ve", "-ve", "+ve"]
    assert back["number"].tolist()[:2] == [-1.5, 2.0]
    assert guarded_table(table)["number"].dtype == np.float64


def test_names_of_files_that_were_not_used_are_text(tmp_path):
    write_table(
        tmp_path / "not_used.csv", [{"name": "=cmd.png", "reason": "-"}], ["name", "reason", "detail"]
    )
    assert (tmp_path / "not_used.csv").read_text() == "name,reason,detail\n'=cmd.png,-,\n"


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "us").mkdir()
    for name in ("us/1.png", "us/m.png", "=1.png"):
        (tmp_path / name).write_bytes(b"")

    def write(nodule, image="us/1.png", margin="+ve", column="margin"):
        columns = ["patient_id", "nodule_id", "cohort", "lnm_central", "lnm_lateral", column]
        rows = [columns, ["P1", nodule, "main", "1", "0", margin]]
        images = [["nodule_id", "modality", "view", "image", "mask", "spacing_mm"]]
        images.append([nodule, "us", "transverse", image, "us/m.png", "0.1"])
        for name, table in (("nodules.csv", rows), ("images.csv", images)):
            with (tmp_path / name).open("w", newline="") as stream:
                csv.writer(stream).writerows(table)
        return read_cohort(tmp_path)

    return write


def test_an_id_or_path_that_would_be_run_is_refused(cohort):
    with pytest.raises(InputError) as caught:
        cohort("=1+1", "=1.png")
    assert str(caught.value).split("\n") == [
        "nodules.csv row 2, column nodule_id: found '=1+1', which a spreadsheet would run as a formula; "
        "expected a letter, digit or other sign than = + - @ at its start",
        "images.csv row 2, column image: found '=1.png', which a spreadsheet would run as a formula; "
        "expected a letter, digit or other sign than = + - @ at its start",
    ]
    with pytest.raises(InputError, match=r"nodules\.csv row 1: column '=x' is a formula to a spreadsheet"):
        cohort("N1", column="=x")
    assert cohort("-17").nodules[0].nodule_id == "-17"  # a number is none


def test_other_text_is_kept_and_written_as_text(cohort, tmp_path):
    (nodule,) = cohort("N1").nodules
    assert nodule.attributes == {"margin": "+ve"}
    (again,) = cohort("N1", margin="'+ve").nodules  # as an importer writes it
    assert again.attributes == {"margin": "+ve"}
    files.write_csv(case_mix([nodule]), tmp_path / "case_mix.csv")
    assert "margin: +ve,1 of 1 (100%),\n" in (tmp_path / "case_mix.csv").read_text()
