from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from dgfnet.errors import InputError
from dgfnet.preprocess.archive import COLUMNS, Archive
from dgfnet.preprocess.build import write
from dgfnet.preprocess.sample import Sample

COUNTS = {"us": 4, "ct": 2}


@pytest.fixture
def small(settings):
    return settings.model_copy(update={"us_size": 32, "ct_size": 64, "margin": 0.125})  # pads 4 and 8


def sample(modality, nodule, area, spacing, fill):
    side = {"us": 40, "ct": 80}[modality]
    planes = np.full((3, side, side), fill, dtype=np.uint8)
    view = "axial" if modality == "ct" else "transverse"
    return Sample(nodule, f"P-{nodule}", modality, view, planes, area, spacing, 100 + fill)


def samples():
    yield sample("us", "N1", 400, 0.5, 1)  # 100 mm2
    yield sample("us", "N1", 200, 1.0, 2)  # 200 mm2
    yield sample("ct", "N1", 50, None, 3)
    yield sample("us", "N2", 70, None, 4)
    yield sample("us", "N2", 60, 2.0, 5)  # 240 mm2, but the other image of N2 has no unit
    yield sample("ct", "N2", 10, 1.0, 6)


@pytest.fixture
def archive(tmp_path, small):
    return write(tmp_path / "made" / "on demand", COUNTS, samples(), small)


def test_round_trip(archive):
    again = Archive.open(archive.folder)
    assert again.us.shape == (4, 3, 40, 40)
    assert again.ct.shape == (2, 3, 80, 80)
    assert [plane[0, 0, 0] for plane in again.us] == [1, 2, 4, 5]
    assert [plane[2, -1, -1] for plane in again.ct] == [3, 6]
    assert again.planes("us") is again.us
    assert again.planes("ct") is again.ct
    assert again.size == {"us": 32, "ct": 64}
    assert again.pad == {"us": 4, "ct": 8}


