"""Cases that name pictures of a PACS: the same answers as from files, and nothing of whose they are."""

import base64
import json
import re
import threading
import time

import cv2
import numpy as np
import pydicom
import pytest
import requests

from dgfnet.bundle.model import ScoringModel
from dgfnet.cli import main
from dgfnet.errors import InputError
from dgfnet.pacs.client import Pacs
from dgfnet.parallel import cores
from dgfnet.serve import serve
from dgfnet.serving.access import Access
from dgfnet.serving.connection import Limits
from dgfnet.serving.pacs_routes import PacsLink, private
from dgfnet.serving.remote import RemotePictures
from pacs_servers import Double, served
from pacs_study import BOX, SECRETS, TOKEN, answering, everything, make_study, reference


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


@pytest.fixture(scope="module")
def double(study):
    return Double(*everything(study))


@pytest.fixture(scope="module")
def ask(scoring, double):
    with served(double) as address, answering(scoring, Pacs(address)) as found:
        yield found


def case(study, **changes):
    return {
        "nodule": "N1",
        **{"us": reference(study["us"]), "us_box": BOX, "ct": reference(study["ct"][1]), "ct_box": BOX},
        **changes,
    }


def records(own):
    return {"dataframe_records": [own]}


def file_of(data, tmp_path):
    """The same picture as a de-identified file, in base64."""
    copied = pydicom.Dataset.from_json(data.to_json())
    copied.file_meta = data.file_meta
    for name in (
        "PatientName",
        "PatientBirthDate",
        "InstitutionName",
        "ReferringPhysicianName",
        "AccessionNumber",
    ):
        copied[name].value = ""
    copied.PatientIdentityRemoved, copied.DeidentificationMethod = "YES", "test"
    copied.save_as(tmp_path / "file.dcm", enforce_file_format=True)
    return base64.b64encode((tmp_path / "file.dcm").read_bytes()).decode()


def test_a_study_is_chosen_from_patient_to_slice(ask, study):
    found = ask("/pacs/studies", {"patient_id": "MRN-90210"}).json()["studies"]
    assert [(own["uid"], own["patient_name"], own["date"]) for own in found] == [
        (study["us"].StudyInstanceUID, "Zyxwvut^Quirin", "20260203")
    ]
    assert ask("/pacs/studies", {"accession": "ACC-77123", "date": "20260203"}).json()["studies"] != []
    series = ask("/pacs/series", {"study": found[0]["uid"]}).json()["series"]
    assert [own["modality"] for own in series] == ["US", "US", "CT"]
    slices = ask("/pacs/instances", {"study": found[0]["uid"], "series": series[2]["uid"]}).json()[
        "instances"
    ]
    assert [own["uid"] for own in slices] == [data.SOPInstanceUID for data in study["ct"]]
    assert [own["number"] for own in slices] == [1, 2, 3]
    clip = ask("/pacs/instances", {"study": found[0]["uid"], "series": series[1]["uid"]})
    assert [own["frames"] for own in clip.json()["instances"]] == [3]
    assert clip.headers["Cache-Control"] == "no-store"


def test_answers_are_those_of_the_same_pictures_as_files(ask, study, tmp_path):
    from_pacs = ask("/pacs/invocations", records(case(study)))
    files = case(study, us=file_of(study["us"], tmp_path), ct=file_of(study["ct"][1], tmp_path))
    from_files = ask("/invocations", records(files))
    assert from_files.status_code == from_pacs.status_code == 200
    assert from_pacs.json() == from_files.json()
    assert ask("/pacs/invocations", records(files)).json() == from_files.json()
    mixed = case(study, us=file_of(study["us"], tmp_path))
    assert ask("/pacs/invocations", records(mixed)).json() == from_files.json()
    assert ask("/pacs/explain", records(case(study))).json() == ask("/explain", records(files)).json()


def test_a_frame_of_a_clip_is_scored_like_the_picture_it_is(ask, study):
    of_clip = ask("/pacs/invocations", records(case(study, us=reference(study["clip"], 1)))).json()
    assert of_clip == ask("/pacs/invocations", records(case(study))).json()
    other = ask("/pacs/invocations", records(case(study, us=reference(study["clip"], 2)))).json()
    assert other["predictions"][0]["probability"] != of_clip["predictions"][0]["probability"]
    several = case(study, ct=[reference(own) for own in study["ct"]], ct_box=[BOX] * 3)
    assert ask("/pacs/invocations", records(several)).status_code == 200


