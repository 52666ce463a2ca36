"""Pictures of a PACS for requests: looked up, fetched, and held for a while without their identity.

Answers of the lookups name patients, for whoever asks to choose by: they are told to him alone, never stored,
counted or logged.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from threading import Lock
from typing import Any

from cachetools import TTLCache
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging.tomography import CLASSES as CT_CLASSES
from dgfnet.imaging.ultrasound import CLASSES as US_CLASSES
from dgfnet.pacs.client import Pacs, check_uids
from dgfnet.pacs.deidentify import anonymous
from dgfnet.pacs.subject import subject
from dgfnet.serving.forms import content_of

HELD_BYTES = 512 * 2**20  # of pictures
HELD_S = 600.0  # that a picture is held: boxes are drawn on it meanwhile
REFERENCE = ("study", "series", "instance")
SEARCH = ("patient_id", "accession", "date")
PSEUDONYM = "held"
Uids = tuple[str, str, str]  # of study, series and instance


class RemotePictures:
    """Pictures of one PACS, held without names, and who is whose by digests that mean nothing elsewhere."""

    def __init__(self, pacs: Pacs) -> None:
        self.pacs = pacs
        self._salt = secrets.token_bytes(32)
        self._held: TTLCache[Uids, tuple[Dataset, bytes]] = TTLCache(
            HELD_BYTES, HELD_S, getsizeof=lambda held: _size(held[0])
        )
        self._lock = Lock()

    def fetching(self, end: float) -> CasePictures:
        """Returns what gets the pictures of one case until an end on the monotonic clock."""
        return CasePictures(self, end)

    def picture(self, uids: Uids) -> tuple[Dataset, bytes]:
        """Returns a picture that names nobody, and a digest of whom it shows."""
        with self._lock:
            held = self._held.get(uids)
        if held is not None:
            return held
        found = self.pacs.fetch(*uids)
        held = anonymous(found, PSEUDONYM), self.whose(found)
        with self._lock:
            if _size(held[0]) <= HELD_BYTES:
                self._held[uids] = held
        return held

    def whose(self, data: Dataset) -> bytes:
        """Returns a digest of whom a data set shows."""
        return hashlib.sha256(self._salt + "\0".join(subject(data)).encode()).digest()

    def forget(self, uids: Uids) -> None:
        """Lets a picture go, so that it is fetched the next time."""
        with self._lock:
            self._held.pop(uids, None)


class CasePictures:
    """The pictures of one case, each fetched once: of one patient, and no more than memory is for."""

    def __init__(self, remote: RemotePictures, end: float) -> None:
        self._remote, self._end = remote, end
        self._own: dict[Uids, Dataset] = {}
        self._first: tuple[bytes, str] | None = None

    def __call__(self, reference: Mapping[str, Any], name: str) -> tuple[Dataset, int | None]:
        """Returns the picture and the frame that a reference stands for; a `serving.decode.Fetch`.

        Raises:
            InputError: naming the field, for what is no reference, another patient's, or too much.
            PacsError: when the PACS cannot be used.
            TimeoutError: after the end.
        """
        uids, frame = read_reference(reference, name)
        if uids not in self._own:
            self._check_end()
            self._own[uids], whose = self._remote.picture(uids)
            self._first = self._first or (whose, name)
            if self._first[0] != whose:
                raise InputError(
                    f"{name} is of another patient than {self._first[1]}; expected pictures of one "
                    "(PatientID, or the study where there is none)"
                )
            if sum(map(_size, self._own.values())) > HELD_BYTES:
                raise InputError(
                    f"{name}: the pictures up to this one have more than {HELD_BYTES // 2**20} MB; expected "
                    "fewer clips in a case, or shorter ones"
                )
        return self._own[uids], frame

    def original(self, held: Dataset) -> Dataset:
        """Returns a picture of the case with its identity, as the PACS has it now.

        Raises:
            InputError: when pixels, attributes or patient are other than those that were scored.
            PacsError: when the PACS cannot be used.
            TimeoutError: after the end.
        """
        self._check_end()
        uids = (str(held.StudyInstanceUID), str(held.SeriesInstanceUID), str(held.SOPInstanceUID))
        source = self._remote.pacs.fetch(*uids)
        now = anonymous(source, PSEUDONYM)
        same = now == held and now.file_meta == held.file_meta
        if not same or self._first is None or self._remote.whose(source) != self._first[0]:
            self._remote.forget(uids)
            raise InputError(
                "a picture was changed in the PACS since it was scored, nothing was stored; take it again, "
                "and look whose it is and what the answer is now"
            )
        return source

    def _check_end(self) -> None:
        if time.monotonic() > self._end:  # nobody waits for the answer any longer
            raise TimeoutError


def _size(data: Dataset) -> int:
    return len(data.get("PixelData") or b"") + 2**16


def read_reference(value: Mapping[str, Any], name: str) -> tuple[Uids, int | None]:
    """Returns the UIDs of study, series and instance, and the frame from 0, of a reference.

    Raises:
        InputError: naming the field, when it is none.
    """
    if set(value) | {"frame"} != {*REFERENCE, "frame"}:
        raise InputError(f"{name}: expected a reference of {', '.join(REFERENCE)}, and frame for a clip")
    study, series, instance = uids = (value["study"], value["series"], value["instance"])
    try:
        check_uids(*uids)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    frame = value.get("frame")
    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, int) or frame < 0):
        raise InputError(f"{name}: frame: expected a whole number from 0, or none")
    return (study, series, instance), frame


def studies_body(body: bytes | bytearray, pacs: Pacs) -> str:
    """Looks studies up for a request's body and returns the answer's body.

    Args:
        body: JSON with one or more of `patient_id`, `accession` and `date` (YYYYMMDD, or a range of two).
        pacs: to look in.

    Returns:
        JSON: `studies`, the fields of `pacs.client.StudyEntry` each.

    Raises:
        InputError: for a body of another form; PacsError as `Pacs.studies`.
    """
    asked = _texts(body, SEARCH, ())
    return json.dumps({"studies": [asdict(study) for study in pacs.studies(**asked)]})


def series_body(body: bytes | bytearray, pacs: Pacs) -> str:
    """Lists the series of a `study` that hold pictures a model may read: US and CT.

    Returns:
        JSON: `series`, the fields of `pacs.client.SeriesEntry` each.
    """
    asked = _texts(body, ("study",), ("study",))
    series = [own for own in pacs.series(asked["study"]) if own.modality in ("US", "CT")]
    return json.dumps({"series": [asdict(own) for own in series]})


def instances_body(body: bytes | bytearray, pacs: Pacs) -> str:
    """Lists the pictures of a `series` of a `study` in the order of their numbers.

    Returns:
        JSON: `instances`, the fields of `pacs.client.InstanceEntry` each; those without pixels are left out.
    """
    asked = _texts(body, ("study", "series"), ("study", "series"))
    found = pacs.instances(asked["study"], asked["series"])
    pictures = [own for own in found if own.rows or own.kind in CT_CLASSES | US_CLASSES]
    return json.dumps({"instances": [asdict(own) for own in pictures]})


def _texts(body: bytes | bytearray, fields: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, str]:
    """Returns the fields of a request that are texts."""
    expected = f"expected a JSON dictionary of texts: {', '.join(fields)}"
    content = content_of(body)
    sound = isinstance(content, dict) and all(isinstance(value, str) for value in content.values())
    if not sound or not set(needed) <= set(content) <= set(fields):
        raise InputError(expected)
    return dict(content)
