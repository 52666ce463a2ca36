"""A PACS by DICOMweb: searched (QIDO-RS), fetched from (WADO-RS) and stored to (STOW-RS).

Everything stays in memory. What comes back names patients: it is neither printed nor logged here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.pacs.session import CONNECT_S, EXPECTED, SILENCE_S, PacsError, open_session, told
from dgfnet.pacs.subject import subject

MOST_STUDIES = 100
MOST_INSTANCES = 3000  # of a series; CT of the whole body has some 2000 slices
MOST_FRAMES = 2000
LONGEST_UID = 64
STUDY_FIELDS = ("StudyDescription", "ModalitiesInStudy", "IssuerOfPatientID", "PatientAge", "PatientSex")
SERIES_FIELDS = ("SeriesDescription", "NumberOfSeriesRelatedInstances")
INSTANCE_FIELDS = ("NumberOfFrames", "InstanceNumber", "Rows", "Columns")
SENTENCE_NONE = "has no {}; it may be gone"
MAYBE = "some of the results may be stored all the same: look into the study before you send again"
AGE = re.compile(r"(\d{3})([DWMY])")  # PS3.5, 6.2: AS
IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1}
DATE = re.compile(r"\d{8}(-(\d{8})?)?|-\d{8}")


@dataclass(frozen=True)
class StudyEntry:
    """A study as a PACS lists it; texts as they stand there, empty where it tells nothing.

    Attributes:
        uid: StudyInstanceUID.
        date: YYYYMMDD.
        modalities: of its series.
        age: of the patient at the study, in years.
        sex: M, F or O.
        subject: text that studies of one patient share and no others (`pacs.subject`).
    """

    uid: str
    patient_id: str = field(repr=False)
    patient_name: str = field(repr=False)
    accession: str = field(repr=False)
    date: str
    description: str = field(repr=False)
    modalities: tuple[str, ...]
    age: str = field(repr=False)
    sex: str = field(repr=False)
    subject: str = field(repr=False)


@dataclass(frozen=True)
class SeriesEntry:
    """A series as a PACS lists it; 0 instances where it does not count them."""

    uid: str
    modality: str
    number: int
    description: str = field(repr=False)
    instances: int


@dataclass(frozen=True)
class InstanceEntry:
    """An instance as a PACS lists it: its SOP class, number in the series, frames, rows and columns."""

    uid: str
    kind: str
    number: int
    frames: int
    rows: int
    columns: int


class Pacs:
    """A PACS that is asked by DICOMweb.

    Args:
        url: of its DICOMweb service, as http://127.0.0.1:8042/dicom-web.
        authority: PEM file of certificates that are trusted instead of the public ones.
        limits: `largest` bytes and `whole_s` seconds of an answer, other than those of the session.

    Raises:
        InputError: for an address or credentials that cannot be used; nothing is asked yet.
    """

    def __init__(self, url: str, authority: Path | None = None, **limits: Any) -> None:
        self.url, session = open_session(url, authority, **limits)
        try:
            self._client = DICOMwebClient(
                self.url, session, timeout=(CONNECT_S, min(SILENCE_S, session.whole_s))
            )
        except ValueError:
            raise InputError(f"{url}: no address of a PACS; {EXPECTED}") from None
        # it would ask five times, also after a timeout
        self._client.set_http_retry_params(retry=False)

    def studies(self, patient_id: str = "", accession: str = "", date: str = "") -> list[StudyEntry]:
        """Returns the studies that match, the newest first.

        Args:
            patient_id: as the hospital writes it, whole.
            accession: number of the order, whole.
            date: YYYYMMDD, or a range as YYYYMMDD-YYYYMMDD.

        Raises:
            InputError: when nothing is asked for, or more than MOST_STUDIES match.
            PacsError: when the PACS cannot be used.
        """
        asked = {"PatientID": patient_id.strip(), "AccessionNumber": accession.strip()}
        if not any((*asked.values(), date)):
            raise InputError(
                "nothing to search for; expected a patient's number, an accession number or a date"
            )
        for value in asked.values():
            if re.search(r"[*?\\\0-\x1f]", value) or len(value) > LONGEST_UID:
                raise InputError(
                    "a number with * ? \\ or more than 64 letters; expected it whole, as it is written"
                )
        if date and not DATE.fullmatch(date):
            raise InputError("no date; expected YYYYMMDD, or a range as 20260101-20260131")
        # Orthanc 1.10 does not decode what is coded in a question, and finds numbers in small letters, too:
        # any one letter is asked for where it would be coded, and what was found is compared
        search = {name: re.sub(r"[^A-Za-z0-9._~-]", "?", value) for name, value in asked.items() if value}
        if date:
            search["StudyDate"] = date
        with told(self.url):
            found = self._client.search_for_studies(
                search_filters=search, fields=list(STUDY_FIELDS), limit=MOST_STUDIES + 1
            )
            studies = [_study(row) for row in _rows(found)]
        if len(studies) > MOST_STUDIES:
            raise InputError(f"more than {MOST_STUDIES} studies; say more of the one that you mean")
        numbers = {"PatientID": "patient_id", "AccessionNumber": "accession"}
        studies = [
            study
            for study in studies
            if all(not value or getattr(study, numbers[name]) == value for name, value in asked.items())
        ]
        return sorted(studies, key=lambda study: study.date, reverse=True)

    def series(self, study: str) -> list[SeriesEntry]:
        """Returns the series of a study by their numbers.

        Raises:
            InputError: for what is no UID.
            PacsError: when the PACS does not have it or cannot be used.
        """
        check_uids(study)
        with told(self.url):
            found = self._client.search_for_series(study, fields=list(SERIES_FIELDS))
            series = [_series(row) for row in _rows(found)]
            if not series:
                raise PacsError(SENTENCE_NONE.format("series of this study"), 404)
        return sorted(series, key=lambda own: (own.number, own.uid))

    def instances(self, study: str, series: str) -> list[InstanceEntry]:
        """Returns the instances of a series by their numbers.

        Raises:
            InputError: for what is no UID, or a series of more than MOST_INSTANCES.
            PacsError: when the PACS does not have it or cannot be used.
        """
        check_uids(study, series)
        with told(self.url):
            found = self._client.search_for_instances(
                study, series, fields=list(INSTANCE_FIELDS), limit=MOST_INSTANCES + 1
            )
            instances = [_instance(row) for row in _rows(found)]
            if not instances:
                raise PacsError(SENTENCE_NONE.format("instances of this series"), 404)
        if len(instances) > MOST_INSTANCES:
            raise InputError(f"a series of more than {MOST_INSTANCES} instances; choose another")
        return sorted(instances, key=lambda own: (own.number, own.uid))

    def fetch(self, study: str, series: str, instance: str) -> Dataset:
        """Returns an instance as it is stored, in its own transfer syntax.

        Raises:
            InputError: for what is no UID, or a clip of more than MOST_FRAMES.
            PacsError: when the PACS does not have it, sends another, or cannot be used.
        """
        check_uids(study, series, instance)
        with told(self.url):
            data = self._client.retrieve_instance(study, series, instance)
            if (str(data.StudyInstanceUID), str(data.SOPInstanceUID)) != (study, instance):
                raise PacsError("sent another instance than was asked for; look at its configuration")
            frames = int(data.get("NumberOfFrames") or 1)
        if frames > MOST_FRAMES:
            raise InputError(f"a clip of {frames} frames; expected at most {MOST_FRAMES}")
        return data

    def store(self, study: str, results: Sequence[Dataset]) -> None:
        """Stores instances in a study that is there, and reads them back.

        Raises:
            PacsError: when the PACS refuses one or does not give it back as it was sent; unless it refused
                all, the message says that some may be stored.
        """
        check_uids(study)
        files = [_as_read(data) for data in results]
        refused_all = False
        try:
            with told(self.url):
                try:
                    answer = self._client.store_instances(files, study)
                except requests.HTTPError as error:
                    status = error.response.status_code if error.response is not None else 0
                    refused_all = 400 <= status < 500
                    if status == 409:
                        raise PacsError("refused all of the results (409); look at its log") from None
                    raise
                self._check_stored(study, files, answer)
        except PacsError as error:
            if refused_all:
                raise
            raise PacsError(f"{error}; {MAYBE}", error.status) from None

    def _check_stored(self, study: str, files: Sequence[Dataset], answer: Dataset) -> None:
        """Raises PacsError when not all files are stored as they were sent."""
        if refused := len(answer.get("FailedSOPSequence") or []):
            raise PacsError(f"refused {refused} of {len(files)} results; look at its log")
        for data in files:
            kept = self._client.retrieve_instance(study, data.SeriesInstanceUID, data.SOPInstanceUID)
            if kept != data:
                raise PacsError("gives a result back other than it was sent; look at its configuration")


def check_uids(*uids: str) -> None:
    """Checks UIDs (PS3.5, 9.1) before they become part of an address.

    Raises:
        InputError: for what is none.
    """
    for uid in uids:
        if (
            not isinstance(uid, str)
            or len(uid) > LONGEST_UID
            or not re.fullmatch(r"\d+(\.\d+)*", uid, re.ASCII)
        ):
            raise InputError("no UID; expected numbers with points between, at most 64 letters")


def years(age: str) -> str:
    """Returns an age as DICOM has it (047Y, 006M, 003W, 010D) in years, in digits; nothing of another."""
    found = AGE.fullmatch(age.strip())
    return f"{int(found[1]) / IN_A_YEAR[found[2]]:.3g}" if found else ""


def _as_read(data: Dataset) -> Dataset:
    """Returns a data set as a reader of its file gets it, with the preamble of a file.

    dicomweb-client 0.61 sends no preamble where a data set has none, so that nothing can read what is stored;
    and classes of highdicom 0.28 refuse to be compared with those of pydicom.
    """
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


def _rows(found: Any) -> list[Dataset]:
    """Returns what a search found as data sets; other forms raise what `told` makes a sentence of."""
    return [Dataset.from_json(row) for row in found]


def _study(row: Dataset) -> StudyEntry:
    modalities = row.get("ModalitiesInStudy") or []
    return StudyEntry(
        uid=str(row.StudyInstanceUID),
        **_texts(row, patient_id="PatientID", patient_name="PatientName", accession="AccessionNumber"),
        **_texts(row, date="StudyDate", description="StudyDescription"),
        modalities=(modalities,) if isinstance(modalities, str) else tuple(map(str, modalities)),
        age=years(str(row.get("PatientAge") or "")),
        **_texts(row, sex="PatientSex"),
        subject="\n".join(subject(row)),
    )


def _series(row: Dataset) -> SeriesEntry:
    return SeriesEntry(
        uid=str(row.SeriesInstanceUID),
        **_texts(row, modality="Modality", description="SeriesDescription"),
        number=_whole(row, "SeriesNumber"),
        instances=_whole(row, "NumberOfSeriesRelatedInstances"),
    )


def _instance(row: Dataset) -> InstanceEntry:
    return InstanceEntry(
        uid=str(row.SOPInstanceUID),
        kind=str(row.get("SOPClassUID") or ""),
        number=_whole(row, "InstanceNumber"),
        frames=max(1, _whole(row, "NumberOfFrames")),
        rows=_whole(row, "Rows"),
        columns=_whole(row, "Columns"),
    )


def _texts(row: Dataset, **names: str) -> Mapping[str, Any]:
    return {own: str(row.get(keyword) or "") for own, keyword in names.items()}


def _whole(row: Dataset, keyword: str) -> int:
    value = row.get(keyword)
    return int(value) if value not in (None, "") else 0
