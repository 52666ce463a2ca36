"""Answers go back to Orthanc: valid objects in the original study, and no trace of the patient elsewhere."""

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import requests

from dgfnet.bundle.model import ScoringModel
from dgfnet.pacs.client import Pacs
from dgfnet.pacs.drawings import capture, overlay, segmentation
from dgfnet.pacs.findings import Assessment, ScoredPicture
from dgfnet.pacs.report import report
from dicom_files import CT_SOP, US_SOP, dicom
from pacs_servers import Double, orthanc, served
from pacs_study import (
    BOX,
    CLIP,
    HU,
    SECRETS,
    TOKEN,
    WHO,
    answering,
    everything,
    make_study,
    picture,
    reference,
    region,
)

pytestmark = pytest.mark.pacs
KINDS = {"segmentation": "1.2.840.10008.5.1.4.1.1.66.4", "capture": "1.2.840.10008.5.1.4.1.1.7"}
KINDS["report"] = "1.2.840.10008.5.1.4.1.1.88.33"
CASES = {
    "us and ct": {"us": lambda s: reference(s["us"]), "ct": lambda s: reference(s["ct"][1])},
    "a frame of a clip": {"us": lambda s: reference(s["clip"], 2)},
    "ct alone": {"ct": lambda s: reference(s["ct"][0])},
    "a clip of one frame": {"us": lambda s: reference(s["one frame"])},
    "enhanced ct of one frame": {"ct": lambda s: reference(s["enhanced"])},
    "oblique ct without thickness": {"ct": lambda s: reference(s["oblique"])},
    "ultrasound in a frame of reference": {"us": lambda s: reference(s["tracked"])},
}
AXIAL, OBLIQUE = [1, 0, 0, 0, 1, 0], [0.8, 0.6, 0, -0.6, 0.8, 0]
PLACES = {  # position, orientation, SliceThickness and SpacingBetweenSlices of the source
    "us and ct": ([0, 0, 4], AXIAL, 2, None),
    "ct alone": ([0, 0, 2], AXIAL, 2, None),
    "enhanced ct of one frame": ([5, 6, 7], AXIAL, 1.5, 2.5),
    "oblique ct without thickness": ([-3, 4, 5], OBLIQUE, None, None),
}
MEASURED = {  # code in a report, field of the answer
    "risk": "calibrated",
    "risk-folds-low": "calibrated_low",
    "risk-folds-high": "calibrated_high",
    "risk-moved-low": "moved_low",
    "risk-moved-high": "moved_high",
    "probability": "probability",
    "threshold": "threshold",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    made = make_study(folder)
    return made | rarer(folder, made["us"])


def items(**values):
    own = pydicom.Dataset()
    for name, value in values.items():
        setattr(own, name, value)
    return [own]


def rarer(folder, us):
    """Pictures of the same patient that are less common."""
    whose = {**WHO, "StudyInstanceUID": us.StudyInstanceUID, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    regions = {"SequenceOfUltrasoundRegions": [region()], "ImageType": ["ORIGINAL", "PRIMARY"]}
    ways = {"FrameTime": 40, "FrameIncrementPointer": 0x00181063}
    pixels = picture(2).astype(np.uint16) + 900
    groups = {
        "SharedFunctionalGroupsSequence": items(
            PixelMeasuresSequence=items(
                PixelSpacing=[0.5, 0.5], SliceThickness=1.5, SpacingBetweenSlices=2.5
            ),
            PlaneOrientationSequence=items(ImageOrientationPatient=AXIAL),
            PixelValueTransformationSequence=items(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
        ),
        "PerFrameFunctionalGroupsSequence": items(
            PlanePositionSequence=items(ImagePositionPatient=[5, 6, 7])
        ),
    }
    place = {"ImagePositionPatient": [-3, 4, 5], "ImageOrientationPatient": OBLIQUE}
    return {
        "one frame": dicom(folder / "one.dcm", picture(1)[None], CLIP, **{**whose, **regions, **ways}),
        "enhanced": dicom(
            folder / "enhanced.dcm", pixels[None], f"{CT_SOP}.1", **{**whose, **groups, "Modality": "CT"}
        ),
        "oblique": dicom(
            *(folder / "oblique.dcm", pixels, CT_SOP),
            **{**whose, **HU, **place, "PixelSpacing": [0.5, 0.5]},
        ),
        "tracked": dicom(folder / "tracked.dcm", picture(1), **{**whose, **regions}),
        "earlier": dicom(
            folder / "earlier.dcm",
            picture(1),
            **{**whose, **regions, "StudyInstanceUID": pydicom.uid.generate_uid()},
        ),
    }


@pytest.fixture(scope="module")
def pacs(study, tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc")) as address:
        client = Pacs(address)
        more = [own for name, own in study.items() if name != "ct"]
        for data in (*more, *study["ct"]):
            client.store(data.StudyInstanceUID, [data])
        yield client


@pytest.fixture(scope="module")
def ask(bundle, pacs):
    with answering(ScoringModel.open(bundle), pacs, sends=True) as found:
        yield found


def records(study, case):
    own = {"nodule": "left upper"}
    for modality, of in CASES[case].items():
        own |= {modality: of(study), f"{modality}_box": BOX}
    return {"dataframe_records": [own]}


@pytest.fixture(scope="module", params=CASES)
def sent(request, ask, pacs, study):
    """An answer, and the objects that Orthanc has of it, by kind."""
    content = records(study, request.param)
    answer = ask("/pacs/send", content)
    assert answer.status_code == 200, answer.text
    found = {}
    for entry in answer.json()["stored"]:
        data = pacs.fetch(entry["study"], entry["series"], entry["instance"])
        found.setdefault(entry["kind"], []).append(data)
    return request.param, content, answer.json()["answer"], found


def test_what_is_stored_is_the_answer_that_was_seen(ask, sent):
    case, content, answer, found = sent
    assert ask("/pacs/invocations", content).json()["predictions"] == [answer]
    pictures = len(CASES[case])
    assert {kind: len(own) for kind, own in found.items()} == {
        "segmentation": pictures,
        "capture": pictures,
        "report": 1,
    }


def test_results_lie_in_the_original_study_under_its_patient(sent, study, pacs):
    _, _, _, found = sent
    listed = {own.uid: own for own in pacs.series(study["us"].StudyInstanceUID)}
    assert len(pacs.studies(patient_id=WHO["PatientID"])) == 2  # with the earlier one
    for kind, several in found.items():
        for data in several:
            assert data.SOPClassUID == KINDS[kind]
            assert data.StudyInstanceUID == study["us"].StudyInstanceUID
            for name in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate"):
                assert data[name].value == WHO[name]
            assert "Research use only, unverified" in listed[data.SeriesInstanceUID].description
            (own,) = pacs.instances(data.StudyInstanceUID, data.SeriesInstanceUID)
            assert (own.uid, own.kind) == (data.SOPInstanceUID, KINDS[kind])


def test_results_are_not_offered_as_pictures(ask, sent, study):
    series = ask("/pacs/series", {"study": study["us"].StudyInstanceUID}).json()["series"]
    assert {own["modality"] for own in series} == {"US", "CT"}
    assert not {data.SeriesInstanceUID for data in sent[3]["capture"]} & {own["uid"] for own in series}


def test_results_are_valid(sent, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy: make test-pacs, or apt install dicom3tools")
    for several in sent[3].values():
        for data in several:
            data.save_as(tmp_path / "result.dcm", enforce_file_format=True)
            done = subprocess.run(["dciodvfy", tmp_path / "result.dcm"], capture_output=True, text=True)
            said = (done.stdout + done.stderr).splitlines()
            assert any(name in said[0] for name in ("Segmentation", "SCImage", "ComprehensiveSR"))
            assert [line for line in said if line.startswith("Error")] == []


def test_the_report_says_what_the_answer_says(sent, study):
    case, _, answer, found = sent
    (report,) = found["report"]
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    text = report.to_json()
    # the bundle of the tests does not say of which lymph nodes it is
    said = (
        "Research use only, unverified",
        "dgfnet-central",
        "left upper",
        "variant",
        "Lymph nodes of the neck",
    )
    for words in said:
        assert words in text
    measured = [
        (item.ConceptNameCodeSequence[0].CodeValue, float(item.MeasuredValueSequence[0].NumericValue))
        for item in numbers(report)
    ]
    expected = {code: answer[name] for code, name in MEASURED.items() if answer[name] is not None}
    assert len(measured) == len(expected)  # once, not once a picture
    assert dict(measured) == pytest.approx(expected, abs=1e-6)
    assert {"risk", "risk-folds-low", "risk-moved-high", "probability"} <= set(expected)
    assert scored_in(report) == [name.upper() for name in ("us", "ct") if name in CASES[case]]
    texts = [item.TextValue for item in of_type(report, "TEXT") if code_of(item) in ("statement", "warning")]
    assert texts == [text for text in (answer["statement"], *answer["warnings"]) if text]
    if case == "ct alone":
        assert texts[0].startswith("no ultrasound: scored from CT alone")
    for drawn in found["segmentation"]:
        assert drawn.SOPInstanceUID in text
    again = highdicom.sr.ComprehensiveSR.from_dataset(report)
    assert again.VerificationFlag == "UNVERIFIED"


def of_type(data, kind):
    """Items of a report of a value type."""
    for item in data.get("ContentSequence") or []:
        if item.ValueType == kind:
            yield item
        yield from of_type(item, kind)


def numbers(data):
    return of_type(data, "NUM")


def code_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def scored_in(report):
    """Modalities that a report says were scored (DCM 121139)."""
    coded = [item for item in of_type(report, "CODE") if code_of(item) == "121139"]
    return [item.ConceptCodeSequence[0].CodeValue for item in coded]


def tracked(data):
    """Tracking UIDs and identifiers of a result (DCM 112040 and 112039)."""
    if data.Modality == "SEG":
        return {(segment.TrackingUID, segment.TrackingID) for segment in data.SegmentSequence}
    uids = {item.UID for item in of_type(data, "UIDREF") if code_of(item) == "112040"}
    names = {item.TextValue for item in of_type(data, "TEXT") if code_of(item) == "112039"}
    return {(uid, name) for uid in uids for name in names}


def test_one_nodule_has_one_tracking_uid(sent):
    results = [*sent[3]["segmentation"], *sent[3]["report"]]
    ((_, name),) = set.union(*(tracked(data) for data in results))
    assert name == "left upper"


def test_segmentations_lie_where_their_picture_lies(sent, study):
    case, content, _, found = sent
    placed = [
        drawn
        for drawn in found["segmentation"]
        if "PlanePositionSequence" in drawn.PerFrameFunctionalGroupsSequence[0]
    ]
    assert len(placed) == (case in PLACES)  # ultrasound has no place
    for drawn in placed:
        (shared,), (frame,) = drawn.SharedFunctionalGroupsSequence, drawn.PerFrameFunctionalGroupsSequence
        position, orientation, thickness, between = PLACES[case]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == position
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == orientation
        measures = shared.get("PixelMeasuresSequence", [])  # a thickness is demanded in them
        told = [(own.PixelSpacing, own.SliceThickness, own.get("SpacingBetweenSlices")) for own in measures]
        assert told == ([] if thickness is None else [([0.5, 0.5], thickness, between)])
        uid = content["dataframe_records"][0]["ct"]["instance"]
        (source,) = [
            own for own in [*study["ct"], study["enhanced"], study["oblique"]] if own.SOPInstanceUID == uid
        ]
        assert drawn.FrameOfReferenceUID == source.FrameOfReferenceUID


@pytest.mark.parametrize(
    ("sent", "kind"),
    [("a clip of one frame", CLIP), ("enhanced ct of one frame", f"{CT_SOP}.1")],
    indirect=["sent"],
)
def test_an_object_of_one_frame_is_pointed_at_by_its_class_and_frame(sent, kind):
    _, _, _, found = sent
    for data in (
        *found["capture"],
        found["segmentation"][0].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0],
    ):
        (source,) = data.SourceImageSequence
        assert (source.ReferencedSOPClassUID, source.ReferencedFrameNumber) == (kind, 1)


def test_reports_in_two_studies_are_of_one_nodule_and_name_both_modalities(ask, pacs, study):
    own = {"nodule": "left", "us": reference(study["earlier"]), "us_box": BOX}
    own |= {"ct": reference(study["ct"][1]), "ct_box": BOX}
    answer = ask("/pacs/send", {"dataframe_records": [own]})
    assert answer.status_code == 200, answer.text
    stored = [
        pacs.fetch(entry["study"], entry["series"], entry["instance"]) for entry in answer.json()["stored"]
    ]
    reports = [data for data in stored if data.Modality == "SR"]
    assert {data.StudyInstanceUID for data in reports} == {
        study["earlier"].StudyInstanceUID,
        study["us"].StudyInstanceUID,
    }
    assert [scored_in(data) for data in reports] == [["US", "CT"]] * 2
    assert len(set.union(*(tracked(data) for data in stored if data.Modality in ("SR", "SEG")))) == 1


def test_segmentations_are_what_the_network_took(sent, ask, study):
    _, content, _, found = sent
    (own,) = content["dataframe_records"]
    modalities = [name for name in ("us", "ct") if name in own]
    for modality, drawn in zip(modalities, found["segmentation"], strict=True):
        preview = ask("/pacs/preview", {"modality": modality, "image": own[modality], "box": BOX}).json()
        mask = drawn.pixel_array.reshape(120, 160)
        x, y = (np.array(values) for values in zip(*preview["outline"], strict=True))
        rows, columns = np.nonzero(mask)
        assert (columns.min(), columns.max() + 1) == (x.min() - 0.5, x.max() + 0.5)
        assert (rows.min(), rows.max() + 1) == (y.min() - 0.5, y.max() + 0.5)
        named = json.dumps(drawn.to_json_dict())
        assert own[modality]["instance"] in named
        if "frame" in own[modality]:
            (frame,) = drawn.PerFrameFunctionalGroupsSequence
            (source,) = frame.DerivationImageSequence[0].SourceImageSequence
            assert (source.ReferencedSOPClassUID, source.ReferencedFrameNumber) == (CLIP, 3)
            assert KINDS["capture"] not in named


def test_the_capture_shows_picture_outline_and_words(sent):
    for shown in sent[3]["capture"]:
        pixels = shown.pixel_array
        assert pixels.shape[1] == 640  # four times 160
        assert (pixels[:480] == (255, 212, 0)).all(axis=2).any()
        assert (pixels[:480] == (64, 176, 255)).all(axis=2).any()
        assert pixels[480:].max() == 255


def test_a_second_time_is_a_second_set(ask, pacs, study, sent):
    _, content, _, found = sent
    answer = ask("/pacs/send", content).json()
    old = {data.SOPInstanceUID for several in found.values() for data in several}
    assert not old & {entry["instance"] for entry in answer["stored"]}


def test_a_cross_drawn_in_grey_is_in_the_capture_unchanged():
    grey = np.full((100, 640), 7, dtype=np.uint8)
    mask = np.zeros_like(grey)
    mask[40:60, 100:120] = 1
    drawn = overlay(ScoredPicture(pydicom.Dataset(), None, mask, (90, 30, 40), grey), ["x"])
    outside = np.ones_like(mask, dtype=bool)
    outside[30:70, 90:130] = False
    assert (drawn[:100][outside] == 7).all()
    assert (drawn[40, 100:120] == (255, 212, 0)).all()
    assert (drawn[30, 90:130] == (64, 176, 255)).all()


def test_words_that_do_not_fit_are_broken():
    grey, mask = np.zeros((10, 640), dtype=np.uint8), np.zeros((10, 640), dtype=np.uint8)
    source = ScoredPicture(pydicom.Dataset(), None, mask, (0, 0, 4), grey)
    one, two = (overlay(source, [words])[10:] for words in ("x", " ".join(["word"] * 16)))
    assert two.any()
    assert not two[:, -8:].any()
    assert len(two) - len(one) == round(34 * 0.7)  # a line more


def assessment(**changes):
    values = {"nodule": "n", "site": "lateral", "numbers": {"probability": 0.25}, "level": "caution"}
    values |= {"model": "m", "version": "2", "variant": "dgf", "modalities": ("us", "ct")}
    return Assessment(**{**values, "statement": "", "warnings": (), **changes})


def test_words_of_an_answer_that_is_not_calibrated():
    assert assessment(statement="no CT", warnings=("dark", "small")).sentences() == [
        "Metastasis in lateral nodes: 0.25, not calibrated",
        "m 2 (dgf), caution, of US and CT",
        "no CT",
        "dark",
        "small",
        "Research use only, unverified",
    ]


def results_of(source, said):
    mask = np.zeros((120, 160), dtype=np.uint8)
    mask[40:60, 50:80] = 1
    scored = ScoredPicture(source, None, mask, (40, 30, 60), picture(1))
    drawn = segmentation(scored, said)
    return [drawn, capture(scored, said), report([(scored, drawn)], said)]


def saved(data, path):
    data.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


@pytest.mark.parametrize(
    ("coding", "name"),
    [("GB18030", "\u738b^\u5c0f\u4e1c"), ("ISO_IR 100", "M\u00fcller^J"), (None, "Plain^P")],
)
def test_names_and_nodules_in_any_script_come_back(coding, name, tmp_path):
    more = {} if coding is None else {"SpecificCharacterSet": coding}
    dicom(tmp_path / "us.dcm", picture(1), PatientName="", **more)
    source = pydicom.dcmread(tmp_path / "us.dcm")
    source.PatientName = name
    source = saved(source, tmp_path / "named.dcm")
    assert str(source.PatientName) == name
    drawn, shown, told = (
        saved(data, tmp_path / "result.dcm") for data in results_of(source, assessment(nodule="\u7ed3\u8282"))
    )
    for data in (drawn, shown, told):
        assert (data.SpecificCharacterSet, str(data.PatientName)) == ("ISO_IR 192", name)
    assert {name for _, name in tracked(drawn) | tracked(told)} == {"\u7ed3\u8282"}


def test_a_device_has_one_uid_and_another_version_another(tmp_path):
    source = dicom(tmp_path / "us.dcm", picture(1))

    def device(**changes):
        told = results_of(source, assessment(**changes))[2]
        (own,) = [item.UID for item in of_type(told, "UIDREF") if code_of(item) == "121012"]
        return own

    assert device() == device(nodule="other")
    assert len({device(), device(version="3"), device(model="other")}) == 3


def test_what_was_compressed_with_loss_is_said_to_be(tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 12.5}
    lossy |= {"LossyImageCompressionMethod": "ISO_10918_1"}
    for data in results_of(dicom(tmp_path / "us.dcm", picture(1), US_SOP, **lossy), assessment())[:2]:
        assert {name: data[name].value for name in lossy} == lossy


def cautious(bundle, study, **limits):
    """A server of a model that finds pictures unlike the training cohort at other limits, and its PACS."""
    model = ScoringModel.open(bundle)
    strict = {name: dataclasses.replace(own, **limits) for name, own in model.typical.items()}
    return dataclasses.replace(model, typical=strict), Double(*everything(study))


def test_a_caution_is_stored_with_its_reasons(study, bundle):
    model, double = cautious(bundle, study, caution=1e-9, refusal=1e9)
    with served(double) as address, answering(model, Pacs(address), sends=True) as own:
        answer = own("/pacs/send", records(study, "us and ct")).json()
    warnings = answer["answer"]["warnings"]
    assert answer["answer"]["level"] == "caution"
    assert warnings
    (told,) = [double.held[own["instance"]] for own in answer["stored"] if own["kind"] == "report"]
    assert [item.TextValue for item in of_type(told, "TEXT") if code_of(item) == "warning"] == warnings


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "ImageOrientationPatient", "PixelSpacing"])
def test_a_place_that_is_not_whole_is_refused_in_a_sentence(name, study, bundle):
    double = Double(*everything(study))
    source = double.held[study["ct"][0].SOPInstanceUID] = copy.deepcopy(study["ct"][0])
    delattr(source, name)
    with served(double) as address, answering(ScoringModel.open(bundle), Pacs(address), sends=True) as own:
        answer = own("/pacs/send", records(study, "ct alone"))
    assert answer.status_code == 400
    assert f"found CT with a place but without {name};" in answer.json()["message"]
    assert not [entry for entry in double.asked if entry[0] == "POST"]


def test_what_cannot_be_sent(ask, study, bundle):
    two = records(study, "ct alone")["dataframe_records"] * 2
    for content, said in (
        ({"dataframe_records": two}, "2 cases; expected one"),
        ({"dataframe_records": []}, "none of the fields"),
        ({"dataframe_records": [{"nodule": "n", "us": [[0] * 9] * 9, "us_box": BOX}]}, "of a file; expected"),
    ):
        answer = ask("/pacs/send", content)
        assert answer.status_code == 400
        assert said in answer.json()["message"]
    model, double = cautious(bundle, study, caution=1e-9, refusal=1e-9)
    with served(double) as address, answering(model, Pacs(address), sends=True) as own:
        answer = own("/pacs/send", records(study, "us and ct"))
    assert answer.status_code == 400
    assert "nothing to send: no answer" in answer.json()["message"]
    assert not [entry for entry in double.asked if entry[0] == "POST"]


WATCH = """
import os, sys
fd = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def watch(event, values):
    if event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(fd, f"{values[0]}\\n".encode())
sys.addaudithook(watch)
"""


def test_nothing_of_a_patient_is_anywhere_but_in_the_pacs(served_project, pacs, study, tmp_path):
    """The command itself reads planted names: its output, metrics, project, home and temporary files."""
    for name in ("watch", "tmp", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH)
    (tmp_path / "token").write_text(TOKEN)
    environment = os.environ | {
        **{"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
        **{"WATCHED": str(tmp_path / "written.txt"), "PYTHONUNBUFFERED": "1"},
    }
    environment["PYTHONPATH"] = f"{tmp_path / 'watch'}:{environment.get('PYTHONPATH', '')}"
    command = [Path(sys.executable).with_name("dgfnet"), "serve", "central", "--port", "0", "--log"]
    command += ["--token", str(tmp_path / "token"), "--pacs", pacs.url, "--send-results"]
    with (tmp_path / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=served_project, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            address = lines[0].split()[-1].removesuffix("/invocations")
            assert "answers are stored there when asked to" in lines[1]
            before = (tmp_path / "written.txt").read_text().splitlines()
            told = everything_asked(address, study)
            assert before  # the hook sees what is written
            written = (tmp_path / "written.txt").read_text().splitlines()[len(before) :]
        finally:
            process.terminate()
            lines.append(process.communicate(timeout=60)[0])
    assert [path for path in written if path not in ("/dev/null", "/dev/tty")] == []
    output = "".join(lines) + (tmp_path / "errors.txt").read_text()
    assert '"path": "/pacs/send"' in output
    places = [*served_project.rglob("*"), *(tmp_path / "tmp").rglob("*"), *(tmp_path / "home").rglob("*")]
    assert any(path.suffix == ".db" for path in places)
    found = {str(path): path.read_bytes() for path in places if path.is_file()}
    for secret in SECRETS:
        assert secret not in output
        assert secret not in told
        assert [name for name, content in found.items() if secret.encode() in content] == []


def everything_asked(address, study):
    """Asks for everything, also in ways that fail, and returns what is told to those who watch the server."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    good = records(study, "us and ct")
    mixed = good["dataframe_records"][0] | {"us": reference(study["other"])}
    asked = [
        ("studies", {"patient_id": WHO["PatientID"]}),
        ("studies", {"patient_id": "MRN-90210*"}),
        ("studies", {"accession": WHO["AccessionNumber"], "date": "20260203"}),
        ("series", {"study": study["us"].StudyInstanceUID}),
        ("instances", {"study": study["us"].StudyInstanceUID, "series": study["us"].SeriesInstanceUID}),
        ("preview", {"modality": "us", "image": reference(study["us"]), "box": BOX}),
        ("preview", {"modality": "ct", "image": reference(study["us"]), "box": BOX}),
        ("invocations", good),
        ("invocations", records(study, "a frame of a clip")),
        ("invocations", {"dataframe_records": [mixed]}),
        ("explain", good),
        ("send", good),
    ]
    answers = [session.post(f"{address}/pacs/{path}", json=content, timeout=60) for path, content in asked]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 400, 200, 200, 200, 200, 400, 200, 200, 400, 200, 200]
    assert WHO["PatientName"] in answers[0].text  # who asks has to see whose study it is
    faults = "".join(answer.text for answer in answers if answer.status_code != 200)
    return faults + session.get(f"{address}/metrics", timeout=20).text + session.get(address, timeout=20).text
