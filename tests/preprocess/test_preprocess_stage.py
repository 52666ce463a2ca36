from __future__ import annotations

from pathlib import Path

import cv2
import literal
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from masks import box, grey

from dgfnet import parallel
from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.errors import InputError
from dgfnet.measured.measure import NAMES
from dgfnet.preprocess import stage
from dgfnet.preprocess.contact import chosen_rows, write_sheet
from dgfnet.preprocess.sample import load_sample
from dgfnet.results import MEASURED

MASK = box((120, 160), 40, 70, 50, 100)  # 1500 pixels


def us_image(folder: Path, nodule: str, number: int, mask=MASK, spacing=0.1):
    image, mask_ = folder / f"{nodule}-{number}.png", folder / f"{nodule}-{number}-mask.png"
    cv2.imwrite(str(image), grey((120, 160), number))
    cv2.imwrite(str(mask_), mask * np.uint8(255))
    return Image(nodule, "us", "transverse", image, mask_, spacing, None, None, None, False)


def ct_image(folder: Path, nodule: str, number: int, spacing=None):
    """A NIfTI slice; stored so that the reader shows rows and columns as in `hounsfield`."""
    image, mask = folder / f"{nodule}-{number}.nii", folder / f"{nodule}-{number}-mask.nii"
    for path, values in ((image, hounsfield(number)), (mask, MASK)):
        stored = np.float32(values).T[::-1, ::-1, None]
        nib.Nifti1Image(np.ascontiguousarray(stored), np.diag([0.5, 0.5, 2.0, 1.0])).to_filename(path)
    return Image(nodule, "ct", "axial", image, mask, spacing, 0, 50.0, 350.0, False)


def hounsfield(number):
    return np.rint(grey((120, 160), number) * 2.0 - 200.0)