def test_pixels_are_mapped_and_read_only(archive):
    again = Archive.open(archive.folder)
    assert isinstance(again.us, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.us[0] = 0


def test_index(archive):
    index = Archive.open(archive.folder).index
    assert tuple(index.columns) == COLUMNS
    assert index["modality"].tolist() == ["us", "us", "us", "us", "ct", "ct"]
    assert index["row"].tolist() == [0, 1, 2, 3, 0, 1]
    assert index["nodule_id"].tolist() == ["N1", "N1", "N2", "N2", "N1", "N2"]
    assert index["patient_id"].tolist() == ["P-N1", "P-N1", "P-N2", "P-N2", "P-N1", "P-N2"]
    assert index["area_mm2"].tolist() == [100.0, 200.0, 70.0, 240.0, 50.0, 10.0]
    assert index["area_unit"].tolist() == ["mm2", "mm2", "px", "mm2", "px", "mm2"]
    assert index["side_px"].tolist() == [101, 102, 104, 105, 103, 106]


def test_largest_compares_like_with_like(archive):
    assert archive.largest("us") == {"N1": 1, "N2": 2}  # N1 in mm2 (200 > 100), N2 in pixels (70 > 60)
    assert archive.largest("ct") == {"N1": 0, "N2": 1}


def test_largest_takes_the_first_of_equals(tmp_path, small):
    equal = [sample("us", "N1", area, 1.0, 1) for area in (5, 9, 9)] + [sample("ct", "N1", 1, 1.0, 1)]
    assert write(tmp_path, {"us": 3, "ct": 1}, equal, small).largest("us") == {"N1": 1}


def test_digest_is_that_of_the_bytes_on_disk(archive):
    files = (archive.folder / name for name in ("us.npy", "ct.npy", "index.parquet"))
    assert archive.digest() == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_digest_follows_the_content(archive, tmp_path, small):
    same = write(tmp_path / "same", COUNTS, samples(), small)
    other = [*samples()]
    other[0].planes[0, 0, 0] += 1
    assert same.digest() == archive.digest()
    assert write(tmp_path / "other", COUNTS, other, small).digest() != archive.digest()


def test_only_the_archive_is_left_in_the_folder(archive):
    names = sorted(path.name for path in archive.folder.iterdir())
    assert names == ["archive.json", "ct.npy", "index.parquet", "us.npy"]


def test_a_failed_writing_leaves_the_old_archive(archive, small):
    def broken():
        yield from [*samples()][:3]
        raise InputError("a bad file")

    before = {path.name: path.read_bytes() for path in archive.folder.iterdir()}
    with pytest.raises(InputError, match="a bad file"):
        write(archive.folder, COUNTS, broken(), small)
    assert {path.name: path.read_bytes() for path in archive.folder.iterdir()} == before


def test_an_interrupted_replacement_is_no_archive(archive, small, monkeypatch):
    def killed(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr("dgfnet.preprocess.build.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write(archive.folder, COUNTS, samples(), small)
    with pytest.raises(InputError, match="no complete archive"):
        Archive.open(archive.folder)


def test_a_missing_sample_is_noticed(tmp_path, small):
    with pytest.raises(ValueError, match="3 us samples came, 4 were announced"):
        write(tmp_path, COUNTS, [*samples()][1:], small)
    assert not list(tmp_path.iterdir())


def test_a_cohort_may_do_without_one_modality_but_not_without_both(tmp_path, small):
    some = [sample for sample in samples() if sample.modality == "us"]
    write(tmp_path, {"us": len(some), "ct": 0}, some, small)
    archive = Archive.open(tmp_path)
    assert archive.pictured() == ["us"]
    assert len(archive.ct) == 0
    assert archive.largest("ct") == {}
    assert set(archive.largest("us")) == {sample.nodule_id for sample in some}
    with pytest.raises(InputError, match="no image in the screened cohort"):
        write(tmp_path, {"us": 0, "ct": 0}, [], small)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def swap_rows(path):
    index = pd.read_parquet(path)
    index["row"] = 0
    index.to_parquet(path)


def drop_column(path):
    pd.read_parquet(path).drop(columns="view").to_parquet(path)


def drop_last_row(path):
    pd.read_parquet(path)[:-1].to_parquet(path)


def change_pad(path):
    head = json.loads(path.read_text())
    head["pad"]["us"] = 3
    path.write_text(json.dumps(head))


def drop_key(path):
    head = json.loads(path.read_text())
    del head["size"]["ct"]
    path.write_text(json.dumps(head))


def as_floats(path):
    np.save(path, np.load(path).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("us.npy", truncate, "us.npy: cannot be read"),
        ("ct.npy", lambda path: path.write_bytes(b""), "ct.npy: cannot be read"),
        ("ct.npy", lambda path: path.unlink(), "ct.npy: cannot be read"),
        ("ct.npy", as_floats, r"ct.npy: found float32 \(2, 3, 80, 80\), expected uint8"),
        ("index.parquet", truncate, "index.parquet: cannot be read"),
        ("index.parquet", lambda path: path.unlink(), "index.parquet: cannot be read"),
        ("index.parquet", drop_column, "lacks column.* view"),
        ("index.parquet", swap_rows, "rows of us are not 0 to 3"),
        (
            "index.parquet",
            drop_last_row,
            r"ct.npy: found uint8 \(2, 3, 80, 80\), expected uint8 \(1, 3, 80, 80\)",
        ),
        ("archive.json", lambda path: path.unlink(), "no such file, the folder holds no complete archive"),
        ("archive.json", lambda path: path.write_text("{"), "archive.json: damaged"),
        ("archive.json", drop_key, "archive.json: damaged"),
        (
            "archive.json",
            change_pad,
            r"us.npy: found uint8 \(4, 3, 40, 40\), expected uint8 \(4, 3, 38, 38\)",
        ),
    ],
)
def test_damage_is_an_input_error(archive, name, damage, message):
    damage(archive.folder / name)
    with pytest.raises(InputError, match=message):
        Archive.open(archive.folder)
