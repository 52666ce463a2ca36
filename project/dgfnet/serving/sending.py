"""An answer goes back to the PACS, by request alone: report, segmentations, captures in their study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from pydicom.dataset import Dataset

from dgfnet.bundle.model import ScoringModel
from dgfnet.cohort.readers import read_image
from dgfnet.errors import InputError
from dgfnet.pacs.client import Pacs
from dgfnet.pacs.drawings import capture, segmentation
from dgfnet.pacs.findings import SINGLE, Assessment, ScoredPicture
from dgfnet.pacs.report import report
from dgfnet.pacs.session import PacsError
from dgfnet.preprocess.roi import find_square
from dgfnet.preprocess.windowing import to_grey
from dgfnet.serving.answers import NUMBERS, answer
from dgfnet.serving.cases import Case, Reading, read_moved
from dgfnet.serving.decode import NAME, decoded_images
from dgfnet.serving.forms import records_of
from dgfnet.serving.record import read_record
from dgfnet.serving.records import check_records
from dgfnet.serving.remote import CasePictures
from dgfnet.vocabulary import RECORD

LONGEST_NAME = 64
ELSEWHERE = "the results in the case's other study are stored"
Results = Mapping[str, list[tuple[str, Dataset]]]  # by study, kind and object of each


def send_body(
    body: bytes | bytearray,
    model: ScoringModel,
    origin: Mapping[str, str],
    pacs: Pacs,
    pictures: CasePictures,
    end: float,
    begun: Callable[[], None],
) -> str:
    """Scores the case of a request once more, stores the answer, and returns the answer's body.

    An answer is the same each time it is made, so that what is stored is what was seen.

    Args:
        body: JSON of one case, whose pictures are all references.
        model: scores it.
        origin: name and version of the model.
        pacs: of the pictures.
        pictures: gets those of the case.
        end: after which nothing more is sent, on the monotonic clock.
        begun: called before anything is sent.

    Returns:
        JSON: `answer`, as of /invocations; `stored`, the study, series, instance and kind of each object.

    Raises:
        InputError: when the case cannot be scored, has no answer, has pictures of files, or of a PACS that
            changed them since.
        PacsError: when the PACS does not take or keep a result.
        TimeoutError: when the end comes before anything is sent.
    """
    records = records_of(body)
    check_records(records)
    if len(records) != 1:
        raise InputError(f"{len(records)} cases; expected one to be sent")
    (record,) = records
    reading = Reading.of(model)
    known = read_record(record.get(RECORD), reading.record)
    with decoded_images(record, reading, pictures) as images:
        if from_files := [image.image.stem for image in images if image.held is None]:
            raise InputError(
                f"{from_files[0]}: of a file; expected pictures of the PACS alone, to be sent there"
            )
        case = replace(read_moved(images, reading, end), record=known)
        (said,) = answer(model, [case], end)
    if said["level"] not in ("answer", "caution"):
        raise InputError(f"nothing to send: {said['statement']}")
    numbers = {name: float(said[name]) for name in NUMBERS if said[name] is not None}
    assessment = Assessment(
        nodule=str(record[NAME])[:LONGEST_NAME],
        site=str(model.metadata.get("site") or "neck"),
        numbers=numbers,
        level=said["level"],
        model=origin["model"],
        version=origin["version"],
        variant=said["variant"],
        modalities=tuple(case.crops),
        statement=said["statement"],
        warnings=tuple(said["warnings"]),
    )
    results = _results(_pictures(case, model, pictures), assessment)
    stored = _store(pacs, results, end, begun)
    return json.dumps({"answer": {NAME: record[NAME]} | said | dict(origin), "stored": stored})


def _pictures(case: Case, model: ScoringModel, fetched: CasePictures) -> list[ScoredPicture]:
    """Returns the largest picture of each modality, as the PACS holds it: its identity is not kept here."""
    pictures = []
    for modality, image in case.chosen.items():
        held, mask = image.held, case.drawn[modality]
        assert held is not None
        source = fetched.original(held)
        square = find_square(mask, model.preprocess.dilations(modality))
        grey = to_grey(read_image(image), image, model.preprocess)
        frame = (image.slice or 0) if source.SOPClassUID in SINGLE else None
        pictures.append(ScoredPicture(source, frame, mask, (square.left, square.top, square.side), grey))
    return pictures


def _results(pictures: list[ScoredPicture], said: Assessment) -> Results:
    """Makes the results of each study."""
    studies: dict[str, list[tuple[ScoredPicture, Dataset]]] = {}
    for picture in pictures:
        study = str(picture.source.StudyInstanceUID)
        studies.setdefault(study, []).append((picture, segmentation(picture, said)))
    return {
        study: [
            *(("segmentation", segments) for _, segments in drawn),
            *(("capture", capture(picture, said)) for picture, _ in drawn),
            ("report", report(drawn, said)),
        ]
        for study, drawn in studies.items()
    }


def _store(pacs: Pacs, results: Results, end: float, begun: Callable[[], None]) -> list[dict[str, str]]:
    """Stores the results of each study in it; errors after the first say what is stored."""
    for place, (study, made) in enumerate(results.items()):
        begun()  # before the clock is read: where it is unset after the end, nothing is sent any more
        try:
            if time.monotonic() > end:
                raise TimeoutError
            pacs.store(study, [data for _, data in made])
        except PacsError as error:
            if not place:
                raise
            raise PacsError(f"{error}; {ELSEWHERE}", error.status) from None
        except TimeoutError:
            if not place:
                raise
            raise PacsError(f"the time was over before all was sent; {ELSEWHERE}", 504) from None
    return [
        {
            "study": study,
            "series": str(data.SeriesInstanceUID),
            "instance": str(data.SOPInstanceUID),
            "kind": kind,
        }
        for study, made in results.items()
        for kind, data in made
    ]
