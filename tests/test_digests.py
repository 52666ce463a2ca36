"""Files are believed when they are what was written; large ones are read again only when they changed."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest

from dgfnet import digests
from dgfnet.digests import Damaged, check, check_folder, keep


@pytest.fixture
def folder(tmp_path):
    """A complete folder with a small file, a large one and one in a subfolder."""
    (tmp_path / "below").mkdir()
    (tmp_path / "small.csv").write_text("a,b\n1,2\n")
    (tmp_path / "large.npy").write_bytes(bytes(digests.SMALL))
    (tmp_path / "below" / "table.csv").write_text("c\n3\n")
    keep(tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The names of the files whose content was read."""
    read = []

    def sha256(path):
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "sha256", sha256)
    return read


def damage_size(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_and_hide(path):
    """The size stays, and so does the time of the change that anybody can set."""
    before = path.stat()
    damage_one_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_an_older_file(path):
    other = path.with_suffix(".other")
    other.write_bytes(bytes(len(path.read_bytes())))
    other.write_bytes(b"x" * path.stat().st_size)
    os.utime(other, (1, 1))
    os.replace(other, path)


DAMAGES = (damage_size, damage_one_bit, damage_and_hide, replace_by_an_older_file)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["small.csv", "large.npy", "below/table.csv"])
def test_a_file_that_is_not_what_was_written_is_named(folder, name, damage):
    check_folder(folder)
    damage(folder / name)
    for checking in (lambda: check(folder / name), lambda: check_folder(folder)):
        with pytest.raises(Damaged, match=f"{name}: not what was written"):
            checking()


def test_a_file_that_is_missing_or_was_added_is_named(folder):
    (folder / "small.csv").rename(folder / "other.csv")
    with pytest.raises(Damaged, match=r"small.csv: missing"):
        check_folder(folder)
    with pytest.raises(Damaged, match=r"other.csv: not among the files"):
        check(folder / "other.csv")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": {}}', '{"files": 1, "made_from": {}}'])
def test_a_list_that_is_none_is_refused(folder, text):
    (folder / digests.NAME).write_text(text)
    with pytest.raises(Damaged, match=r"digests.json: damaged"):
        check(folder / "small.csv")


def test_without_a_list_nothing_is_believed(folder):
    (folder / digests.NAME).unlink()
    with pytest.raises(Damaged, match="its writer was interrupted"):
        check(folder / "below" / "table.csv")
    with pytest.raises(Damaged, match="incomplete"):
        check_folder(folder)


def test_large_files_are_read_only_when_they_changed_or_it_decides_something(folder, reads):
    time.sleep(0.05)  # clocks of file systems tick slowly
    os.utime(folder / digests.NAME)
    check_folder(folder)
    assert set(reads) == {"small.csv", "table.csv"}
    check_folder(folder, thorough=True)
    assert reads.count("large.npy") == 1
    large = folder / "large.npy"
    large.write_bytes(large.read_bytes())  # the same again, as from a backup
    time.sleep(0.05)
    check_folder(folder)
    assert reads.count("large.npy") == 2
    check_folder(folder)  # it was read and found right: not again
    assert reads.count("large.npy") == 2


def test_folders_with_a_list_of_their_own_are_left_to_it(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(name)
    keep(tmp_path / "a")
    keep(tmp_path)
    assert set(json.loads((tmp_path / digests.NAME).read_text())["files"]) == {"b/x.csv"}
    (tmp_path / "a" / "x.csv").write_text("changed")
    keep(tmp_path)  # whoever ends the outer folder does not vouch for the inner one
    with pytest.raises(Damaged, match=r"a/x.csv"):
        check(tmp_path / "a" / "x.csv")


def test_files_of_a_running_process_are_not_listed(tmp_path):
    for name in ("lock", "checkpoint.pt", ".half", "fit.json"):
        (tmp_path / name).write_text("x")
    keep(tmp_path, {"crossval/central/dgf/out_of_fold.csv": "0" * 64}, passing=("lock", "checkpoint.pt"))
    record = digests.read(tmp_path)
    assert set(record["files"]) == {"fit.json"}
    assert record["made_from"] == {"crossval/central/dgf/out_of_fold.csv": "0" * 64}
    assert record["files"]["fit.json"] == hashlib.sha256(b"x").hexdigest()
