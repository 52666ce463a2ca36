"""Contours of RTSTRUCT give the nodule they were drawn around, on the slice they lie on, or one message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from annotation_files import NODULE, OUTLINE, SHAPE
from dgfnet.errors import InputError
from dgfnet.imaging import dicom, structures
from dgfnet.imaging.geometry import Plane
from dgfnet.imaging.labels import nodule_of

FRAME, IMAGE = "1.2.3.4", "1.2.3.5"
RING = [(12, 10), (15, 10), (15, 14), (12, 14)]  # corners of a hole in the nodule
RING_MASK = NODULE.copy()
RING_MASK[10:14, 12:15] = False
AXIAL = (np.array([-20.5, 13.25, 40.0]), np.array([0.0, 0.7, 0.0]), np.array([0.7, 0.0, 0.0]))
HEAD_FIRST_PRONE = (np.array([20.5, -13.25, 40.0]), np.array([0.0, -0.7, 0.0]), np.array([-0.7, 0.0, 0.0]))
SAGITTAL = (np.array([7.0, -30.0, 80.0]), np.array([0.0, 0.0, -0.5]), np.array([0.0, 0.5, 0.0]))
TILTED = (  # a gantry tilted by 17 degrees
    np.array([-90.0, -80.0, 12.0]),
    0.6 * np.array([0.0, np.cos(np.radians(17)), -np.sin(np.radians(17))]),
    np.array([0.6, 0.0, 0.0]),
)


def plane(place=AXIAL, thickness=5.0, frame=FRAME, **values):
    origin, down, right = place
    facts = {"origin": origin, "down": down, "right": right, "shape": SHAPE, "thickness": thickness}
    return Plane(**facts, frame_of_reference=frame, **values)


def corners(points):
    """Columns and rows, whole at the centres of pixels, of points counted from the picture's corner."""
    return [(x - 0.5, y - 0.5) for x, y in points]


def contour(points, place=AXIAL, off=0.0, kind="CLOSED_PLANAR", image=IMAGE, tilt=0.0):
    """A contour through columns and rows of a plane, moved off it by millimetres."""
    origin, down, right = place
    normal = np.cross(right, down) / np.linalg.norm(np.cross(right, down))
    item = Dataset()
    if image:
        item.ContourImageSequence = [Dataset()]
        item.ContourImageSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        item.ContourImageSequence[0].ReferencedSOPInstanceUID = image
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [
        f"{value:.6f}"[:16]
        for x, y in points
        for value in origin + y * down + x * right + (off + tilt * (y - 15)) * normal
    ]
    return item


