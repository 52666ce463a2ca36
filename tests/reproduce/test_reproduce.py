"""From a version back to its numbers: what is refused before anything is trained, and what is compared."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from dgfnet import provenance, pseudonyms
from dgfnet.cli import main
from dgfnet.errors import InputError
from dgfnet.registry.origin import SECTIONS
from dgfnet.reproduce import refit
from dgfnet.reproduce.checkout import check_commit, check_empty, check_out
from dgfnet.reproduce.reproduction import Reproduction, _check_ids, _key, beside, overrides
from dgfnet.settings import load
from dgfnet.sweep.plan import Inputs, classification, segmentation
from dgfnet.vocabulary import SITES

KEY = b"secret"


def test_a_folder_in_which_something_lies_is_refused(tmp_path):
    check_empty(tmp_path / "none")
    check_empty(tmp_path)
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="exists and is not empty"):
            check_empty(folder)


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two commits of a project in a folder of its repository; the first has no cohort. Root, commits, md5."""
    top = tmp_path_factory.mktemp("repository")
    root = top / "study"
    (root / "data").mkdir(parents=True)
    (root / "params.yaml").write_text("base: {}\n")
    (root / "data" / "nodules.csv").write_text("nodule_id\n")
    run(top, "git", "init", "-q")
    for name, value in (("name", "n"), ("email", "e@x")):
        run(top, "git", "config", f"user.{name}", value)
    run(top, "git", "add", "study/params.yaml")
    run(top, "git", "commit", "-qm", "settings")
    run(top, sys.executable, "-m", "dvc", "init", "-q")
    run(root, sys.executable, "-m", "dvc", "add", "-q", "data")
    run(top, "git", "add", ".")
    run(top, "git", "commit", "-qm", "cohort")
    md5 = yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["md5"]
    return root, run(top, "git", "rev-parse", "HEAD~").strip(), run(top, "git", "rev-parse", "HEAD"), md5


def test_a_commit_and_its_cohort_are_made_from_the_repository_and_the_cache(repository, tmp_path):
    root, _, commit, md5 = repository
    check_commit(root, commit)
    before = run(root, "git", "status", "--porcelain"), run(root, "git", "worktree", "list")
    folder = check_out(root, commit, "data", md5, tmp_path / "fresh")
    assert folder == tmp_path / "fresh" / "study"
    assert (folder / "data" / "nodules.csv").read_text() == "nodule_id\n"
    assert run(folder, "git", "rev-parse", "HEAD") == commit
    assert run(folder, "git", "status", "--porcelain") == ""
    assert (run(root, "git", "status", "--porcelain"), run(root, "git", "worktree", "list")) == before


def test_what_a_commit_does_not_have_is_named_and_nothing_stays(repository, tmp_path):
    root, empty, commit, md5 = repository
    with pytest.raises(InputError, match="is not inside a git repository"):
        check_commit(tmp_path, commit)
    with pytest.raises(InputError, match=rf"has no commit {'0' * 40}; fetch it"):
        check_commit(root, "0" * 40)
    for asked, message in (
        ((root, empty, "data", md5), r"has no data\.dvc beside params\.yaml; it was never committed"),
        ((root, commit, "../data", md5), r"has no \.\./data\.dvc"),
        ((root, commit, "data", "0" * 32), f"names the cohort {md5}, expected {'0' * 32}"),
        ((root.parent, commit, "data", md5), r"has no params\.yaml"),
    ):
        with pytest.raises(InputError, match=message):
            check_out(*asked, tmp_path / "fresh")
        assert not (tmp_path / "fresh").exists()


def test_a_cohort_that_the_cache_lacks_is_named(repository, tmp_path):
    root, _, commit, md5 = repository
    cache = root.parent / ".dvc" / "cache"
    cache.rename(tmp_path / "away")
    try:
        with pytest.raises(InputError, match=rf"cache .* lacks the cohort {md5}; `dvc fetch --all-commits"):
            check_out(root, commit, "data", md5, tmp_path / "fresh")
    finally:
        (tmp_path / "away").rename(cache)
    assert not (tmp_path / "fresh").exists()


def test_a_key_is_not_made_only_now(settings, monkeypatch):
    with pytest.raises(InputError, match=r"id\.key: no such file, and DGFNET_ID_KEY is not set"):
        _key(settings)
    assert not (settings.root / "id.key").exists()
    monkeypatch.setenv(pseudonyms.KEY, "given, and long enough")
    assert _key(settings) == b"given, and long enough"


def test_a_lost_key_is_said_before_anything_is_trained(monkeypatch):
    cohort = SimpleNamespace(nodules=[SimpleNamespace(nodule_id=name) for name in "ab"])
    monkeypatch.setattr("dgfnet.reproduce.reproduction.read_cohort", lambda _: cohort)
    stored = pd.Index([pseudonyms.pseudonym(KEY, "b")])
    _check_ids(Path("data"), stored, KEY, "m version 1")
    with pytest.raises(InputError, match=r"m version 1: no nodule .* probably logged with another key"):
        _check_ids(Path("data"), stored, b"another", "m version 1")


