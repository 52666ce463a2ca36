"""A PACS that changes or fails between an answer and its results: nothing goes astray, and what lies there is told."""

import pydicom
import pytest

from dgfnet.bundle.model import ScoringModel
from dgfnet.pacs.client import Pacs
from dgfnet.serving import remote
from pacs_servers import Double, served
from pacs_study import BOX, answering, make_study, picture, reference


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


def changed(data, **values):
    """The same object with other attributes."""
    copied = pydicom.Dataset.from_json(data.to_json())
    copied.file_meta = data.file_meta
    for name, value in values.items():
        setattr(copied, name, value)
    return copied


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
