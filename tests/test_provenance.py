"""The hash of the cohort in results is that of what was read, or says that it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dgfnet import files, provenance
from dgfnet.errors import InputError
from dgfnet.registry.lineage import missing_lineage, trained_on
from dgfnet.settings import load


@pytest.fixture
def settings(tmp_path, params):
    (tmp_path / "params.yaml").write_text(params.read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nodules.csv").write_text("patient_id\nP1\n")
    return load(tmp_path / "params.yaml")


def dvc(settings, *arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=settings.root, check=True, timeout=120)


def test_a_cohort_is_the_one_of_its_pointer_until_somebody_edits_it(settings):
    assert provenance.checked_md5(settings) == "untracked"
    dvc(settings, "init", "-q", "--no-scm")
    dvc(settings, "add", "-q", "data")
    md5 = provenance.checked_md5(settings)
    assert md5.endswith(".dir")
    assert md5 in (settings.root / "data.dvc").read_text()
    (settings.data / "nodules.csv").write_text("patient_id\nP2\n")
    assert provenance.checked_md5(settings) == f"{md5}-changed"
    (settings.root / ".dvc").rename(settings.root / "gone")  # nobody can tell any more
    assert provenance.checked_md5(settings) == f"{md5}-changed"
    (settings.root / "data.dvc").write_text("outs: []\n")
    with pytest.raises(InputError, match=r"data\.dvc: names no data as DVC writes it"):
        provenance.checked_md5(settings)


@pytest.mark.parametrize(
    ("cohort", "preprocess", "md5", "missing"),
    [
        ("a.dir", "a.dir", "a.dir", ""),
        ("untracked", "untracked", "untracked", "its cohort is not under DVC"),
        ("a.dir-changed", "a.dir-changed", "a.dir-changed", "not the one that data.dvc names"),
        ("a.dir", "a.dir-changed", "a.dir-changed", "not the one that data.dvc names"),
        ("a.dir", "b.dir", "a.dir-changed", "not the one that data.dvc names"),
        ("a.dir", None, "a.dir", ""),
    ],
)
def test_later_stages_have_the_hash_of_the_stages_that_read_the_cohort(
    settings, cohort, preprocess, md5, missing
):
    for stage, found in (("cohort", cohort), ("preprocess", preprocess)):
        if found is not None:
            files.write_json(settings.artifacts(stage, "provenance.json"), {"data_md5": found})
    assert provenance.data_md5(settings) == md5
    settings.artifacts("crossval").mkdir(parents=True)
    provenance.write(settings.artifacts("crossval"), settings, ("base",))
    assert trained_on(settings)["data_md5"] == md5
    said = missing_lineage("0" * 40, md5)
    assert (missing in said) if missing else said == ""
