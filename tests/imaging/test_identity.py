"""DICOM attributes that name somebody: all those of the table of PS3.15, at any depth, and no other."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from dgfnet.cli import main
from dgfnet.errors import InputError
from dgfnet.imaging import identity as rules
from dgfnet.imaging.dicom import open_file
from dgfnet.imaging.identity import identity, unchecked
from dicom_files import CT_SOP, dicom, segmentation

GREY = np.zeros((8, 8), dtype=np.uint8)
CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "basic profile", "PatientID": "THYR-0012"}
# table E.1-1 of PS3.15 2026c as dicom-anonymizer 2.1.0 (BSD) holds it, and what each attribute is to us
PROFILE = list(csv.DictReader((Path(__file__).parent / "profile.csv").open(encoding="utf-8")))
VALUES = {
    **{"DA": "19700101", "DS": "1.5", "OB": b"name", "PN": "Doe^Jane", "UI": "1.2.3", "DT": "20190412"},
    **{"TM": "1200", "AS": "045Y", "IS": "7", "US": 7, "UN": b"seven", "AE": "STATION"},
}


def item(**values):
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def sequence(**values):
    return Sequence([item(**values)])


def value_of(keyword):
    vr = dictionary_VR(tag_for_keyword(keyword))
    if vr == "SQ":
        return sequence(CodeValue="4711", CodingSchemeDesignator="99X", CodeMeaning="Dr. Doe")
    return VALUES.get(vr, "4711")


def kept(kind):
    return [row["keyword"] for row in PROFILE if row["kind"] == kind and row["keyword"]]


def test_the_table_has_every_attribute_of_the_dictionary_right():
    assert len(PROFILE) == 651  # and repeating groups, for curves and overlays
    assert len({row["tag"] for row in PROFILE}) == 651
    for row in PROFILE:
        if row["keyword"]:
            assert keyword_for_tag(int(row["tag"], 16)) == row["keyword"]


def test_what_identifies_is_what_the_table_says():
    assert sorted(kept("identifies")) == sorted(
        (
            set(rules.IDENTIFIERS.values())
            - set(rules.NEWER.values())
            - {"PatientBirthDateInAlternativeCalendar"}
        )
        | {row["keyword"] for row in PROFILE if row["keyword"] and dictionary_VR(int(row["tag"], 16)) == "PN"}
        | {"PatientID"}
    )
    assert {row["name"] for row in PROFILE if row["kind"] == "identifies" and not row["keyword"]} == {
        *("Person Names to Use Sequence", "Name to Use", "Name to Use Comment")
    }
    assert set(kept("free text")) == set(rules.FREE_TEXT)


def test_dummies_are_allowed_where_the_profile_allows_them():
    replaced = {
        row["keyword"]
        for row in PROFILE
        if row["kind"] == "identifies" and row["action"] in ("Z", "D", "Z/D") and row["keyword"]
    }
    # a birth date has a rule of its own; what a code or a certificate stands for cannot be told
    coded = {name for name in replaced if dictionary_VR(tag_for_keyword(name)) in ("SQ", "OB")}
    assert coded == {
        *("PersonIdentificationCodeSequence", "VerifyingObserverIdentificationCodeSequence"),
        "CertificateOfSigner",
    }
    assert set(rules.DUMMIES) == replaced - coded - {"PatientBirthDate"}


@pytest.mark.parametrize("keyword", [name for name in kept("identifies") if name != "PatientID"])
def test_what_identifies_is_refused_at_any_depth_without_its_value(tmp_path, keyword):
    value = value_of(keyword)
    top = dicom(tmp_path / "x.dcm", GREY, **{**CLEAN, keyword: value})
    assert identity(top) == [keyword]
    with pytest.raises(InputError, match=rf"^x\.dcm: names a person or a place \({keyword}\); de-identify"):
        open_file(tmp_path / "x.dcm")
    inside = Sequence([item(ModifiedAttributesSequence=sequence(**{keyword: value}))])
    dicom(tmp_path / "x.dcm", GREY, **CLEAN, OriginalAttributesSequence=inside)
    said = rf"names a person or a place \({keyword} in OriginalAttributesSequence\); de-identify"
    with pytest.raises(InputError, match=said) as caught:
        open_file(tmp_path / "x.dcm")
    assert "4711" not in str(caught.value)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("kind", ["time", "UID", "other", "free text"])
def test_what_does_not_identify_is_no_reason_to_refuse(tmp_path, kind):
    stored = [
        name for name in kept(kind) if tag_for_keyword(name) >> 16 > 2
    ]  # those below are of messages and file headers
    values = {name: value_of(name) for name in stored if dictionary_VR(tag_for_keyword(name)) != "SQ"}
    values = {name: value for name, value in values.items() if name not in ("SOPInstanceUID", "SOPClassUID")}
    assert len(values) > 20
    data = dicom(tmp_path / "x.dcm", GREY, **{**values, **CLEAN})
    assert identity(data) == []
    open_file(tmp_path / "x.dcm")


@pytest.mark.parametrize("implicit", [False, True])
def test_attributes_that_are_newer_than_the_library_are_refused(tmp_path, implicit):
    data = dicom(tmp_path / "x.dcm", GREY, **CLEAN)
    data.add_new(0x00100012, *("UN", b"Janie ") if implicit else ("LT", "Janie"))
    if implicit:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True, implicit_vr=implicit)
    assert identity(pydicom.dcmread(tmp_path / "x.dcm")) == ["NameToUse"]


def test_a_name_whose_type_a_gateway_lost_is_still_a_name(tmp_path):
    data = dicom(tmp_path / "x.dcm", GREY, **CLEAN)
    del data.PatientName
    data.add_new(0x00100010, "UN", b"Doe^Jane")
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert identity(pydicom.dcmread(tmp_path / "x.dcm")) == ["PatientName"]


def test_an_institution_that_is_the_tools_maker_names_no_hospital(tmp_path):
    assert identity(dicom(tmp_path / "x.dcm", GREY, **CLEAN, InstitutionName="Qurit")) == []
    for name, value in (("InstitutionName", "Qurit Hospital"), ("InstitutionAddress", "Qurit")):
        assert identity(dicom(tmp_path / "x.dcm", GREY, **CLEAN, **{name: value})) == [name]


def test_an_empty_identifier_names_nobody(tmp_path):
    empty = {"AdmissionID": "", "InstitutionName": " ", "OtherPatientIDsSequence": Sequence([])}
    hollow = {"PersonIdentificationCodeSequence": sequence(CodeValue="", CodeMeaning="")}
    assert identity(dicom(tmp_path / "x.dcm", GREY, **{**CLEAN, **empty, **hollow})) == []


def test_a_nested_patient_id_counts_where_it_is_another(tmp_path):
    def nested(value):
        original = sequence(ModifiedAttributesSequence=sequence(PatientID=value))
        return identity(dicom(tmp_path / "x.dcm", GREY, **CLEAN, OriginalAttributesSequence=original))

    assert nested("THYR-0012") == []
    assert nested("ANONYMOUS") == []  # Z/D: a dummy may stand there
    assert nested("4711") == ["PatientID in OriginalAttributesSequence"]


def test_a_name_in_a_private_sequence_is_found(tmp_path):
    data = dicom(tmp_path / "x.dcm", GREY, **CLEAN)
    block = data.private_block(0x0029, "ACME 1.0", create=True)
    block.add_new(0x10, "SQ", sequence(PatientName="Doe^Jane"))
    block.add_new(0x11, "LO", "anything")
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    again = pydicom.dcmread(tmp_path / "x.dcm")
    assert identity(again) == ["PatientName in (0029,1010)"]
    assert unchecked(again) == ["private ACME 1.0"]
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # which tells no types of private attributes
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True, implicit_vr=True)
    assert identity(pydicom.dcmread(tmp_path / "x.dcm")) == ["PatientName in (0029,1010)"]
    broken = data.private_block(0x0029, "ACME 1.0")
    broken.add_new(0x12, "UN", b"\xfe\xff\x00\xe0no items of a sequence")
    del data[0x00291010]
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True, implicit_vr=True)
    assert identity(pydicom.dcmread(tmp_path / "x.dcm")) == []


def test_private_attributes_and_free_text_are_told_and_copied(tmp_path, capsys):
    source = tmp_path / "export"
    source.mkdir()
    masks = {"nodule": np.zeros((1, 8, 8), dtype=np.uint8)}
    masks["nodule"][0, 2:6, 2:6] = 1
    place = {"PixelSpacing": [0.5, 0.5], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": "1"}
    place |= {"ImagePositionPatient": [0, 0, 0], "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    pixels = np.full((8, 8), 1064, dtype=np.uint16)
    image = dicom(source / "ct.dcm", pixels, CT_SOP, **CLEAN, **place, AdditionalPatientHistory="goitre")
    image.private_block(0x0009, "ACME 1.0", create=True).add_new(0x01, "LO", "anything")
    image.save_as(source / "ct.dcm", enforce_file_format=True)
    segmentation(source / "seg.dcm", [image], masks)
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,lnm_central\nTHYR-0012,1\n")
    main(["ingest", "dicom", str(source), "--labels", str(labels), "--out", str(tmp_path / "out")])
    held = json.loads((tmp_path / "out/import.json").read_text())["copied_unchecked"]
    assert held == {"AdditionalPatientHistory": 1, "private ACME 1.0": 1}
    said = capsys.readouterr().out
    assert "    1  private ACME 1.0\n" in said
    assert "    1  AdditionalPatientHistory\n" in said
    options = ["--image", "ct:{patient}.dcm", "--mask", "seg.dcm", "--labels", str(labels)]
    (source / "ct.dcm").rename(source / "THYR-0012.dcm")
    main(["ingest", "folder", str(source), *options, "--out", str(tmp_path / "again")])
    again = json.loads((tmp_path / "again/import.json").read_text())["copied_unchecked"]
    # the mask is copied as it is here, and highdicom writes the image's history into it
    assert again == {"AdditionalPatientHistory": 2, "private ACME 1.0": 1}