def shown(answer):
    return cv2.imdecode(np.frombuffer(base64.b64decode(answer["picture"]), np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_window_changes_what_is_shown_and_not_what_is_scored(ask, study):
    own = {"modality": "ct", "image": reference(study["ct"][1]), "box": BOX}
    plain = ask("/pacs/preview", own).json()
    wide = ask("/pacs/preview", {**own, "window": [0, 400]}).json()
    hounsfield = study["ct"][1].pixel_array.astype(float) - 1024
    # PS3.3 C.11.2.1.3: from -200 HU, black, to 200 HU, white
    expected = np.rint(np.clip((hounsfield + 200) / 400, 0, 1) * 255)
    assert np.abs(shown(wide) - expected).max() <= 1
    assert (shown(plain) != shown(wide)).any()
    assert {**wide, "picture": ""} == {**plain, "picture": ""}
    assert plain["spacing_mm"] == 0.5
    for window in ([0], [0, 0], ["a", 1], [1e9, 10], True, [0, True]):
        assert ask("/pacs/preview", {**own, "window": window}).status_code == 400


def test_frames_are_shown(ask, study):
    for frame in range(3):
        answer = ask("/pacs/preview", {"modality": "us", "image": reference(study["clip"], frame)}).json()
        assert (shown(answer) == study["clip"].pixel_array[frame]).all()


WRONG = {
    "a frame too many": ("us", lambda s: reference(s["clip"], 3), "frame 3 asked for, the file has 3"),
    "no frame": ("us", lambda s: reference(s["clip"]), "3 frames; name one"),
    "another patient": ("us", lambda s: reference(s["other"]), "of another patient than"),
    "CT as ultrasound": ("us", lambda s: reference(s["ct"][0]), "of modality CT; expected US"),
    "no UID": ("us", lambda s: {**reference(s["us"]), "instance": "../1"}, r"us\[0\]: no UID"),
    "half a reference": ("us", lambda s: {"study": "1.2"}, "expected a reference of study, series"),
    "a negative frame": ("us", lambda s: reference(s["us"], -1), "frame: expected a whole number"),
    "what is not there": ("us", lambda s: {**reference(s["us"]), "instance": "1.2.3"}, "does not have this"),
    "no box": ("us_box", lambda s: None, "expected a mask of the nodule for every image"),
}


@pytest.mark.parametrize(("field", "change", "said"), WRONG.values(), ids=WRONG)
def test_wrong_references_are_one_sentence(ask, study, field, change, said):
    answer = ask("/pacs/invocations", records(case(study, **{field: change(study)})))
    assert answer.status_code == (404 if "does not have" in said else 400)
    message = answer.json()["message"]
    assert re.search(said, message)
    assert not any(secret in message for secret in SECRETS)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("studies", {}),
        ("studies", {"name": "x"}),
        ("studies", {"patient_id": 7}),
        ("studies", ["MRN-90210"]),
        ("studies", {"patient_id": "*"}),
        ("series", {}),
        ("series", {"study": "x"}),
        ("instances", {"study": "1.2"}),
        ("preview", {"modality": "us", "image": {"study": "1.2"}}),
        ("invocations", {"instances": []}),
    ],
)
def test_wrong_requests_are_one_sentence(ask, path, content):
    answer = ask(f"/pacs/{path}", content)
    assert answer.status_code == 400
    assert "expected" in answer.json()["message"]


def test_references_are_taken_on_paths_of_the_pacs_alone(ask, study):
    answer = ask("/invocations", records(case(study)))
    assert answer.status_code == 400
    assert "us[0]: found a reference" in answer.json()["message"]
    assert ask("/pacs/send", records(case(study))).status_code == 404  # not without --send-results
    for path in ("studies", "series", "instances", "preview", "invocations", "explain"):
        assert ask(f"/pacs/{path}", {}, token="wrong").status_code == 401


def test_a_pacs_that_fails_is_no_fault_of_the_request(ask, double, study):
    double.answer = lambda handler: handler.say(401, b"", "text/plain")
    try:
        answer = ask("/pacs/studies", {"patient_id": "MRN-90210"})
    finally:
        double.answer = None
    assert answer.status_code == 502  # not 401: the page would ask for its own token
    assert "does not know these credentials" in answer.json()["message"]


def test_a_picture_is_fetched_once_for_all_boxes(scoring, study):
    double = Double(*study["ct"])
    with served(double) as address, answering(scoring, Pacs(address)) as ask:
        for edge in (60, 61, 62):
            preview = {"modality": "ct", "image": reference(study["ct"][2]), "box": [20, 24, 70, edge]}
            assert ask("/pacs/preview", preview).status_code == 200
    assert len(double.asked) == 1


def test_results_go_where_the_pictures_are(scoring, study):
    double = Double(study["us"], *study["ct"])
    before = set(double.held)
    with served(double) as address, answering(scoring, Pacs(address), sends=True) as ask:
        answer = ask("/pacs/send", records(case(study))).json()
        assert [answer["answer"]] == ask("/pacs/invocations", records(case(study))).json()["predictions"]
    stored = [double.held[uid] for uid in set(double.held) - before]
    assert {data.SOPInstanceUID for data in stored} == {own["instance"] for own in answer["stored"]}
    assert sorted(data.Modality for data in stored) == ["OT", "OT", "SEG", "SEG", "SR"]
    assert {data.StudyInstanceUID for data in stored} == {study["us"].StudyInstanceUID}
    assert {str(data.PatientName) for data in stored} == {"Zyxwvut^Quirin"}


