"""A PACS is asked: what it holds, and one sentence for every way in which it fails."""

import logging
import socket
import ssl
import time
import warnings

import numpy as np
import pydicom
import pytest

from dgfnet.errors import InputError
from dgfnet.pacs.client import MAYBE, MOST_STUDIES, Pacs, check_uids, years
from dgfnet.pacs.session import LOGGERS, PASSWORD, TOKEN, USER, PacsError, hush
from dicom_files import dicom
from own_certificate import write_certificate
from pacs_servers import Double, orthanc, served

NAME = "Zyxwvut^Quirin"
CLIP = "1.2.840.10008.5.1.4.1.1.3.1"
UIDS = ("1.2.3", "1.2.3.4", "1.2.3.4.5")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A picture and a clip of one study, and a picture of another patient."""
    folder = tmp_path_factory.mktemp("pictures")
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    whose = {"PatientID": "MRN 7", "PatientName": NAME, "AccessionNumber": "A-9", "StudyDate": "20260203"}
    whose |= {"PatientAge": "006M", "PatientSex": "F"}
    study = {"StudyInstanceUID": pydicom.uid.generate_uid(), "StudyDescription": "Thyroid"}
    first = dicom(folder / "1.dcm", grey, SeriesDescription="trans", **whose, **study)
    clip = dicom(folder / "2.dcm", np.stack([grey] * 3), CLIP, SeriesNumber=2, **whose, **study)
    other = dicom(folder / "3.dcm", grey, PatientID="MRN 8", PatientName="Other", StudyDate="20250101")
    return first, clip, other


@pytest.fixture(scope="module", params=["double", pytest.param("orthanc", marks=pytest.mark.pacs)])
def pacs(request, pictures, tmp_path_factory):
    """The pictures in a PACS, stored by the client where it is Orthanc."""
    if request.param == "double":
        with served(Double(*pictures)) as address:
            yield Pacs(address)
        return
    with orthanc(tmp_path_factory.mktemp("orthanc")) as address:
        client = Pacs(address)
        for data in pictures:
            client.store(data.StudyInstanceUID, [data])
        yield client


@pytest.mark.parametrize("asked", [{"patient_id": "MRN 7"}, {"accession": "A-9"}, {"date": "20260203"}])
def test_a_study_is_found(pacs, pictures, asked):
    (study,) = pacs.studies(**asked)
    assert (study.uid, study.patient_id, study.patient_name) == (pictures[0].StudyInstanceUID, "MRN 7", NAME)
    assert (study.accession, study.date, study.description) == ("A-9", "20260203", "Thyroid")
    assert (study.age, study.sex) == ("0.5", "F")
    assert NAME not in repr(study)
    assert "MRN" not in repr(study)


@pytest.mark.parametrize(
    ("told", "expected"),  # values that pydicom takes for an age without a warning, and others
    [
        *(("047Y", "47"), ("006M", "0.5"), ("026W", "0.498"), ("000D", "0"), ("102Y", "102")),
        *(("", ""), ("47", ""), ("47Y", ""), ("047y", ""), ("04.7Y", "")),
    ],
)
def test_an_age_is_read_in_years(told, expected):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        element = pydicom.DataElement("PatientAge", "AS", told)
    assert years(element.value) == expected
    assert bool(warned) == (expected == "" and told != "")


@pytest.mark.parametrize("near", ["MRN+7", "mrn 7", "MRN_7", "MRN%207", "MRN  7"])
def test_a_number_like_it_is_another_patients(pacs, near):
    assert pacs.studies(patient_id=near) == []


def test_what_is_not_there_is_not_found(pacs):
    assert pacs.studies(patient_id="MRN") == []
    assert pacs.studies(patient_id="MRN 7", date="20260204") == []


def test_series_and_instances_are_listed(pacs, pictures):
    first, clip, _ = pictures
    series = pacs.series(first.StudyInstanceUID)
    assert [own.uid for own in series] == [first.SeriesInstanceUID, clip.SeriesInstanceUID]
    assert [(own.modality, own.number, own.description) for own in series] == [
        ("US", 1, "trans"),
        ("US", 2, ""),
    ]
    (own,) = pacs.instances(clip.StudyInstanceUID, clip.SeriesInstanceUID)
    assert (own.uid, own.kind, own.frames) == (clip.SOPInstanceUID, CLIP, 3)
    assert (own.rows, own.columns, own.number) == (8, 8, 1)


def test_an_instance_comes_as_it_was_stored(pacs, pictures):
    for data in pictures:
        found = pacs.fetch(data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
        assert found == data
        assert (found.pixel_array == data.pixel_array).all()


def test_what_a_pacs_does_not_have(pacs, pictures):
    first = pictures[0]
    with pytest.raises(PacsError, match=r"does not have this|has no series") as raised:
        pacs.series("1.2.3")
    assert raised.value.status == 404
    with pytest.raises(PacsError, match=r"does not have this|has no instances"):
        pacs.instances(first.StudyInstanceUID, "1.2.3")
    with pytest.raises(PacsError, match="does not have this"):
        pacs.fetch(first.StudyInstanceUID, first.SeriesInstanceUID, "1.2.3")


def test_dates_are_ranges(pacs):
    assert [study.date for study in pacs.studies(date="20250101-20250102")] == ["20250101"]
    assert [study.date for study in pacs.studies(date="-20260202")] == ["20250101"]
    assert len(pacs.studies(date="20250101-20260203")) == 2
    assert [study.date for study in pacs.studies(date="20250102-")] == ["20260203"]


@pytest.mark.pacs
def test_a_token_is_asked_for_by_orthanc(tmp_path, monkeypatch, pictures):
    with orthanc(tmp_path, AuthenticationEnabled=True, RegisteredUsers={"reader": "long secret"}) as address:
        with pytest.raises(PacsError, match=rf"does not know these credentials \(401\); set {TOKEN}"):
            Pacs(address).studies(date="20260203")
        monkeypatch.setenv(USER, "reader")
        monkeypatch.setenv(PASSWORD, "long secret")
        assert Pacs(address).studies(date="20260203") == []


@pytest.fixture
def double(pictures):
    return Double(*pictures)


@pytest.fixture
def address(double):
    with served(double) as found:
        yield found


def answers(status, body=b"[]", kind="application/dicom+json", **headers):
    return lambda handler: handler.say(status, body, kind, **headers)


def drip_header(handler):
    """Sends a byte of a header now and then."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.flush_headers()
    drip_bytes(handler)


