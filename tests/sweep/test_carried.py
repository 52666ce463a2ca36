"""Files of a fit go to a machine that does not see the project, and come back; without Ray."""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dgfnet import digests
from dgfnet.sweep import carried as carrying
from dgfnet.sweep.carried import SHARED, Files, Remote, carried, sees
from dgfnet.training.task import Places


class Near(Remote):
    """Asks the files themselves."""

    def _ask(self, name, *arguments):
        return getattr(self.actor, name)(*arguments)


@dataclass(frozen=True)
class Work:
    """As much of a task as is carried."""

    key: str
    parents: dict
    archive: str
    pretrained: str | None = None


@dataclass(frozen=True)
class Fitted:
    """As much of a trial."""

    task: Work
    places: Places


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    """The other machine's folder for temporary files; small messages, so that files are cut."""
    monkeypatch.setattr(carrying, "PIECE", 7)
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def trial(tmp_path):
    """A fit with a parent among the outputs and a checkpoint."""
    project = tmp_path / "project"
    texts = {
        "artifacts/preprocess/us.npy": "pictures" * 9,
        "artifacts/preprocess/archive.json": "{}",
        "artifacts/preprocess/measured.parquet": "numbers",
        "artifacts/cohort/nodules.parquet": "labels",
        "artifacts/cohort/folds.csv": "folds",
        "artifacts/pretrain/fits/parent/weights.safetensors": "weights of the parent",
        "artifacts/pretrain/fits/parent/digests.json": "{}",
        "work/fits/own/checkpoint.pt": "epoch 3",
        "work/fits/own/lock": "",
        "work/fits/own/.temporary": "half",
        "elsewhere/resnet.pt": "from ImageNet",
    }
    for name, text in texts.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    places = Places(
        archive=project / "artifacts/preprocess",
        measured=project / "artifacts/preprocess/measured.parquet",
        nodules=project / "artifacts/cohort/nodules.parquet",
        folds=project / "artifacts/cohort/folds.csv",
        work=project / "work",
        kept=(project / "artifacts/pretrain/fits", project / "artifacts/crossval/fits"),
    )
    return Fitted(Work("own", {"us": "parent"}, "d" * 64), places)


@pytest.fixture
def remote(trial):
    return Near(Files(str(trial.places.work)))


def test_a_fit_finds_all_it_reads_and_its_results_come_back(trial, remote, node):
    with carried(trial, remote) as (here, send):
        places = here.places
        assert all(str(path).startswith(str(node)) for path in vars(places).values() if path != ())
        assert (places.archive / "us.npy").read_text() == "pictures" * 9
        assert places.measured.read_text() == "numbers"
        assert (places.nodules.read_text(), places.folds.read_text()) == ("labels", "folds")
        assert (places.fit("parent") / "weights.safetensors").read_text() == "weights of the parent"
        own = places.fit("own")
        assert {path.name: path.read_text() for path in own.iterdir()} == {"checkpoint.pt": "epoch 3"}
        (own / "checkpoint.pt").write_text("epoch 4, longer than before")
        send()
        home = trial.places.work / "fits" / "own"
        assert (home / "checkpoint.pt").read_text() == "epoch 4, longer than before"
        (own / "checkpoint.pt").unlink()
        (own / "empty.csv").touch()
        (own / "weights.safetensors").write_text("w" * 50)
        (own / ".half").write_text("temporary")
        (own / digests.NAME).write_text("{}")
    there = {
        path.name: path.read_text() for path in home.iterdir() if path.name not in ("lock", ".temporary")
    }
    assert there == {"empty.csv": "", "weights.safetensors": "w" * 50, digests.NAME: "{}"}
    assert not list(node.glob("dgfnet-fit-*"))


def test_what_a_fit_has_written_when_it_fails_comes_back_too(trial, remote):
    def fails():
        with carried(trial, remote) as (here, _):
            (here.places.fit("own") / "failure.json").write_text("{}")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (trial.places.work / "fits/own/failure.json").read_text() == "{}"


def test_digests_come_last_so_that_a_cut_transfer_is_no_result(trial, remote):
    order = []
    write = remote.actor.write
    remote.actor.write = lambda key, name, *rest: (order.append(name), write(key, name, *rest))
    with carried(trial, remote) as (here, _):
        for name in ("weights.safetensors", digests.NAME, "predictions.csv", "fit.json"):
            (here.places.fit("own") / name).write_text("content of it")
    assert list(dict.fromkeys(order))[-1] == digests.NAME


def test_pictures_go_to_a_machine_once_and_do_not_fill_it(trial, remote, node, monkeypatch):
    asked = []
    read = remote.actor.read
    remote.actor.read = lambda path, start: (asked.append(Path(path).name), read(path, start))[1]
    with carried(trial, remote):
        pass
    assert "us.npy" in asked
    asked.clear()
    with carried(trial, remote):
        pass
    assert "us.npy" not in asked
    monkeypatch.setattr(carrying, "CACHE", 1)
    other = replace(trial, task=replace(trial.task, archive="e" * 64))
    with carried(other, remote) as (here, _):
        assert (here.places.archive / "us.npy").is_file()
    kept = [path.name for path in next(node.glob("dgfnet-node-*")).iterdir() if path.is_dir()]
    assert kept == ["e" * 32]


def test_a_pretrained_file_that_is_there_alone_is_brought(trial, remote, monkeypatch):
    path = trial.places.work.parent / "elsewhere/resnet.pt"
    there = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda self: self != path and there(self))
    listing = remote.actor.listing
    monkeypatch.setattr(
        remote.actor, "listing", lambda name: {"resnet.pt": 13} if name == str(path) else listing(name)
    )
    wanted = replace(trial, task=replace(trial.task, pretrained=str(path)))
    with carried(wanted, remote) as (here, _):
        assert Path(here.task.pretrained).read_text() == "from ImageNet"
        assert here.task.pretrained != str(path)


def test_names_of_a_worker_stay_in_the_folder_of_the_fits(trial, remote):
    remote.actor.write("../../own", "../../../other.txt", 0, b"x", True)
    assert (trial.places.work / "fits/own/other.txt").read_bytes() == b"x"
    assert not (trial.places.work.parent / "other.txt").exists()


def test_a_folder_is_seen_by_its_nonce(tmp_path):
    assert not sees(tmp_path, "abc")
    (tmp_path / SHARED).write_text("abd")
    assert not sees(tmp_path, "abc")
    (tmp_path / SHARED).write_text("abc")
    assert sees(tmp_path, "abc")
    assert os.listdir(tmp_path)
