"""Folder trees, DICOM exports and archives become cohorts; every file is used or accounted for."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest

from dgfnet.cli import main
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.errors import InputError
from dgfnet.ingest.public import import_ddti
from dgfnet.ingest.tree import compile_pattern
from dicom_files import CT_SOP, dicom, segmentation

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
        return {
            (row["kind"], row["name"]): row["reason"] + (row["detail"] and f" ({row['detail']})")
            for row in csv.DictReader(stream)
        }


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
            "B/1/ct_trans_1",
        )
    ):
        write(source / f"{name}.png", GREY // (number + 1))
        write(source / f"{name}_mask.png", MASK * 255)
    write(source / "B/1/us_t_2.png", GREY)  # no mask
    write(source / "B/1/mr_t_1.png", GREY)
    write(source / "B/1/mr_t_1_mask.png", MASK)
    write(source / "B/1/us_oblique_3.png", GREY)
    write(source / "B/1/us_oblique_3_mask.png", MASK)
    write(source / "B/1/ct_coronal_3.png", GREY)
    write(source / "B/1/ct_coronal_3_mask.png", MASK)
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
    reasons = not_used(tmp_path / "out")
    assert reasons["file", "notes.txt"] == "matches no --image pattern"
    assert reasons["file", "B/1/us_t_2.png"] == "its mask is missing (looked for B/1/us_t_2_mask.png)"
    assert reasons["file", "B/1/mr_t_1.png"] == "modality 'mr' is not us or ct"
    assert reasons["file", "B/1/us_oblique_3.png"] == "view 'oblique' is not transverse or longitudinal"
    assert reasons["file", "B/1/ct_coronal_3.png"] == "view 'coronal' is not axial"
    assert reasons["file", "Z/1/us_t_1.png"] == "the labels have no row of it (patient 'Z', nodule 'Z-1')"
    assert reasons["file", "Z/1/us_t_1_mask.png"] == "mask of an image that is not used"
    assert reasons["row", "C"] == "no image of it is used"
    used = {path for path in names(tmp_path / "out") if path.startswith(("us/", "ct/"))}
    assert len(used) + sum(kind == "file" for kind, _ in reasons) == len(names(tree[0]))
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
    reasons = not_used(tmp_path / "out")
    said = reasons["file", "ct/B.nii.gz"]
    assert said == reasons["file", "seg/B.nii.gz"]
    assert said.startswith(
        "image and mask are on different grids (B.nii.gz lies on another grid than B.nii.gz: "
    )
    assert "20x18x3 of 1 x 1 x 1 mm" in said
    assert "20x18x6 of 0.6 x 0.6 x 2 mm" in said


def test_reasons_are_counted_whatever_the_file_is_called(tree, tmp_path, capsys):
    for number in range(3, 6):
        write(tree[0] / f"B/1/us_t_{number}.png", GREY)
    ingest_tree(tree, tmp_path / "out")
    assert "    4  folder file: its mask is missing\n" in capsys.readouterr().out


def test_links_and_names_that_are_no_text_are_accounted_for(tree, tmp_path):
    source, labels = tree
    (source / "shared").symlink_to(tmp_path)
    (source / "lost.png").symlink_to(tmp_path / "nowhere")
    (source / os.fsdecode(b"M\xfcller.png")).write_bytes(b"x")
    labels = labels.rename(source / "labels.csv")  # used, though not as an image
    ingest_tree((source, labels), tmp_path / "out")
    reasons = not_used(tmp_path / "out")
    link = "a link to a folder, or no file; links are not followed"
    assert reasons["file", "shared"] == reasons["file", "lost.png"] == link
    assert reasons["file", "M\\udcfcller.png"] == "matches no --image pattern"
    assert ("file", "labels.csv") not in reasons


def test_dicom_files_of_a_tree_that_name_a_person_are_not_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, more in (
        ("A", {"PatientID": "A", "PatientIdentityRemoved": "YES"}),
        ("B", {"PatientName": "Mueller"}),
    ):
        dicom(source / f"{name}.dcm", GREY, **more)
        write(source / f"{name}.png", MASK * 255)
    labels = tmp_path / "labels.csv"
    labels.write_text(LABELS)
    ingest_tree((source, labels), tmp_path / "out", "--image", "us:{patient}.dcm", "--mask", "{patient}.png")
    reasons = not_used(tmp_path / "out")
    assert reasons["file", "B.dcm"].startswith("names a person or a place (PatientName); de-identify")
    assert ("file", "B.png") in reasons
    assert names(tmp_path / "out" / "us") == {"A_1.dcm", "A_1_mask.png"}


def test_a_mask_that_serves_two_images_is_used_when_one_of_them_is(tmp_path):
    source = tmp_path / "source"
    write(source / "A/mask.png", MASK * 255)
    write(source / "A/1.png", GREY)
    dicom(source / "A/2.dcm", GREY, PatientName="Mueller")
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nA,1\n")
    patterns = ("--image", "us:{patient}/{number}.*", "--mask", "{patient}/mask.png")
    ingest_tree((source, labels), tmp_path / "out", *patterns)
    assert {name for kind, name in not_used(tmp_path / "out") if kind == "file"} == {"A/2.dcm"}


def test_an_axial_view_is_transverse_in_ultrasound_and_dots_of_folders_are_no_endings(tmp_path):
    source = tmp_path / "source"
    (source / "1.2.840/A").mkdir(parents=True)
    dicom(source / "1.2.840/A/axial1", GREY)
    write(source / "1.2.840/A/axial1_mask.png", MASK * 255)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nA,1\n")
    patterns = ("--image", "us:*/{patient}/{view}{number}", "--mask", "{path}_mask.png")
    ingest_tree((source, labels), tmp_path / "out", *patterns)
    (image,) = read_cohort(tmp_path / "out").nodules[0].images
    assert image.view == "transverse"
    np.testing.assert_array_equal(read_pair(image)[1], MASK)


def test_ids_too_long_for_a_file_name_are_accounted_for(tree, tmp_path):
    nodule = "n" * 200  # with the patient's name and a number more than a name takes
    write(tree[0] / f"A/{nodule}/us_t_1.png", GREY)
    write(tree[0] / f"A/{nodule}/us_t_1_mask.png", MASK * 255)
    ingest_tree(tree, tmp_path / "out")
    reasons = not_used(tmp_path / "out")
    assert (
        reasons["file", f"A/{nodule}/us_t_1.png"] == "patient and nodule together are longer than 200 bytes"
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
        ("us:{patient}.png", "{patient", "--mask {patient: a brace without its partner"),
        ("us:{patient}}.png", "x", "--image {patient}}.png: a brace without its partner"),
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
        (
            lambda tree: tree[1].write_text("patient_id,nodule_id,cohort\nA,A-1,main\nA,A-2,external\n"),
            "labels.csv row 3, column cohort: patient 'A' is external here and main above",
        ),
        (
            # patient A-1 with nodule 1, and patient A with nodule 1-1
            lambda tree: (
                shutil.copytree(tree[0] / "A/1", tree[0] / "A/1-1"),
                shutil.copytree(tree[0] / "A/1", tree[0] / "A-1/1"),
                tree[1].write_text("patient_id\nA\nA-1\n"),
            ),
            "'A-1-1' stands already in row",
        ),
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
    patient = {"PatientID": "A"} | clean
    segmentation(source / "seg-ct", slices, {"left upper": left, "right": right}, **patient)
    us = [
        dicom(source / f"us{k}.dcm", GREY, SeriesDescription=text, **patient, **study)
        for k, text in enumerate(("THYROID LONG", "THYROID", "THYROID TRANS"))
    ]
    for k, label in enumerate(("left upper", "right")):
        segmentation(source / f"seg-us{k}", [us[k]], {label: MASK[None]}, **patient)
    dicom(source / "named.dcm", GREY, PatientName="Mueller^Anna", PatientID="A")
    (source / "readme.txt").write_text("x")
    dicom(source / "mr.dcm", GREY, Modality="MR", **patient)
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
    areas = {}
    for image in left.of("ct"):
        pixels, mask = read_pair(image)
        assert pixels.unit == "HU"
        areas[int(pixels.values[0, 0])] = int(mask.sum())
    assert areas == {78: 60, 79: 50, 80: 40}  # 1100 + z - 1024, and ten pixels a row
    assert [int(read_pair(image)[1].sum()) for image in right.of("ct")] == [50]
    assert [i.view for i in left.of("us")] == ["longitudinal"]
    np.testing.assert_array_equal(read_pair(right.of("us")[0])[1], MASK)
    assert json.loads((tmp_path / "out/import.json").read_text())["views_assumed_transverse"] == 1


def test_every_file_of_an_export_is_used_or_accounted_for(export, tmp_path):
    main(["ingest", "dicom", str(export[0]), "--labels", str(export[1]), "--out", str(tmp_path / "out")])
    reasons = {name: reason for (kind, name), reason in not_used(tmp_path / "out").items() if kind == "file"}
    assert reasons == {
        "0": "no DICOM-SEG draws a nodule on it",
        "1": "not among the 3 largest slices of its nodule",
        "5": "no DICOM-SEG draws a nodule on it",
        "us2.dcm": "no DICOM-SEG draws a nodule on it",
        "named.dcm": reasons["named.dcm"],
        "readme.txt": "not a DICOM file",
        "mr.dcm": "modality MR without use here",
        "z.dcm": "the labels have no row of its nodule",
        "seg-z": "draws on no image that is used",
    }
    assert reasons["named.dcm"].startswith("names a person or a place (PatientName, PatientID)")
    copied = {path for path in names(tmp_path / "out") if path.endswith(".dcm")}
    # slice 2 is copied for both nodules; three segmentations became masks
    assert len(copied) - 1 + 3 + len(reasons) == len(names(export[0]))
    assert not any(
        b"Mueller" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def ingest_export(source, labels, out):
    main(["ingest", "dicom", str(source), "--labels", str(labels), "--out", str(out)])


def test_a_nodule_without_a_label_is_told_where_its_files_serve_another(export, tmp_path):
    source, labels = export
    labels.write_text("patient_id,nodule_id,lnm_central\nA,A-right,0\n")
    ingest_export(source, labels, tmp_path / "out")
    reasons = not_used(tmp_path / "out")
    assert reasons["nodule", "A-left_upper"] == "the labels have no row of its nodule"
    assert reasons["file", "3"] == "the labels have no row of its nodule"
    assert ("file", "2") not in reasons  # the right one is drawn there too
    assert [nodule.nodule_id for nodule in read_cohort(tmp_path / "out").nodules] == ["A-right"]


def test_segments_of_one_label_are_one_mask_and_a_second_file_is_told(tmp_path):
    source = tmp_path / "export"
    source.mkdir()
    patient = {"PatientID": "B", "PatientIdentityRemoved": "YES"}
    still = dicom(source / "still", GREY, **patient)
    other = np.zeros_like(MASK)
    other[30:33, 40:44] = 1
    segmentation(source / "seg-1", [still], {"n": MASK[None], "n2": other[None]}, **patient)
    drawn = pydicom.dcmread(source / "seg-1")
    drawn.SegmentSequence[1].SegmentLabel = "n"
    drawn.save_as(source / "seg-1")
    segmentation(source / "seg-2", [still], {"n": other[None]}, **patient)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nB,1\n")
    ingest_export(source, labels, tmp_path / "out")
    (image,) = read_cohort(tmp_path / "out").nodules[0].images
    np.testing.assert_array_equal(read_pair(image)[1], MASK | other)
    assert not_used(tmp_path / "out") == {
        ("file", "seg-2"): "draws on no image that is used",
        ("drawing", "seg-2"): "another DICOM-SEG draws the same nodule on the same image (on still)",
    }


def test_labels_that_would_become_one_nodule_are_refused(export, tmp_path, capsys):
    source, labels = export
    drawn = pydicom.dcmread(source / "seg-us1")
    drawn.SegmentSequence[0].SegmentLabel = "left_upper"
    drawn.save_as(source / "seg-us1")
    with pytest.raises(SystemExit):
        ingest_export(source, labels, tmp_path / "out")
    said = (
        "patient A: the segments 'left upper' and 'left_upper' would both be nodule A-left_upper; rename one"
    )
    assert said in capsys.readouterr().err


def test_damaged_headers_are_told(export, tmp_path):
    source, labels = export
    for name, absent in (("no-uid", "SOPInstanceUID"), ("no-rows", "Rows")):
        data = pydicom.dcmread(source / "us0.dcm")
        delattr(data, absent)
        data.save_as(source / name)
    raw = (source / "us0.dcm").read_bytes()
    (source / "cut").write_bytes(raw[:300])
    ingest_export(source, labels, tmp_path / "out")
    reasons = not_used(tmp_path / "out")
    assert reasons["file", "no-uid"] == "its DICOM headers are damaged"
    assert reasons["file", "no-rows"] == "modality US without pixels"
    assert ("file", "cut") in reasons


def test_frames_of_a_clip_are_images_of_their_own(tmp_path):
    source = tmp_path / "export"
    source.mkdir()
    patient = {"PatientID": "B", "PatientIdentityRemoved": "YES"}
    still = dicom(source / "clip", 255 - GREY, **patient)
    for frame in (2, 3):  # as DICOM counts them, of three
        segmentation(source / f"seg{frame}", [still], {"n": np.roll(MASK, frame)[None]}, **patient)
        drawn = pydicom.dcmread(source / f"seg{frame}")
        origin = drawn.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
        origin.ReferencedFrameNumber = frame
        drawn.save_as(source / f"seg{frame}")
    clip = np.stack([GREY, 255 - GREY, GREY // 2])
    dicom(source / "clip", clip, **patient, SOPInstanceUID=still.SOPInstanceUID)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nB,1\n")
    ingest_export(source, labels, tmp_path / "out")
    images = read_cohort(tmp_path / "out").nodules[0].images
    assert [(image.slice, image.modality) for image in images] == [(1, "us"), (2, "us")]
    for image in images:
        pixels, mask = read_pair(image)
        np.testing.assert_array_equal(pixels.values, clip[image.slice])
        np.testing.assert_array_equal(mask, np.roll(MASK, image.slice + 1))
    assert len(list((tmp_path / "out/us").glob("*.dcm"))) == 1  # clips are large


def test_masks_of_a_clip_and_of_another_nodule_have_names_of_their_own(tmp_path):
    source = tmp_path / "export"
    source.mkdir()
    patient = {"PatientIdentityRemoved": "YES"}
    still = dicom(source / "clip", GREY, PatientID="A", **patient)
    segmentation(source / "seg", [still], {"n": MASK[None]}, PatientID="A", **patient)
    drawn = pydicom.dcmread(source / "seg")
    origin = drawn.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    origin.ReferencedFrameNumber = 3  # slice 2
    drawn.save_as(source / "seg")
    clip = np.stack([GREY, GREY, GREY])
    dicom(source / "clip", clip, PatientID="A", SOPInstanceUID=still.SOPInstanceUID, **patient)
    other = np.roll(MASK, 20, axis=1)
    for number in (1, 2):  # images 1 and 2 of A_1
        image = dicom(source / f"us{number}", GREY, PatientID="A_1", **patient)
        segmentation(source / f"seg{number}", [image], {"n": other[None]}, PatientID="A_1", **patient)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nA,1\nA_1,0\n")
    ingest_export(source, labels, tmp_path / "out")
    masks = {
        nodule.nodule_id: [read_pair(image)[1] for image in nodule.images]
        for nodule in read_cohort(tmp_path / "out").nodules
    }
    np.testing.assert_array_equal(masks["A"], [MASK])
    np.testing.assert_array_equal(masks["A_1"], [other, other])


def test_an_archive_that_leads_out_or_is_none_is_refused(tmp_path):
    evil = tmp_path / "evil.tgz"
    (tmp_path / "x").write_text("x")
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(tmp_path / "x", arcname="../../evil")
    linked = tmp_path / "linked.tgz"
    with tarfile.open(linked, "w:gz") as archive:
        link = tarfile.TarInfo("a.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"no archive")
    for source in (evil, linked, broken):
        with pytest.raises(InputError, match=r"cannot be unpacked .* expected \.tgz"):
            import_ddti(source, tmp_path / "out", 1, 0.2)
    assert not (tmp_path / "out").exists()
    assert not Path(tmp_path.parent.parent / "evil").exists()


def test_archives_that_are_cut_damaged_or_locked_are_refused(tmp_path):
    (tmp_path / "source/xml").mkdir(parents=True)
    (tmp_path / "source/xml/1.xml").write_bytes(np.random.default_rng(0).bytes(5000))
    for kind in ("zip", "gztar"):
        shutil.make_archive(str(tmp_path / "whole"), kind, tmp_path / "source")
    raw = bytearray((tmp_path / "whole.zip").read_bytes())
    raw[raw.index(b"xml/1.xml") + 100] ^= 255
    (tmp_path / "damaged.zip").write_bytes(raw)
    locked = (tmp_path / "whole.zip").read_bytes().replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1")
    (tmp_path / "locked.zip").write_bytes(locked.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"))
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:2000])
    for name in ("damaged.zip", "locked.zip", "cut.tar.gz"):
        with pytest.raises(InputError, match=f"{name}: cannot be unpacked"):
            import_ddti(tmp_path / name, tmp_path / "out", 1, 0.2)
    assert not (tmp_path / "out").exists()
