"""A PACS that changes or fails before results are stored: none go astray, and what may be there is said."""

import threading
import time

import pytest

from dgfnet.bundle.model import ScoringModel
from dgfnet.pacs.client import MAYBE, Pacs
from dgfnet.serving import remote
from dgfnet.serving.connection import Limits
from pacs_servers import Double, served
from pacs_study import BOX, answering, changed, make_study, picture, reference


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


def case(us, ct):
    own = {"nodule": "N1", "us": reference(us), "us_box": BOX, "ct": reference(ct), "ct_box": BOX}
    return {"dataframe_records": [own]}


def posts(double):
    return [path for method, path, _ in double.asked if method == "POST"]


OTHER = {"PatientID": "MRN-1", "PatientName": "Other^Person"}
CHANGES = {
    "another picture of another patient": OTHER | {"PixelData": picture(7).tobytes()},
    "another patient": OTHER,
    "another issuer of the number": {"IssuerOfPatientID": "elsewhere"},
    "other pixels": {"PixelData": picture(7).tobytes()},
    "another size of pixels": {"SequenceOfUltrasoundRegions": []},
}


@pytest.mark.parametrize("values", CHANGES.values(), ids=CHANGES)
def test_a_picture_that_was_replaced_gets_no_results(scoring, study, values):
    us, ct = study["us"], study["ct"][1]
    double = Double(us, ct)
    with served(double) as address, answering(scoring, Pacs(address), sends=True) as ask:
        assert ask("/pacs/invocations", case(us, ct)).status_code == 200
        double.held[us.SOPInstanceUID] = changed(us, **values)
        answer = ask("/pacs/send", case(us, ct))
        assert answer.status_code == 400
        assert "changed in the PACS since it was scored" in answer.json()["message"]
        assert posts(double) == []
        again = ask("/pacs/send", case(us, ct))  # of what the PACS has now
    if "PatientID" in values or "IssuerOfPatientID" in values:
        assert "ct[0] is of another patient than us[0]" in again.json()["message"]
        assert posts(double) == []
    else:
        assert again.status_code == 200
        assert posts(double) != []


def test_pictures_without_number_are_of_one_patient_in_one_study_alone(scoring, study):
    us, ct = (changed(data, PatientID=" ") for data in (study["us"], study["ct"][1]))
    apart = changed(ct, StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1")
    with served(Double(us, ct, apart)) as address, answering(scoring, Pacs(address)) as ask:
        assert ask("/pacs/invocations", case(us, ct)).status_code == 200
        answer = ask("/pacs/invocations", case(us, apart))
    assert answer.status_code == 400
    assert "ct[0] is of another patient than us[0]" in answer.json()["message"]


def test_a_case_holds_no_more_than_there_is_memory_for(scoring, study, monkeypatch):
    clip, ct = study["clip"], study["ct"][1]
    room = 2**17 + len(clip.PixelData) + len(ct.PixelData)  # two pictures, 2**16 for the attributes of each
    frames = {"us": [reference(clip, frame) for frame in range(3)], "us_box": [BOX] * 3}
    content = case(clip, ct)
    content["dataframe_records"][0] |= frames
    for bytes_, status in ((room, 200), (room - 1, 400)):
        monkeypatch.setattr(remote, "HELD_BYTES", bytes_)
        with served(double := Double(clip, ct)) as address, answering(scoring, Pacs(address)) as ask:
            answer = ask("/pacs/invocations", content)
        assert answer.status_code == status
        assert len(double.asked) == 2  # three frames are one clip
    assert "ct[0]: the pictures up to this one have more than 0 MB" in answer.json()["message"]


def held_up(method, over):
    """Makes a PACS wait with one kind of request until the server has given its answer."""

    def answer(handler):
        if handler.command == method:
            over.wait(60)
        return False

    return answer


LIMITS = Limits(work_s=6)  # enough to score a case on a busy machine


def test_nothing_is_sent_after_the_time_is_over(scoring, study):
    us, ct = study["us"], study["ct"][1]
    double = Double(us, ct)
    over = threading.Event()
    with served(double) as address, answering(scoring, Pacs(address), sends=True, limits=LIMITS) as ask:
        assert ask("/pacs/invocations", case(us, ct)).status_code == 200
        double.answer = held_up("GET", over)
        answer = ask("/pacs/send", case(us, ct))
        over.set()
        time.sleep(1.5)
    assert answer.status_code == 504
    assert MAYBE not in answer.json()["message"]
    assert posts(double) == []


def test_what_is_under_way_when_the_time_is_over_is_told(scoring, study):
    us, ct = study["us"], study["ct"][1]
    double = Double(us, ct)
    over = threading.Event()
    with served(double) as address, answering(scoring, Pacs(address), sends=True, limits=LIMITS) as ask:
        double.answer = held_up("POST", over)
        answer = ask("/pacs/send", case(us, ct))
        over.set()
        end = time.monotonic() + 30
        while len(double.held) < 7 and time.monotonic() < end:
            time.sleep(0.1)
    assert answer.status_code == 504
    assert MAYBE in answer.json()["message"]
    assert len(double.held) == 7


@pytest.fixture
def two_studies(study):
    """Ultrasound and CT of one patient, of two days."""
    return study["us"], changed(study["ct"][1], StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1")


def test_each_study_gets_its_own_results(scoring, two_studies):
    us, ct = two_studies
    double = Double(us, ct)
    with served(double) as address, answering(scoring, Pacs(address), sends=True) as ask:
        stored = ask("/pacs/send", case(us, ct)).json()["stored"]
    for source in two_studies:
        kinds = [own["kind"] for own in stored if own["study"] == source.StudyInstanceUID]
        assert sorted(kinds) == ["capture", "report", "segmentation"]
        own = [data for data in double.held.values() if data.StudyInstanceUID == source.StudyInstanceUID]
        assert len(own) == 4
        (other,) = {us.SOPInstanceUID, ct.SOPInstanceUID} - {source.SOPInstanceUID}
        assert all(source.SOPInstanceUID in str(data) and other not in str(data) for data in own)


@pytest.mark.parametrize(("status", "maybe"), [(403, False), (500, True)])
def test_what_is_stored_already_is_told_when_the_second_study_fails(scoring, two_studies, status, maybe):
    us, ct = two_studies
    double = Double(us, ct)

    def answer(handler):
        if len(posts(double)) < 2:
            return False
        return handler.say(status, b"", "text/plain")

    double.answer = answer
    with served(double) as address, answering(scoring, Pacs(address), sends=True) as ask:
        told = ask("/pacs/send", case(us, ct))
    assert told.status_code == 502
    assert "the results in the case's other study are stored" in told.json()["message"]
    assert (MAYBE in told.json()["message"]) == maybe
    assert len(double.held) == 5


def test_the_second_study_gets_nothing_after_the_time_is_over(scoring, two_studies):
    us, ct = two_studies
    double = Double(us, ct)
    over = threading.Event()
    with served(double) as address, answering(scoring, Pacs(address), sends=True, limits=LIMITS) as ask:
        double.answer = held_up("POST", over)
        answer = ask("/pacs/send", case(us, ct))
        over.set()
        time.sleep(1.5)
    assert answer.status_code == 504
    assert MAYBE in answer.json()["message"]
    assert len(posts(double)) == 1