@pytest.fixture
def cohort(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    nodules = []
    for number in range(3):
        name = f"N{number}"
        images = (
            us_image(folder, name, 10 * number),
            us_image(folder, name, 10 * number + 1),
            ct_image(folder, name, 10 * number + 2),
        )
        labels = {"central": 1, "lateral": None}
        nodules.append(Nodule(name, f"P{number}", "main", labels, 1, {}, images))
    return Cohort(folder, tuple(nodules))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_archive_holds_the_papers_crops(cohort, settings, tmp_path):
    archive = stage.build(cohort, settings, tmp_path / "out", processes=1)
    assert archive.us.shape == (6, 3, 80, 80)
    assert archive.ct.shape == (3, 3, 80, 80)
    expected = literal.us(grey((120, 160), 11), MASK, 64)
    np.testing.assert_array_equal(archive.us[3, :, 8:72, 8:72], expected)  # row 3: N1's second image
    windowed = np.rint(np.clip((hounsfield(22) + 125) * 255 / 350, 0, 255)).astype(np.uint8)
    np.testing.assert_array_equal(archive.ct[2, :, 8:72, 8:72], literal.ct(windowed, MASK, 64))


def test_index_says_whose_and_how_large(cohort, settings, tmp_path):
    index = stage.build(cohort, settings, tmp_path / "out", processes=1).index
    assert index["nodule_id"].tolist() == ["N0", "N0", "N1", "N1", "N2", "N2", "N0", "N1", "N2"]
    assert index["patient_id"].tolist() == ["P0", "P0", "P1", "P1", "P2", "P2", "P0", "P1", "P2"]
    assert index["view"].tolist() == ["transverse"] * 6 + ["axial"] * 3
    # US: 1500 x 0.1 x 0.1 from the manifest; CT: 1500 x 0.5 x 0.5 from the file
    np.testing.assert_allclose(index["area_mm2"], [15.0] * 6 + [375.0] * 3)
    assert set(index["area_unit"]) == {"mm2"}
    # 30 + 40 + 40 rows, 50 + 40 + 40 columns; 25 for CT
    assert index["side_px"].tolist() == [130] * 6 + [100] * 3


def test_what_is_measured_on_every_picture_stands_beside_the_archive(cohort, settings, tmp_path):
    plain = stage.build(cohort, settings, tmp_path / "plain", processes=1)
    archive = stage.build(cohort, settings, tmp_path / "out", processes=1, measuring=True)
    assert archive.digest() == plain.digest()  # nothing is trained anew
    assert not (tmp_path / "plain" / MEASURED).exists()
    table = pd.read_parquet(tmp_path / "out" / MEASURED)
    assert list(zip(table["modality"], table["row"], strict=True)) == [
        *(("us", row) for row in range(6)),
        *(("ct", row) for row in range(3)),
    ]
    assert table["unit"].tolist() == ["grey"] * 6 + ["HU"] * 3
    assert set(table.columns) == {"modality", "row", "unit", *NAMES["us"], *NAMES["ct"]}
    # areas as in the index; the mean of the pixels as they were read, in grey levels and in HU
    np.testing.assert_allclose(table["area_mm2"], [15.0] * 6 + [375.0] * 3)
    inside = MASK > 0
    means = [grey((120, 160), number)[inside].mean() for number in (0, 1, 10, 11, 20, 21)]
    means += [hounsfield(number)[inside].mean() for number in (2, 12, 22)]
    np.testing.assert_allclose(table["mean"], means, rtol=1e-6)
    assert table.loc[table["modality"] == "ct", "foci_count"].isna().all()


def test_without_a_spacing_lengths_are_not_measured(tmp_path, settings):
    found = load_sample(us_image(tmp_path, "N", 1, spacing=None), "P", settings, measuring=True).measured
    assert np.isnan(found["area_mm2"])
    assert found["height_over_width"] == pytest.approx(30 / 50, abs=0.01)  # of an outline between pixels


def test_spacing_of_manifest_wins_over_the_files(tmp_path, settings):
    assert load_sample(ct_image(tmp_path, "N", 1, spacing=0.7), "P", settings).spacing_mm == 0.7
    assert load_sample(ct_image(tmp_path, "N", 1, spacing=None), "P", settings).spacing_mm == 0.5
    assert load_sample(us_image(tmp_path, "N", 1, spacing=None), "P", settings).spacing_mm is None


def test_processes_do_not_change_the_result(cohort, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "FEW", 0)
    monkeypatch.setattr(parallel, "TOGETHER", 1)
    monkeypatch.setattr(parallel, "IN_FLIGHT", 1)  # so that one of three nodules waits
    serial = stage.build(cohort, settings, tmp_path / "serial", processes=1)
    spread = stage.build(cohort, settings, tmp_path / "parallel", processes=2)
    assert contents(spread.folder) == contents(serial.folder)


def test_every_fault_is_told_at_once(cohort, settings, tmp_path):
    files = [image for nodule in cohort.nodules for image in nodule.images]
    cv2.imwrite(str(files[0].mask), np.zeros((120, 160), dtype=np.uint8))
    cv2.imwrite(str(files[4].mask), np.eye(60, 70, dtype=np.uint8) * 255)
    files[7].image.write_bytes(b"no picture")
    files[8].image.unlink()
    with pytest.raises(InputError) as caught:
        stage.build(cohort, settings, tmp_path / "out", processes=1)
    first, *lines = str(caught.value).split("\n")
    assert first == "4 image(s) cannot be used:"
    assert lines[0].startswith("nodule N0, us ")
    assert "N0-0-mask.png: the mask is empty" in lines[0]
    assert lines[1].startswith("nodule N1, us ")
    assert "N1-11.png has 120x160 pixels" in lines[1]
    assert "N1-11-mask.png has 60x70" in lines[1]
    assert "N2-21.png" in lines[2]
    assert "N2-22.nii" in lines[3]
    assert not list((tmp_path / "out").iterdir())


def test_twenty_faults_are_shown(cohort, settings, tmp_path):
    bad = us_image(cohort.root, "N9", 9, mask=np.zeros_like(MASK))
    many = Nodule("N9", "P9", "main", {"central": 0, "lateral": 0}, 1, {}, (bad,) * 23)
    with pytest.raises(InputError) as caught:
        stage.build(Cohort(cohort.root, (*cohort.nodules, many)), settings, tmp_path / "out", processes=1)
    lines = str(caught.value).split("\n")
    assert len(lines) == 22
    assert lines[0] == "23 image(s) cannot be used:"
    assert lines[-1] == "... and 3 more"


def test_contact_sheets_show_nodule_and_boundary(cohort, settings, tmp_path):
    archive = stage.build(cohort, settings, tmp_path / "out", processes=1)
    for name in ("us", "ct"):
        write_sheet(tmp_path / f"{name}.png", archive, name)
        sheet = cv2.imread(str(tmp_path / f"{name}.png")).astype(int)
        _, green, red = np.moveaxis(sheet, 2, 0)
        assert sheet.shape == (240, 6 * 240, 3)  # one line of six tiles of 3 x 80 pixels
        for tile in range(3):
            part = np.s_[:, 240 * tile : 240 * (tile + 1)]
            assert (red[part] - green[part] > 150).any()
            assert (green[part] - red[part] > 20).any()
            edges = (sheet[120, 240 * tile + column].tolist() for column in (24, 215))  # 8 and 72 x 3 pixels
            assert [*edges] == [[255, 180, 60]] * 2
    assert not sheet[:, 3 * 240 :].any()


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(1, 24, [0]), (3, 24, [0, 1, 2]), (9, 3, [0, 4, 8]), (100, 2, [0, 99])]
)
def test_rows_of_the_contact_sheet(count, wanted, expected):
    assert chosen_rows(count, wanted) == expected