def drip_bytes(handler):
    for _ in range(40):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.1)


def drip(handler):
    """Sends a byte now and then: each arrives in time, the whole never."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    drip_bytes(handler)


MANY = b"[" + b",".join([b'{"0020000D": {"vr": "UI", "Value": ["1.2"]}}'] * (MOST_STUDIES + 1)) + b"]"
FAULTS = {
    "401": (answers(401), 502, "does not know these credentials"),
    "403": (answers(403), 502, "does not allow this"),
    "404": (answers(404), 404, "does not have this"),
    "500": (answers(500, NAME.encode()), 502, r"failed \(500\)"),
    "503, which is not asked again": (answers(503), 502, r"failed \(503\)"),
    "a page of HTML": (answers(200, b"<html>", "text/html"), 502, "not what DICOMweb says"),
    "JSON of another kind": (answers(200, b'["Zyxwvut"]'), 502, "not what DICOMweb says"),
    "a row without UID": (answers(200, b"[{}]"), 502, "not what DICOMweb says"),
    "elsewhere": (answers(302, Location="http://127.0.0.1:9/dicom-web"), 502, r"sends elsewhere \(302\)"),
    "too much": (answers(200, b" " * 3000001), 502, "more than 2 MB"),
    "too slow": (drip, 504, "did not send all within 1 s"),
    "a header that is too slow": (drip_header, 504, "did not send all within 1 s"),
    "silent": (lambda handler: time.sleep(2), 504, "does not answer in time"),
    "hangs up": (
        lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
        502,
        "cannot be reached, or hung up",
    ),
}


@pytest.mark.parametrize(("answer", "status", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_sentence(double, address, answer, status, said, monkeypatch):
    double.answer = answer
    monkeypatch.setattr("dgfnet.pacs.client.SILENCE_S", 0.6)
    client = Pacs(address, largest=2 * 2**20, whole_s=1)
    started = time.monotonic()
    with pytest.raises(PacsError, match=said) as raised:
        client.studies(patient_id="MRN 7")
    assert time.monotonic() - started < 2
    text = str(raised.value)
    assert raised.value.status == status
    assert text.startswith(f"the PACS at {address.removesuffix('/dicom-web')} ")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert len(double.asked) == 1
    for secret in ("MRN", "Zyx", "\n", "dicom-web/studies"):
        assert secret not in text


def test_more_studies_than_one_can_look_through(double, address):
    double.answer = answers(200, MANY)
    with pytest.raises(InputError, match="more than 100 studies"):
        Pacs(address).studies(date="20260203")


def test_nobody_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PacsError, match="cannot be reached"):
        Pacs(f"http://127.0.0.1:{port}").series("1.2")


def test_no_tls_where_it_is_expected(address):
    with pytest.raises(PacsError, match="certificate that is not trusted, or speaks no TLS"):
        Pacs(address.replace("http:", "https:")).series("1.2")


def test_a_certificate_is_verified(double, tmp_path, monkeypatch):
    certificate, private = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))  # trust comes from the option alone
    with served(double, context) as address:
        with pytest.raises(PacsError, match="certificate that is not trusted"):
            Pacs(address).studies(patient_id="MRN 7")
        assert len(Pacs(address, certificate).studies(patient_id="MRN 7")) == 1
        with pytest.raises(PacsError, match="certificate that is not trusted"):  # of another name
            Pacs(address.replace("localhost", "127.0.0.1"), certificate).studies(patient_id="MRN 7")
        double.answer = drip_header
        with pytest.raises(PacsError, match="did not send all within 1 s"):
            Pacs(address, certificate, whole_s=1).studies(patient_id="MRN 7")
    assert len(double.asked) == 2


def test_an_instance_that_is_none(double, address, pictures):
    part = b"--e\r\nContent-Type: application/dicom\r\n\r\nZyxwvut is no DICOM\r\n--e--"
    double.answer = answers(200, part, 'multipart/related; type="application/dicom"; boundary=e')
    with pytest.raises(PacsError, match="not what DICOMweb says") as raised:
        Pacs(address).fetch(*UIDS)
    assert "Zyx" not in str(raised.value)
    double.answer = None
    double.held["1.2.3.4.5"] = pictures[0]
    double.found = lambda path, query: (None, [pictures[0]])
    with pytest.raises(PacsError, match="another instance than was asked for"):
        Pacs(address).fetch(*UIDS)


def test_nothing_is_asked_without_a_question(double, address):
    client = Pacs(address)
    for asked in (
        {},
        {"patient_id": "*"},
        {"patient_id": "MRN?"},
        {"date": "yesterday"},
        {"accession": "A\\B"},
    ):
        with pytest.raises(InputError, match="expected"):
            client.studies(**asked)
    for uid in ("", "1.2/../3", "1.2?", "1." * 40, "a", None, "1.2\n"):
        with pytest.raises(InputError, match="no UID"):
            check_uids(uid)
        with pytest.raises(InputError, match="no UID"):
            client.fetch("1.2", "1.3", uid)
    assert double.asked == []


def test_credentials_come_from_the_environment_alone(double, address, monkeypatch):
    monkeypatch.setenv("NETRC", "/nonexistent")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # would get every question of a patient
    Pacs(address).studies(patient_id="MRN 7")
    assert "Authorization" not in double.asked[0][2]
    assert double.asked[0][2]["Host"] == address.split("/")[2]
    monkeypatch.setenv(TOKEN, "t0ken")
    client = Pacs(address)
    client.studies(patient_id="MRN 7")
    assert double.asked[1][2]["Authorization"] == "Bearer t0ken"
    for url in ("http://pacs.example/dicom-web", "http://10.0.0.1/dicom-web"):
        with pytest.raises(InputError, match="expected https"):
            Pacs(url)
    Pacs("https://pacs.example/dicom-web")
    monkeypatch.setenv(USER, "reader")
    with pytest.raises(InputError, match="both set"):
        Pacs(address)
    monkeypatch.delenv(TOKEN)
    with pytest.raises(InputError, match="expected both"):
        Pacs(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://reader:secret@127.0.0.1/dicom-web", "holds a user or password"),
        ("ftp://127.0.0.1/", "no address of a PACS"),
        ("http://", "no address of a PACS"),
        ("127.0.0.1:8042", "no address of a PACS"),
        ("http://127.0.0.1/dicom-web?a=1", "no address of a PACS"),
        ("http://127.0.0.1:0/dicom-web", "no address of a PACS"),
        ("http://reader:secret@[::1/dicom-web", "no sound host and port"),
        ("http://reader:secret@127.0.0.1:x", "no sound host and port"),
        ("http://127.0.0.1:99999", "no sound host and port"),
    ],
)
def test_addresses_that_are_none(url, said):
    with pytest.raises(InputError, match=said) as raised:
        Pacs(url)
    assert "secret" not in str(raised.value)


def test_an_authority_that_is_missing(tmp_path):
    with pytest.raises(InputError, match="expected certificates, PEM"):
        Pacs("https://127.0.0.1/dicom-web", tmp_path / "ca.pem")


def test_results_that_are_refused_or_changed(double, address, pictures):
    first = pictures[0]
    client = Pacs(address)
    failed = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'
    for answer, said, maybe in (
        (answers(409), "refused all", False),
        (answers(403), "does not allow this", False),
        (answers(413), "of this size", False),
        (answers(500), r"failed \(500\)", True),
        (answers(202, failed), "refused 1 of 1", True),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "hung up", True),
    ):
        double.answer = answer
        with pytest.raises(PacsError, match=said) as raised:
            client.store(first.StudyInstanceUID, [first])
        assert (MAYBE in str(raised.value)) == maybe
    double.answer = None
    changed = pydicom.Dataset.from_json(first.to_json())
    changed.file_meta, changed.SeriesDescription = first.file_meta, "corrected"
    with pytest.raises(
        PacsError, match=f"gives a result back other than it was sent.*{MAYBE}"
    ):  # as Orthanc does
        client.store(first.StudyInstanceUID, [changed])


def test_libraries_are_hushed(address, caplog, recwarn):
    """Without it they tell whom somebody looks for, and what a file holds: so the libraries need it."""
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    warnings.simplefilter("always")  # else the second of one kind is silent anyway
    born = {"00100030": {"vr": "DA", "Value": ["Zyxwvut"]}}

    def told():
        caplog.clear()
        recwarn.clear()
        Pacs(address).studies(patient_id="MRN 7")
        assert pydicom.Dataset.from_json(born).PatientBirthDate == "Zyxwvut"
        return caplog.text, [str(own.message) for own in recwarn]

    logged, warned = told()
    assert "MRN" in logged
    assert any("Zyxwvut" in text for text in warned)
    hush()
    assert told() == ("", [])