def test_nothing_is_fetched_for_whom_nobody_waits(double, study):
    with served(double) as address:
        fetch = RemotePictures(Pacs(address)).fetching(time.monotonic() - 1)
        before = len(double.asked)
        with pytest.raises(TimeoutError):
            fetch(reference(study["us"]), "us[0]")
        assert len(double.asked) == before


def test_unforeseen_faults_tell_nothing_of_a_file(ask, study, monkeypatch, caplog):
    def work(*values):
        raise ValueError("Zyxwvut^Quirin")

    with pytest.raises(Exception, match=r"\(ValueError, test_pacs_cases.py:\d+\)") as raised:
        private(work)(bytearray(), 0.0)
    assert "Zyx" not in str(raised.value)
    assert raised.value.__suppress_context__
    caplog.clear()
    monkeypatch.setattr("dgfnet.serving.pacs_routes.studies_body", work)
    answer = ask("/pacs/studies", {"patient_id": "MRN-90210"})
    assert answer.status_code == 500
    assert answer.json()["error_code"] == "INTERNAL_ERROR"  # and no fault of the request
    assert answer.json()["message"] in caplog.text
    assert "Zyx" not in answer.text + caplog.text
    assert "MRN" not in answer.text + caplog.text


def test_a_pacs_is_not_open_to_whoever_asks(tiny):
    remote = PacsLink(Pacs("http://127.0.0.1:9"))
    with pytest.raises(InputError, match="expected a token: --token FILE"):
        serve(tiny, "central", "127.0.0.1", 0, Limits(), Access(), remote)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "pacs-reader.example"])
def test_names_and_token_do_not_cross_a_network_by_http(tiny, host, tmp_path):
    def served_at(host, proxied, tls=None):
        remote = PacsLink(Pacs("http://127.0.0.1:9"), proxied=proxied)
        with pytest.raises(InputError) as raised:
            serve(tiny, "central", host, -1, Limits(), Access(TOKEN, tls), remote)
        return str(raised.value)

    assert "expected --tls CERT KEY, or --behind-proxy" in served_at(host, False)
    other = "cannot answer at"  # at this port: so far it came
    for own in ("127.0.0.1", "localhost"):
        assert other in served_at(own, False)
    assert other in served_at("0.0.0.0", True)
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    assert "cannot be used for TLS" in served_at(host, False, files)


def test_a_pacs_that_hangs_holds_up_nobody_with_files(scoring, study):
    """The threads of the event loop are few: requests that wait for a PACS take none of them."""
    double, release = Double(*study["ct"]), threading.Event()
    double.answer = lambda handler: release.wait(20)
    before = set(threading.enumerate())
    limits = Limits(work_s=0.5)
    with served(double) as address, answering(scoring, Pacs(address), limits=limits) as ask:
        for _ in range(cores() + 1):
            assert ask("/pacs/studies", {"patient_id": "MRN-1"}).status_code == 504
        names = [own.name for own in set(threading.enumerate()) - before]
        release.set()
    assert sum(name.startswith("pacs_") for name in names) == cores()
    assert not any(name.startswith("asyncio_") for name in names)


def test_the_paths_are_described(ask):
    paths = requests.get(
        f"{ask.address}/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
    ).json()["paths"]
    own = {path: list(methods) for path, methods in paths.items() if path.startswith("/pacs")}
    names = ("studies", "series", "instances", "preview", "invocations", "explain")
    assert own == {f"/pacs/{name}": ["post"] for name in names}
    schema = paths["/pacs/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "PACS" in json.dumps(schema["oneOf"][0])


def test_the_command_hands_on_a_pacs(tmp_path, monkeypatch, params, capsys):
    given = []
    monkeypatch.setattr("dgfnet.serve.serve", lambda *values: given.append(values[-1]))
    common = ["serve", "central", "--params", str(params)]
    main([*common, "--pacs", "http://127.0.0.1:9/dicom-web/"])
    main([*common, "--pacs", "http://127.0.0.1:9/dicom-web", "--send-results"])
    main([*common, "--pacs", "http://127.0.0.1:9/dicom-web", "--behind-proxy"])
    assert {link.pacs.url for link in given} == {"http://127.0.0.1:9/dicom-web"}
    assert [(link.sends, link.proxied) for link in given] == [(False, False), (True, False), (False, True)]
    for wrong, said in (
        (["--send-results"], "expected --pacs URL"),
        (["--behind-proxy"], "expected --pacs URL"),
        (["--pacs", "http://a:b@127.0.0.1/"], "holds a user or password"),
        (["--pacs", "https://127.0.0.1/", "--pacs-ca", str(tmp_path / "ca.pem")], "expected certificates"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*common, *wrong])
        assert said in capsys.readouterr().err