def structure_set(path, *regions, frame=FRAME):
    """An RTSTRUCT: name of a structure and its contours, None for one that was never drawn."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = generate_uid(), generate_uid(), "RTSTRUCT"
    data.PatientName = data.PatientID = data.StudyDate = data.StudyTime = data.StructureSetDate = ""
    data.StructureSetLabel, data.StructureSetTime = "drawn", ""
    data.ReferencedFrameOfReferenceSequence = [Dataset()]
    data.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = frame
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for number, (name, contours) in enumerate(regions, start=4):  # numbers need not begin at 1
        roi, drawn, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber = drawn.ReferencedROINumber = observed.ReferencedROINumber = number
        roi.ReferencedFrameOfReferenceUID, roi.ROIName, roi.ROIGenerationAlgorithm = frame, name, "MANUAL"
        observed.ObservationNumber, observed.RTROIInterpretedType, observed.ROIInterpreter = number, "GTV", ""
        data.StructureSetROISequence.append(roi)
        data.RTROIObservationsSequence.append(observed)
        if contours is not None:
            drawn.ROIDisplayColor, drawn.ContourSequence = [255, 0, 0], contours
            data.ROIContourSequence.append(drawn)
    data.save_as(path, enforce_file_format=True)
    return dicom.open_file(path)


def read(folder, *regions, at=None, image=IMAGE, **values):
    path = folder / "rt.dcm"
    return structures.read(path, structure_set(path, *regions, **values), at or plane(), image)


def fault(*arguments, **values):
    with pytest.raises(InputError) as caught:
        read(*arguments, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", [AXIAL, HEAD_FIRST_PRONE, SAGITTAL, TILTED])
@pytest.mark.parametrize("off", [0.0, 0.4, -0.4])
def test_a_contour_gives_the_nodule_pixel_by_pixel_wherever_its_slice_lies(tmp_path, place, off):
    drawn = [contour(corners(OUTLINE), place, off)]
    (found,) = read(tmp_path, ("Nodule left", drawn), at=plane(place))
    assert (found.number, found.name, found.codes, found.fault) == (4, "Nodule left", ("GTV",), "")
    np.testing.assert_array_equal(found.mask, NODULE)


def test_a_contour_through_the_centres_of_the_outer_pixels_gives_the_nodule(tmp_path):
    """As rt-utils 1.2.7 writes; points on the path are part of a region (PS3.3 C.8.8.6.3)."""
    outer = [(10, 8), (10, 29), (33, 29), (33, 24), (16, 24), (15, 23), (15, 8)]
    hole = [(12, 9), (11, 10), (11, 13), (12, 14), (14, 14), (15, 13), (15, 10), (14, 9)]
    found = read(tmp_path, ("a", [contour(outer)]), ("b", [contour(outer), contour(hole)]))
    np.testing.assert_array_equal(found[0].mask, NODULE)
    np.testing.assert_array_equal(found[1].mask, RING_MASK)


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_contours_of_a_region_are_combined_by_exclusive_or(tmp_path, kind):
    island = [(13, 11), (14, 11), (14, 13), (13, 13)]
    far = [(40, 4), (50, 4), (50, 10), (40, 10)]
    drawn = [contour(corners(points), kind=kind) for points in (RING, OUTLINE, island, far)]  # in any order
    expected = RING_MASK.copy()
    expected[11:13, 13] = True
    expected[4:10, 40:50] = True
    np.testing.assert_array_equal(read(tmp_path, ("a", drawn))[0].mask, expected)


def test_a_keyhole_leaves_its_hole_out(tmp_path):
    outer, inner = corners(OUTLINE), corners(RING)[::-1]
    keyhole = [*outer, outer[0], *inner, inner[0]]
    np.testing.assert_array_equal(read(tmp_path, ("a", [contour(keyhole)]))[0].mask, RING_MASK)


def test_contours_belong_to_the_slice_on_which_they_lie(tmp_path):
    """Whatever image they name, or none: another series of the frame of reference may have been drawn on."""
    square = [(40, 4), (50, 4), (50, 10), (40, 10)]
    for image in ("1.2.3.99", ""):
        drawn = [
            contour(corners(square), off=-5.0, image=image),
            contour(corners(OUTLINE), off=0.0, image=image),
            contour(corners(square), off=5.0, image=image),
        ]
        np.testing.assert_array_equal(read(tmp_path, ("a", drawn))[0].mask, NODULE)
    far = read(tmp_path, ("a", [contour(corners(OUTLINE), off=0.6, image="")]))
    assert not far[0].mask.any()
    thin = read(tmp_path, ("a", [contour(corners(OUTLINE), off=0.2, image="")]), at=plane(thickness=1.0))
    assert not thin[0].mask.any()
    for thickness in (None, 0.5):
        near = read(tmp_path, ("a", [contour(corners(OUTLINE), off=0.09)]), at=plane(thickness=thickness))
        np.testing.assert_array_equal(near[0].mask, NODULE)


def test_a_contour_that_names_the_image_and_lies_elsewhere_is_refused(tmp_path):
    drawn = ("a", [contour(corners(OUTLINE), off=5.0)])
    assert fault(tmp_path, drawn) == (
        "rt.dcm: cannot be used as RTSTRUCT (region a has a contour that names this image, but lies 5 mm "
        "off it)"
    )
    assert not read(tmp_path, drawn, image=None)[0].mask.any()
    framed = contour(corners(OUTLINE), off=5.0)  # of an image with several slices
    framed.ContourImageSequence[0].ReferencedFrameNumber = 2
    assert not read(tmp_path, ("a", [framed]))[0].mask.any()


def test_every_structure_is_a_region_and_one_that_was_not_drawn_is_empty(tmp_path):
    found = read(
        tmp_path, ("nodule", [contour(corners(OUTLINE))]), ("lymph node", None), ("BODY", []), ("", None)
    )
    assert [(region.number, region.name, int(region.mask.sum())) for region in found] == [
        *((4, "nodule", 240), (5, "lymph node", 0), (6, "BODY", 0), (7, "", 0))
    ]
    np.testing.assert_array_equal(nodule_of(found, "nodule", "rt.dcm"), NODULE)


def test_codes_are_what_the_observations_call_a_structure(tmp_path):
    data = structure_set(tmp_path / "rt.dcm", ("a", [contour(corners(OUTLINE))]), ("b", None))
    observed = data.RTROIObservationsSequence[0]
    observed.ROIObservationLabel, code = "index lesion", Dataset()
    code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning = "SCT", "27925004", "Nodule"
    observed.RTROIIdentificationCodeSequence = [code]
    found = structures.read(tmp_path / "rt.dcm", data, plane(), IMAGE)
    assert [region.codes for region in found] == [("GTV", "index lesion", "SCT:27925004", "Nodule"), ("GTV",)]


def test_points_and_open_contours_are_no_areas(tmp_path):
    line = contour([(1, 1), (9, 9)], kind="OPEN_PLANAR")
    point = contour([(3, 3)], kind="POINT")
    closed = contour(corners(OUTLINE))
    open_ones = (([line], "OPEN_PLANAR"), ([point], "POINT"), ([line, point], "OPEN_PLANAR, POINT"))
    for drawn, kinds in open_ones:
        found = read(tmp_path, ("a", drawn))
        with pytest.raises(InputError) as caught:
            nodule_of(found, None, "rt.dcm")
        assert str(caught.value) == (
            f"rt.dcm: region 4 'a' is drawn as {kinds}, which is no area; expected closed contours"
        )
    assert "is drawn as OPEN_PLANAR on this slice" in read(tmp_path, ("a", [closed, line]))[0].fault
    np.testing.assert_array_equal(read(tmp_path, ("a", [closed, point]))[0].mask, NODULE)
    elsewhere = contour([(1, 1), (9, 9)], kind="OPEN_PLANAR", off=5.0, image="")
    np.testing.assert_array_equal(read(tmp_path, ("a", [closed, elsewhere]))[0].mask, NODULE)


def test_contours_drawn_on_planes_of_another_direction_are_refused(tmp_path):
    across = read(tmp_path, ("a", [contour(corners(OUTLINE), image="", tilt=0.3)]))
    assert across[0].fault == "has a contour that crosses this slice; expected contours drawn on its plane"
    above = read(tmp_path, ("a", [contour(corners(OUTLINE), off=20.0, image="", tilt=0.3)]))
    assert (above[0].fault, above[0].mask.any()) == ("", False)


def test_another_frame_of_reference_is_refused(tmp_path):
    drawn = ("a", [contour(corners(OUTLINE))])
    assert fault(tmp_path, drawn, frame="1.2.9") == (
        "rt.dcm: drawn in the frame of reference 1.2.9, but the image has 1.2.3.4; expected contours of that "
        "image's study"
    )
    (region,) = read(tmp_path, drawn, at=plane(frame=""))  # NIfTI of the same place has no frame of reference
    np.testing.assert_array_equal(region.mask, NODULE)
    data = structure_set(tmp_path / "rt.dcm", drawn, ("b", [contour(corners(OUTLINE))]))
    data.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.9"
    found = structures.read(tmp_path / "rt.dcm", data, plane(), IMAGE)
    assert [region.fault for region in found] == [
        *("", "is drawn in another frame of reference than the image")
    ]


def test_what_lies_outside_the_picture_is_cut_off(tmp_path):
    wide = contour(corners([(-20, 40), (90, 40), (90, 70), (-20, 70)]))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[40:] = True
    np.testing.assert_array_equal(read(tmp_path, ("a", [wide]))[0].mask, expected)


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_broken_contours_are_told(tmp_path):
    for change, words in (
        (
            lambda item: setattr(item, "NumberOfContourPoints", 7),
            "a contour of 18 coordinates that has 7 points",
        ),
        (
            lambda item: setattr(item, "ContourData", ["1", "2"]),
            "a contour of 2 coordinates that has 6 points",
        ),
        (lambda item: setattr(item, "ContourData", ["nan"] * 18), "whose coordinates are no millimetres"),
        (lambda item: delattr(item, "ContourData"), "'Dataset' object has no attribute 'ContourData'"),
    ):
        item = contour(corners(OUTLINE))
        change(item)
        assert words in fault(tmp_path, ("a", [item]))
    assert fault(tmp_path) == "rt.dcm: no structures in it; expected an outline of the nodule"


def test_a_file_that_names_a_person_is_refused_when_it_is_opened(tmp_path):
    data = structure_set(tmp_path / "rt.dcm", ("a", [contour(corners(OUTLINE))]))
    data.StructureSetROISequence[0].ROIInterpreter = "Roe^Richard"
    data.save_as(tmp_path / "rt.dcm")
    with pytest.raises(InputError, match="names a person"):
        dicom.open_file(tmp_path / "rt.dcm")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Bytes of a sound file, and a folder for damaged ones."""
    folder = tmp_path_factory.mktemp("damaged")
    structure_set(folder / "rt.dcm", ("a", [contour(corners(OUTLINE)), contour(corners(RING))]))
    return folder, (folder / "rt.dcm").read_bytes()


@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it warns of what it makes of damaged values
def test_damaged_contours_end_in_regions_or_in_one_message(sound, data):
    folder, whole = sound
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(132, len(whole) - 1))
        whole = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 20)) :]
    (folder / "rt.dcm").write_bytes(whole)
    try:
        opened = dicom.open_file(folder / "rt.dcm")
        said = f"rt.dcm: {len(structures.read(Path('rt.dcm'), opened, plane(), IMAGE))}"
    except InputError as error:
        said = str(error)
    assert said.startswith("rt.dcm: ")
    assert "\n" not in said
