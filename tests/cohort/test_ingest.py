"""Folder trees, DICOM exports and archives become cohorts; every file is used or accounted for."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import CT_SOP, dicom, segmentation

from dgfnet.cli import main
from dgfnet.cohort.ingest.tree import compile_pattern
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.errors import InputError

GREY = (np.arange(48 * 64).reshape(48, 64) % 251).astype(np.uint8)
MASK = np.zeros((48, 64), dtype=np.uint8)
MASK[8:14, 10:20] = 1
LABELS = "patient_id,cohort,lnm_central,age\nA,main,1,50\nB,external,0,61\nC,main,0,70\n"
IMAGE = "{patient}/{nodule}/{modality}_{view}_{number}.png"


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def not_used(out):
    with (out / "not_used.csv").open(newline="") as stream:
        return {(row["kind"], row["name"]): row["reason"] for row in csv.DictReader(stream)}


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path):
    """Two patients, one with two nodules, with everything that can be wrong in between."""
    source = tmp_path / "Export Mueller 2026"
    for number, name in enumerate(
        (
            "A/1/us_long_1",
            "A/1/us_trans_2",
            "A/1/ct_axial_1",
            "A/2/US_t_1",
            "A/2/CT_axial_9",
            "B/1/us_t_1",
            "B/1/ct_x_1",
        )
    ):
        write(source / f"{name}.png", GREY // (number + 1))
        write(source / f"{name}_mask.png", MASK * 255)
    write(source / "B/1/us_t_2.png", GREY)  # no mask
    write(source / "B/1/mr_t_1.png", GREY)
    write(source / "B/1/mr_t_1_mask.png", MASK)
    write(source / "B/1/us_oblique_3.png", GREY)
    write(source / "B/1/us_oblique_3_mask.png", MASK)
    write(source / "Z/1/us_t_1.png", GREY)  # no label
    write(source / "Z/1/us_t_1_mask.png", MASK)
    (source / "notes.txt").write_text("x")
    labels = tmp_path / "labels.csv"
    labels.write_text(LABELS)
    return source, labels


def ingest_tree(tree, out, *more):
    given = more or ("--image", IMAGE, "--mask", "{path}_mask.png")
    main(["ingest", "folder", str(tree[0]), "--labels", str(tree[1]), "--out", str(out), *given])


def test_a_tree_becomes_a_cohort(tree, tmp_path, capsys):
    ingest_tree(tree, tmp_path / "out")
    cohort = read_cohort(tmp_path / "out")
    assert [n.nodule_id for n in cohort.nodules] == ["A-1", "A-2", "B-1"]
    assert [(n.patient_id, n.cohort, n.labels["central"]) for n in cohort.nodules] == [
        ("A", "main", 1),
        ("A", "main", 1),
        ("B", "external", 0),
    ]
    assert cohort.nodules[0].attributes["age"] == "50"
    assert [i.view for i in cohort.nodules[0].of("us")] == ["longitudinal", "transverse"]
    assert [i.view for i in cohort.nodules[2].of("ct")] == ["axial"]
    pixels, mask = read_pair(cohort.nodules[0].of("us")[0])
    np.testing.assert_array_equal(pixels.values, GREY)
    np.testing.assert_array_equal(mask, MASK)
    assert "{'nodules': 3, 'us_images': 4, 'ct_images': 3}" in capsys.readouterr().out


def test_every_file_of_a_tree_is_used_or_accounted_for(tree, tmp_path):
    ingest_tree(tree, tmp_path / "out")
    told = not_used(tmp_path / "out")
    assert told["file", "notes.txt"] == "matches no --image pattern"
    assert told["file", "B/1/us_t_2.png"] == "its mask B/1/us_t_2_mask.png is missing"
    assert told["file", "B/1/mr_t_1.png"] == "modality 'mr' is not us or ct"
    assert told["file", "B/1/us_oblique_3.png"] == "view 'oblique' is not transverse or longitudinal"
    assert told["file", "Z/1/us_t_1.png"] == "the labels have no row of patient 'Z' or nodule 'Z-1'"
    assert told["file", "Z/1/us_t_1_mask.png"] == "mask of an image that is not used"
    assert told["row", "C"] == "no image of it was found"
    used = {path for path in names(tmp_path / "out") if path.startswith(("us/", "ct/"))}
    assert len(used) + sum(kind == "file" for kind, _ in told) == len(names(tree[0]))
    assert not any("Mueller" in path.read_text() for path in (tmp_path / "out").glob("*.*"))


def test_modality_may_stand_before_the_pattern_and_volumes_give_their_largest_slices(tree, tmp_path):
    source = tmp_path / "volumes"
    for patient in "AB":
        write(source / "sono" / f"{patient}.png", GREY)
        write(source / "drawn" / f"{patient}.png", MASK * 255)
        values = np.zeros((20, 18, 6), dtype=np.int16)
        drawn = np.zeros_like(values)
        for z, side in enumerate((0, 2, 5, 3, 4, 0)):
            drawn[4 : 4 + side, 4:9, z] = 1
        for name, voxels in (("ct", values), ("seg", drawn)):
            (source / name).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, np.diag([0.6, 0.6, 2, 1])), source / name / f"{patient}.nii.gz")
    nib.save(nib.Nifti1Image(values[:, :, :3], np.eye(4)), source / "seg/B.nii.gz")
    patterns = ("--image", "us:sono/{patient}.png", "--mask", "drawn/{patient}.png")
    patterns += ("--image", "ct:ct/{patient}.nii.gz", "--mask", "seg/{patient}.nii.gz")
    ingest_tree((source, tree[1]), tmp_path / "out", *patterns)
    first, second = read_cohort(tmp_path / "out").nodules
    assert [i.slice for i in first.of("ct")] == [2, 3, 4]
    assert first.of("ct")[0].spacing_mm == pytest.approx(0.6)
    assert read_pair(first.of("ct")[0])[1].sum() == 5 * 5
    assert second.of("ct") == ()
    told = not_used(tmp_path / "out")
    assert (
        told["file", "ct/B.nii.gz"] == told["file", "seg/B.nii.gz"] == "image and mask are on different grids"
    )


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        ("{modality}/{number}.png", "x", "expected a field {patient}"),
        ("{patient}/{scan}.png", "x", "unknown field {scan}, expected patient"),
        ("{patient}.png", "x", "expected us: or ct: before the pattern"),
        ("us:{modality}/{patient}.png", "x", "expected us: or ct: before the pattern"),
        ("mr:{patient}.png", "x", "'mr' before the colon"),
        ("us:{patient}.png", "{nodule}.png", "field {nodule} is not in its --image"),
    ],
)
def test_patterns_that_cannot_be_used(image, mask, said):
    with pytest.raises(InputError) as caught:
        compile_pattern(image, mask)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tree: tree[1].write_text("patient_id,lnm_central\nA,2\n"),
            "row 2, column lnm_central: found '2'",
        ),
        (lambda tree: tree[1].write_text("patient_id\nA\nA\n"), "labels.csv row 3: a second row of 'A'"),
        (lambda tree: tree[1].write_text("patient_id\nQ\n"), "nothing of the source can be used"),
        (lambda tree: tree[1].unlink(), "labels.csv: no such file"),
        (lambda tree: shutil.rmtree(tree[0]), "no such folder"),
    ],
)
def test_faults_of_a_tree_leave_nothing_behind(tree, tmp_path, capsys, change, said):
    change(tree)
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as caught:
        ingest_tree(tree, tmp_path / "out")
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def export(tmp_path):
    """A DICOM export: US and CT of A with two nodules, US clip of B, and what cannot be used."""
    source = tmp_path / "export"
    source.mkdir()
    clean = {"PatientIdentityRemoved": "YES"}
    study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.3.9", "SeriesInstanceUID": "1.2.3.1"}
    place = {"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "PixelSpacing": ["0.5", "0.5"]}
    place |= {
        "SliceThickness": "1",
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "PatientID": "A",
    } | study
    slices = [
        dicom(
            source / f"{z}",
            np.full((48, 64), 1100 + z, dtype=np.int16),
            CT_SOP,
            ImagePositionPatient=["0", "0", str(z)],
            **place,
            **clean,
        )
        for z in range(6)
    ]
    left = np.zeros((6, 48, 64), dtype=np.uint8)
    right = np.zeros_like(left)
    for z, side in enumerate((0, 3, 6, 5, 4, 0)):
        left[z, 5 : 5 + side, 5:15] = 1
    right[2, 30:35, 40:50] = 1
    known = {"PatientID": "A"} | clean
    segmentation(source / "seg-ct", slices, {"left upper": left, "right": right}, **known)
    us = [
        dicom(source / f"us{k}.dcm", GREY, SeriesDescription=text, **known, **study)
        for k, text in enumerate(("THYROID LONG", "THYROID", "THYROID TRANS"))
    ]
    for k, label in enumerate(("left upper", "right")):
        segmentation(source / f"seg-us{k}", [us[k]], {label: MASK[None]}, **known)
    dicom(source / "named.dcm", GREY, PatientName="Mueller^Anna", PatientID="A")
    (source / "readme.txt").write_text("x")
    dicom(source / "mr.dcm", GREY, Modality="MR", **known)
    stranger = dicom(source / "z.dcm", GREY, PatientID="Z", **clean)
    segmentation(source / "seg-z", [stranger], {"n": MASK[None]}, PatientID="Z", **clean)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,nodule_id,lnm_central,lnm_lateral\nA,A-left_upper,1,0\nA,A-right,0,0\n")
    return source, labels


def test_a_dicom_export_becomes_a_cohort(export, tmp_path):
    main(["ingest", "dicom", str(export[0]), "--labels", str(export[1]), "--out", str(tmp_path / "out")])
    left, right = sorted(read_cohort(tmp_path / "out").nodules, key=lambda nodule: nodule.nodule_id)
    assert (left.nodule_id, right.nodule_id) == ("A-left_upper", "A-right")
    assert (left.labels["central"], right.labels["central"]) == (1, 0)
    found = {}
    for image in left.of("ct"):
        pixels, mask = read_pair(image)
        assert pixels.unit == "HU"
        found[int(pixels.values[0, 0])] = int(mask.sum())
    assert found == {78: 60, 79: 50, 80: 40}  # 1100 + z - 1024, and ten pixels a row
    assert [int(read_pair(image)[1].sum()) for image in right.of("ct")] == [50]
    assert [i.view for i in left.of("us")] == ["longitudinal"]
    np.testing.assert_array_equal(read_pair(right.of("us")[0])[1], MASK)
    assert json.loads((tmp_path / "out/import.json").read_text())["views_assumed_transverse"] == 1


def test_every_file_of_an_export_is_used_or_accounted_for(export, tmp_path):
    main(["ingest", "dicom", str(export[0]), "--labels", str(export[1]), "--out", str(tmp_path / "out")])
    told = {name: reason for (kind, name), reason in not_used(tmp_path / "out").items() if kind == "file"}
    assert told == {
        "0": "no DICOM-SEG draws a nodule on it",
        "1": "not among the 3 largest slices of its nodule",
        "5": "no DICOM-SEG draws a nodule on it",
        "us2.dcm": "no DICOM-SEG draws a nodule on it",
        "named.dcm": told["named.dcm"],
        "readme.txt": "not a DICOM file",
        "mr.dcm": "modality MR without use here",
        "z.dcm": "the labels have no row of patient 'Z' or nodule 'Z'",
        "seg-z": "draws on no image that is used",
    }
    assert told["named.dcm"].startswith("names a person or a place (PatientName, PatientID)")
    copied = {path for path in names(tmp_path / "out") if path.endswith(".dcm")}
    # slice 2 is copied for both nodules; three segmentations became masks
    assert len(copied) - 1 + 3 + len(told) == len(names(export[0]))
    assert not any(
        b"Mueller" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def test_frames_of_a_clip_are_images_of_their_own(tmp_path):
    source = tmp_path / "export"
    source.mkdir()
    known = {"PatientID": "B", "PatientIdentityRemoved": "YES"}
    still = dicom(source / "clip", 255 - GREY, **known)
    segmentation(source / "seg", [still], {"n": MASK[None]}, **known)
    # drawn on the second of three frames
    clip = np.stack([GREY, 255 - GREY, GREY])
    dicom(source / "clip", clip, **known, SOPInstanceUID=still.SOPInstanceUID)
    drawn = pydicom.dcmread(source / "seg")
    origin = drawn.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    origin.ReferencedFrameNumber = 2
    drawn.save_as(source / "seg")
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nB,1\n")
    main(["ingest", "dicom", str(source), "--labels", str(labels), "--out", str(tmp_path / "out")])
    nodule = read_cohort(tmp_path / "out").nodules[0]
    assert [(image.slice, image.modality) for image in nodule.images] == [(1, "us")]
    pixels, mask = read_pair(nodule.images[0])
    np.testing.assert_array_equal(pixels.values, 255 - GREY)
    np.testing.assert_array_equal(mask, MASK)


def test_an_archive_that_leads_out_or_is_none_is_refused(tmp_path):
    import tarfile

    from dgfnet.cohort.ingest.public import import_ddti

    evil = tmp_path / "evil.tgz"
    (tmp_path / "x").write_text("x")
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(tmp_path / "x", arcname="../../evil")
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"no archive")
    for source in (evil, broken):
        with pytest.raises(InputError, match=r"cannot be unpacked .* expected \.tgz"):
            import_ddti(source, tmp_path / "out", 1, 0.2)
    assert not (tmp_path / "out").exists()
    assert not Path(tmp_path.parent.parent / "evil").exists()
