"""Data sets without a name: every attribute of the profile, planted at every depth."""

import csv
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dgfnet.imaging.identity import identity, unchecked
from dgfnet.pacs.deidentify import METHOD, anonymous
from dicom_files import CT_SOP, dicom, segmentation

NAME = "Zyxwvut"
TABLE = Path(__file__).parents[1] / "imaging" / "profile.csv"
PROFILE = list(csv.DictReader(TABLE.open(encoding="utf-8")))
PLACE = {
    "PixelSpacing": [0.5, 0.5],
    "ImagePositionPatient": [0, 0, 7],
    "SliceThickness": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
}
VALUES = {
    "PN": f"{NAME}^Quirin",
    "OB": NAME.encode() + b"!",
    "UN": NAME.encode() + b"!",
    "AE": NAME,
    "AS": "045Y",
}
VALUES |= {"DA": "19700101", "DT": "20190412", "TM": "1200"}


def written(data):
    """Returns the bytes of a data set as a file."""
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture
def image(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    ways = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
    return dicom(tmp_path / "ct.dcm", pixels, CT_SOP, **PLACE, **ways)


@pytest.mark.parametrize("nested", [False, True], ids=["outside", "in a sequence"])
def test_nothing_of_the_profile_stays(image, nested):
    """Every attribute of the profile's table that a text, name, date or bytes can stand in."""
    planted = Dataset() if nested else image
    for row in PROFILE:
        tag = tag_for_keyword(row["keyword"])
        if (
            tag is None
            or tag >> 16 == 2
            or row["keyword"] in ("PatientIdentityRemoved", "SegmentLabel", "ROIName")
        ):
            continue
        kind = dictionary_VR(tag)
        if kind in ("LO", "SH", "LT", "ST", "UT", "UC", "UR", *VALUES):
            setattr(planted, row["keyword"], VALUES.get(kind, NAME))
    if nested:
        image.ReferencedImageSequence = Sequence([planted])
    image.private_block(0x0009, "ACME 1.0", create=True).add_new(0x01, "LO", NAME)
    assert NAME.encode() in written(image)
    result = anonymous(image, "P1")
    assert NAME.encode() not in written(result)
    assert b"19700101" not in written(result)
    assert identity(result) == unchecked(result) == []


def test_what_readers_need_stays(image):
    result = anonymous(image, "P1")
    assert (result.pixel_array == image.pixel_array).all()
    for name in (*PLACE, "RescaleSlope", "RescaleIntercept", "RescaleType", "SOPInstanceUID", "Modality"):
        assert result[name].value == image[name].value
    assert (result.PatientID, result.PatientIdentityRemoved) == ("P1", "YES")
    assert result.DeidentificationMethod == METHOD
    again = pydicom.dcmread(io.BytesIO(written(result)))
    assert (again.pixel_array == image.pixel_array).all()


def test_the_original_is_left_alone(image):
    image.PatientName = f"{NAME}^Quirin"
    before = written(image)
    anonymous(image, "P1")
    assert written(image) == before


def test_uids_are_replaced_alike_everywhere_but_those_of_the_standard(tmp_path, image):
    segmentation(tmp_path / "seg.dcm", [image], {"nodule": np.ones((1, 8, 8))})
    drawing = pydicom.dcmread(tmp_path / "seg.dcm")
    own = {}
    results = [
        anonymous(data, "P1", lambda uid: own.setdefault(uid, f"2.25.{len(own) + 1}"))
        for data in (image, drawing)
    ]
    text = b"".join(written(result) for result in results)
    for uid in (
        image.SOPInstanceUID,
        image.StudyInstanceUID,
        image.SeriesInstanceUID,
        image.FrameOfReferenceUID,
    ):
        assert uid.encode() not in text
        assert own[uid].encode() in text
    referenced = results[1].ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert referenced.ReferencedSOPInstanceUID == results[0].SOPInstanceUID
    assert referenced.ReferencedSOPClassUID == CT_SOP == results[0].SOPClassUID
    assert results[1].SegmentSequence[0].SegmentLabel == "nodule"


def test_words_drawn_in_overlays_and_thumbnails_go_and_burned_in_ones_are_told(image):
    image.add_new(0x60003000, "OW", NAME.encode() + b"!")
    image.IconImageSequence = Sequence([Dataset()])
    image.IconImageSequence[0].PixelData = NAME.encode() + b"!"
    image.BurnedInAnnotation = "YES"
    result = anonymous(image, "P1")
    assert NAME.encode() not in written(result)
    assert identity(result) == ["BurnedInAnnotation"]
