"""Several series of one patient in an export: what is drawn on one of them is laid on no other."""

from __future__ import annotations

import contextlib
import csv
import io
import json

import numpy as np
import PIL.Image
import pydicom
import pytest
import scene
from pydicom.uid import generate_uid
from scene import MASKS, PICTURE, VOLUME

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.ingest.dicom_tree import import_dicom
from dgfnet.ingest.tree import import_folder
from dicom_files import CT_SOP, dicom

CORONAL = ["1", "0", "0", "0", "0", "-1"]
ONE = MASKS.copy()
ONE[1] = 0
RIGHT = [(220, [60]), (96, [200])]  # pixels, and the values under them: only the series drawn on has these


@pytest.fixture
def export(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "labels.csv").write_text("patient_id,lnm_central\nA,1\n")
    return tmp_path


def series(folder, values=VOLUME, step=scene.STEP, **more):
    """CT slices of patient A, at the places of `scene` unless it is said otherwise."""
    folder.mkdir()
    more = {"SeriesInstanceUID": generate_uid(), "PatientID": "A"} | more
    paths = []
    for k, plane in enumerate(values):
        path = folder / f"s{k}.dcm"
        place = {
            "ImagePositionPatient": ["10", "-20", f"{30 + k * step:g}"],
            "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
            "PixelSpacing": [str(scene.SPACING)] * 2,
            "SliceThickness": f"{step:g}",
        }
        dicom(
            path, np.ascontiguousarray(plane), CT_SOP, RescaleSlope="1", RescaleIntercept="0", KVP="120",
            PositionReferenceIndicator="", **scene.STUDY | place | more,
        )  # fmt: skip
        paths.append(path)
    return paths


def drawn(path, paths, array=MASKS, **more):
    return scene.drawn_on(path, [scene.read(one) for one in paths], array, **more)


def taken(export, **more):
    """Pixels of each mask of the cohort, and the values under it."""
    with contextlib.redirect_stderr(io.StringIO()):
        import_dicom(export / "e", export / "out", export / "labels.csv", **more)
    return read_back(export)


def read_back(export):
    found = []
    (nodule,) = read_cohort(export / "out").nodules
    for image in (*nodule.of("ct"), *nodule.of("us")):
        pixels, mask = read_pair(image)
        found.append((int(mask.sum()), sorted({int(value) for value in pixels.values[mask > 0]})))
    return found


def reasons(export):
    with (export / "out/not_used.csv").open(newline="") as stream:
        return [row["reason"] for row in csv.DictReader(stream)]


OTHERS = {
    "another phase at the same places": {"values": VOLUME + 1000},
    "another field of view": {"PixelSpacing": ["0.7", "0.7"]},
    "thick slices, one of them where a thin one is": {"values": VOLUME[[0, 3]] + 1000, "step": 6.0},
    "thick slices between the thin ones": {"values": VOLUME[[0, 4]], "step": 5.0},
    "a coronal reformat": {"ImageOrientationPatient": CORONAL},
    "another study without a frame of reference": {
        "values": VOLUME + 1000,
        "FrameOfReferenceUID": "",
        "StudyInstanceUID": generate_uid(),
    },
}


@pytest.mark.parametrize("name", ["a", "z"])  # before and after the series that is drawn on
@pytest.mark.parametrize("other", OTHERS)
def test_a_segmentation_lies_on_the_series_on_which_it_was_drawn(export, other, name):
    paths = series(export / "e/s")
    series(export / f"e/{name}", **OTHERS[other])
    drawn(export / "e/m.dcm", paths)
    assert taken(export) == RIGHT


def test_studies_without_a_frame_of_reference_are_kept_apart(export):
    paths = series(export / "e/s")
    others = series(export / "e/a", VOLUME + 1000, StudyInstanceUID=generate_uid())
    drawn(export / "e/m.dcm", paths)
    for path in (*paths, *others, export / "e/m.dcm"):
        data = scene.read(path)
        del data.FrameOfReferenceUID
        for item in data.get("ReferencedSeriesSequence", []):
            item.SeriesInstanceUID = generate_uid()
        for frame in data.get("PerFrameFunctionalGroupsSequence", []):
            del frame.DerivationImageSequence
        data.pop("ReferencedSeriesSequence", None)
        data.save_as(path)
    assert taken(export) == RIGHT


def test_a_slice_that_stands_in_two_files_is_used_once(export):
    uid = generate_uid()
    paths = series(export / "e/s", SeriesInstanceUID=uid)
    series(export / "e/t", SeriesInstanceUID=uid)
    drawn(export / "e/m.dcm", paths)
    assert taken(export) == RIGHT
    assert reasons(export).count("another file shows the same slice") == 2


def test_overlapping_slices_are_told_apart_without_a_distance(export):
    """Slices of 5 mm every 2 mm, and a segmentation that says the thickness alone."""
    paths = series(export / "e/s", SliceThickness="5")
    for array in (MASKS, ONE):
        drawn(export / "e/m.dcm", paths, array)
        data = scene.read(export / "e/m.dcm")
        del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
        data.save_as(export / "e/m.dcm")
        assert taken(export) == RIGHT[: 2 if array is MASKS else 1]
        (export / "out").rename(export / f"out{array.sum()}")


