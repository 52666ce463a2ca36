"""Answers go back to Orthanc: valid objects in the original study, and no trace of the patient elsewhere."""

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
from dgfnet.pacs.drawings import overlay
from dgfnet.pacs.findings import Assessment, ScoredPicture
from dgfnet.pacs.report import CONCEPTS
from pacs_servers import Double, orthanc, served
from pacs_study import BOX, CLIP, SECRETS, TOKEN, WHO, answering, everything, make_study, reference

pytestmark = pytest.mark.pacs
KINDS = {"segmentation": "1.2.840.10008.5.1.4.1.1.66.4", "capture": "1.2.840.10008.5.1.4.1.1.7"}
KINDS["report"] = "1.2.840.10008.5.1.4.1.1.88.33"
CASES = {
    "us and ct": {"us": lambda s: reference(s["us"]), "ct": lambda s: reference(s["ct"][1])},
    "a frame of a clip": {"us": lambda s: reference(s["clip"], 2)},
    "ct alone": {"ct": lambda s: reference(s["ct"][0])},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def pacs(study, tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc")) as address:
        client = Pacs(address)
        for data in everything(study):
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
    assert len(pacs.studies(patient_id=WHO["PatientID"])) == 1
    for kind, several in found.items():
        for data in several:
            assert data.SOPClassUID == KINDS[kind]
            assert data.StudyInstanceUID == study["us"].StudyInstanceUID
            for name in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate"):
                assert data[name].value == WHO[name]
            assert "Research use only, unverified" in listed[data.SeriesInstanceUID].description
            (own,) = pacs.instances(data.StudyInstanceUID, data.SeriesInstanceUID)
            assert (own.uid, own.kind) == (data.SOPInstanceUID, KINDS[kind])


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
    expected = [(code, answer[name]) for name, (code, _) in CONCEPTS.items() if answer[name] is not None]
    assert len(measured) == len(expected) * len(CASES[case])
    assert {code for code, _ in expected} >= {"risk", "risk-folds-low", "risk-moved-high", "probability"}
    for code, value in measured:
        assert value == pytest.approx(dict(expected)[code], abs=1e-6)
    for drawn in found["segmentation"]:
        assert drawn.SOPInstanceUID in text
    again = highdicom.sr.ComprehensiveSR.from_dataset(report)
    assert again.VerificationFlag == "UNVERIFIED"


def numbers(data):
    for item in data.get("ContentSequence") or []:
        if item.ValueType == "NUM":
            yield item
        yield from numbers(item)


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
    for capture in sent[3]["capture"]:
        pixels = capture.pixel_array
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


def test_words_of_an_answer_that_is_not_calibrated():
    said = Assessment("n", "lateral", {"probability": 0.25}, "caution", "m", "2", "dgf")
    assert said.sentences() == [
        "Metastasis in lateral nodes: 0.25, not calibrated",
        "m 2 (dgf), caution",
        "Research use only, unverified",
    ]


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
    model = ScoringModel.open(bundle)
    strict = {
        name: dataclasses.replace(own, caution=1e-9, refusal=1e-9) for name, own in model.typical.items()
    }
    model, double = dataclasses.replace(model, typical=strict), Double(*everything(study))
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