def test_settings_come_back_whole_through_a_settings_file_of_other_values(settings):
    described = provenance.describe(settings, SECTIONS)
    request = {
        "params": str(settings.root / "params.yaml"),
        "settings": overrides(described["settings"]),
        "paths": ['base.work="elsewhere"'],
        "sections": SECTIONS,
        "params_sha256": described["params_sha256"],
    }
    again = refit.settled(json.loads(json.dumps(request)))
    assert again.work == settings.root / "elsewhere"
    for section in ("cohort", "preprocess", "network", "training", "pretrain", "crossval"):
        assert getattr(again, section) == getattr(settings, section)
    assert load(settings.root / "params.yaml").training != settings.training
    with pytest.raises(InputError, match=f"expected {'0' * 64}"):
        refit.settled(request | {"params_sha256": "0" * 64})


def test_a_fold_is_trained_with_what_it_starts_from_and_nothing_else(tiny):
    inputs = Inputs("a", {None: "n", "central": "c", "lateral": "l"}, "m", 4, {"resnet18": None}, SITES, {})
    tasks = refit.line(tiny, inputs, "central", "dgf", 2)
    expected = [
        segmentation(tiny, inputs, "us", "resnet18", 2),
        classification(tiny, inputs, "central", "us_multitask", 2)[0],
        segmentation(tiny, inputs, "ct", "resnet18", 2),
        classification(tiny, inputs, "central", "ct_multitask", 2)[0],
        classification(tiny, inputs, "central", "dgf", 2)[0],
    ]
    assert [task.key for task in tasks] == [task.key for task in expected]
    assert [task.name for task in refit.line(tiny, inputs, "lateral", "ct_resnet", 0)] == [
        "lateral/ct_resnet/fold0"
    ]


def hashed(ids):
    return [pseudonyms.pseudonym(KEY, name) for name in ids]


def test_differences_by_hand(tmp_path):
    table = pd.DataFrame({"label": [0, 1, 1], "probability": [0.1, 0.6, 0.8], "threshold": 0.5})
    table.index = pd.Index(hashed("abc"))
    new = pd.DataFrame({"nodule_id": list("dcb"), "label": [1, 0, 1], "probability": [0.5, 0.75, 0.625]})
    new.to_csv(tmp_path / "new.csv", index=False)
    differences = beside(table, tmp_path / "new.csv", 0.25, KEY)
    assert (differences["nodules"], differences["alone"], differences["labels_differ"]) == (
        2,
        2,
        1,
    )  # b c; a d; c
    assert differences["probability"] == pytest.approx(0.05)
    assert differences["threshold"] == 0.25
    nobody = beside(table, tmp_path / "new.csv", 0.5, b"another")
    assert (nobody["nodules"], nobody["alone"]) == (0, 6)
    assert math.isnan(nobody["probability"])


SAME = Reproduction(
    **{"model": "m", "version": "1", "variant": "dgf", "fold": 0, "git_commit": "a", "data_md5": "b"},
    **{"params_sha256": "c", "package": "p", "same_fit": True, "nodules": 9, "alone": 0, "labels_differ": 0},
    **{"probability": 1e-6, "threshold": 1e-6, "metrics": {"auc": (0.75, 0.75), "f1": (None, None)}},
    **{"tolerance": 1e-6, "changed": ()},
)


def test_the_tolerance_belongs_to_what_agrees():
    assert SAME.agrees
    assert "largest difference 1e-06 (tolerance 1e-06)" in SAME.text()
    assert SAME.text().endswith("\nagrees")


@pytest.mark.parametrize(
    "change",
    [
        {"probability": 1.1e-6},
        {"probability": math.nan},
        {"threshold": 2e-6},
        {"alone": 1},
        {"labels_differ": 1},
        {"metrics": {"auc": (0.75, 0.76)}},
        {"metrics": {"auc": (0.75, 0.75), "f1": (0.5, None)}},
        {"metrics": {"auc": (None, 0.75)}},
        {"metrics": {}},
    ],
)
def test_each_difference_alone_is_no_agreement(change):
    changed = dataclasses.replace(SAME, **change)
    assert not changed.agrees
    assert changed.text().endswith("\nDOES NOT AGREE")


@pytest.mark.parametrize(("gap", "status"), [(0.0, None), (0.5, 1)])
def test_the_exit_status_tells_the_verdict(settings, monkeypatch, capsys, gap, status):
    def made(given, site, version, into):
        assert (site, version, into) == ("lateral", "3", Path("there"))
        return dataclasses.replace(SAME, probability=gap, tolerance=given.register_.tolerance)

    monkeypatch.setattr("dgfnet.reproduce.reproduction.reproduce", made)
    arguments = ["reproduce", "lateral", "3", "--into", "there", "--tolerance", "0.25"]
    arguments += ["--params", str(settings.root / "params.yaml")]
    if status is None:
        main(arguments)
    else:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == status
    assert f"largest difference {gap:g} (tolerance 0.25)" in capsys.readouterr().out


def test_another_fit_and_other_libraries_are_told_and_judged_by_their_numbers():
    changed = dataclasses.replace(SAME, same_fit=False, changed=("torch 1 -> 2",))
    assert changed.agrees
    assert "fit: another key than the version's" in changed.text()
    assert "not as it was: torch 1 -> 2" in changed.text()