def test_masks_of_a_prone_patient_keep_their_place(export):
    paths = [export / f"e/s{k}.dcm" for k in range(scene.SLICES)]
    for k, path in enumerate(paths):
        scene.ct_slice(path, k, (-1, 0, 0, 0, -1, 0), PatientID="A")
    drawn(export / "e/m.dcm", paths, np.ascontiguousarray(MASKS[:, ::-1, ::-1]))
    assert taken(export) == RIGHT


def test_coronal_slices_are_not_taken_for_axial_ones(export):
    paths = series(export / "e/s")
    coronal = series(export / "e/c", VOLUME[:1], ImageOrientationPatient=CORONAL)
    drawn(export / "e/m.dcm", paths)
    drawn(export / "e/n.dcm", coronal, ONE[3:4])
    assert taken(export) == RIGHT
    assert "no axial slices (ImageOrientationPatient)" in reasons(export)


def structure_set(path, frame, image):
    """The nodule of slice 3 as a structure set."""
    data = dicom(path, np.zeros((2, 2), np.uint8), CT_SOP, **scene.STUDY | {"PatientID": "A"})
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        del data[name]
    data.Modality = "RTSTRUCT"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    corners = [(37.5, 11.5), (47.5, 11.5), (47.5, 5.5), (57.5, 5.5), (57.5, 19.5), (37.5, 19.5)]
    contour = scene.item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(corners),
        ContourData=[value for x, y in corners for value in (10 + 0.5 * x, -20 + 0.5 * y, 36.0)],
        ContourImageSequence=pydicom.Sequence([scene.item(ReferencedSOPInstanceUID=image.SOPInstanceUID)]),
    )
    roi = scene.item(ROINumber=1, ROIName="nodule", ReferencedFrameOfReferenceUID=frame)
    data.StructureSetROISequence = pydicom.Sequence([roi])
    data.ROIContourSequence = pydicom.Sequence(
        [scene.item(ReferencedROINumber=1, ContourSequence=pydicom.Sequence([contour]))]
    )
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.parametrize(
    "frame", [scene.STUDY["FrameOfReferenceUID"], generate_uid()], ids=["one frame", "another frame"]
)
def test_a_structure_set_is_drawn_on_no_other_phase_study_or_ultrasound(export, frame, name):
    paths = series(export / "e/s", VOLUME[:4])  # so that the slice drawn on is the last before the ultrasound
    series(export / f"e/{name}", VOLUME + 1000, FrameOfReferenceUID=frame)
    scene.us_dicom(export / "e/sz.dcm", PICTURE)
    data = scene.read(export / "e/sz.dcm")
    data.PatientID = "A"
    data.save_as(export / "e/sz.dcm")
    structure_set(export / "e/m.dcm", scene.STUDY["FrameOfReferenceUID"], scene.read(paths[3]))
    assert taken(export) == RIGHT[:1]


def folder(export, image, mask):
    with contextlib.redirect_stderr(io.StringIO()):
        import_folder(export / "e", export / "out", [image], [mask], export / "labels.csv")
    return read_back(export)


def test_annotations_may_lie_beside_dicom_in_a_tree(export):
    scene.us_dicom(export / "e/A.dcm", PICTURE)
    points = [[38, 12], [48, 12], [48, 6], [58, 6], [58, 20], [38, 20]]
    shape = {"label": "nodule", "points": points, "shape_type": "polygon"}
    document = {"version": "5", "shapes": [shape], "imagePath": "A.dcm", "imageHeight": 48, "imageWidth": 64}
    (export / "e/A.json").write_text(json.dumps(document))
    assert folder(export, "us:{patient}.dcm", "{path}.json") == [(220, [scene.GREY])]


def test_a_mask_that_lost_the_flag_of_deidentification_is_taken_in_a_tree(export):
    paths = series(export / "e/A")
    drawn(export / "e/A.dcm", paths)
    data = scene.read(export / "e/A.dcm")
    del data.PatientIdentityRemoved
    data.save_as(export / "e/A.dcm")
    assert sorted(folder(export, "ct:{patient}/s{number}.dcm", "{patient}.dcm")) == sorted(RIGHT)


@pytest.mark.parametrize("kind", ["nii", "tif"])
@pytest.mark.parametrize(
    ("order", "is_taken"), [((0, 1, 2, 3, 4), True), ((4, 3, 2, 1, 0), False), ((2, 0, 4, 3, 1), False)]
)
def test_slices_without_a_place_go_with_frames_in_order_alone(tmp_path, order, is_taken, kind):
    """A nodule on several slices would else lie on another frame than its own, and nobody would see it."""
    scene.enhanced(tmp_path / "i.dcm", order)
    path = tmp_path / f"m.{kind}"
    if kind == "nii":
        scene.nifti(path, scene.stored(), scene.AFFINE, 0, 0)
    else:
        first, *others = [PIL.Image.fromarray(plane * np.uint8(255)) for plane in MASKS]
        first.save(path, save_all=True, append_images=others)
    image = Image("N", "ct", "axial", tmp_path / "i.dcm", path, None, 3, None, None, False)
    if is_taken:
        np.testing.assert_array_equal(read_pair(image)[1], scene.NODULE)
    else:
        with pytest.raises(InputError, match="are not stored from the lowest upwards"):
            read_pair(image)
