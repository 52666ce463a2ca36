"""The hash of the cohort in results is that of what was read, or says that it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dgfnet import digests, files, provenance
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


def seal_cohort(settings, md5):
    files.write_json(settings.artifacts("cohort", "provenance.json"), {"data_md5": md5})
    digests.keep(settings.artifacts("cohort"))


@pytest.mark.parametrize(
    ("md5", "missing"),
    [
        ("a.dir", ""),
        ("untracked", "its cohort is not under DVC"),
        ("a.dir-changed", "its cohort was not the one that data.dvc names"),
    ],
)
def test_later_stages_have_the_hash_that_the_stage_cohort_found(settings, md5, missing):
    seal_cohort(settings, md5)
    # of another cohort, before the stage runs again
    files.write_json(settings.artifacts("preprocess", "provenance.json"), {"data_md5": "b.dir"})
    assert provenance.data_md5(settings) == md5
    settings.artifacts("crossval").mkdir(parents=True)
    provenance.write(settings.artifacts("crossval"), settings, ("base",))
    assert trained_on(settings)["data_md5"] == md5
    assert missing_lineage("0" * 40, md5) == missing


def test_a_hash_that_somebody_edited_is_refused(settings):
    seal_cohort(settings, "a.dir-changed")
    path = settings.artifacts("cohort", "provenance.json")
    path.write_text(path.read_text().replace("-changed", ""))
    with pytest.raises(InputError, match=r"not what was written.*run the stage cohort again"):
        provenance.data_md5(settings)


def test_pictures_are_not_read_again_from_a_folder_that_changed_since(settings):
    seal_cohort(settings, "untracked")
    assert provenance.same_md5(settings) == "untracked"
    seal_cohort(settings, "a.dir")
    with pytest.raises(InputError, match=r"has changed since the stage cohort ran .*; run it again"):
        provenance.same_md5(settings)


def test_settings_lock_and_champions_are_no_uncommitted_change_of_the_code(settings):
    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e@x")
        subprocess.run(["git", *identity, *arguments], cwd=settings.root, check=True, timeout=60)

    own = [settings.root / name for name in ("params.yaml", "dvc.lock", "champions.json")]
    code = settings.root / "dvc.yaml"
    for path in (*own, code):
        path.touch()
    git("init", "-q")
    git("add", *(path.name for path in (*own, code)))
    git("commit", "-q", "-m", "all")
    commit = provenance.git_commit(settings.root)
    assert len(commit) == 40
    for path in own:
        path.write_text("changed")
    assert provenance.git_commit(settings.root) == commit
    code.write_text("changed")
    assert provenance.git_commit(settings.root) == f"{commit}-dirty"


def test_other_code_than_the_projects_is_no_clean_commit(settings, tmp_path):
    """An experiment in a copy of the project runs the package that is installed."""
    package = settings.root / "project" / "dgfnet"
    shutil.copytree(Path(provenance.__file__).parent, package)
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@x")
    for command in (("init", "-q"), ("add", "project", "params.yaml"), ("commit", "-q", "-m", "m")):
        subprocess.run([*git, *command], cwd=settings.root, check=True)
    provenance._runs_other_code.cache_clear()
    assert not provenance.git_commit(settings.root).endswith("-dirty")
    (package / "another.py").write_text("")
    subprocess.run([*git, "add", "project"], cwd=settings.root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "n"], cwd=settings.root, check=True)
    provenance._runs_other_code.cache_clear()
    assert provenance.git_commit(settings.root).endswith("-dirty")
