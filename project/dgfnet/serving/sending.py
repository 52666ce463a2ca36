"""An answer goes back to the PACS, by request alone: report, segmentations, captures in their study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import inf

from pydicom.dataset import Dataset

from dgfnet.bundle.model import ScoringModel
from dgfnet.cohort.readers import read_image
from dgfnet.errors import InputError
from dgfnet.pacs.client import Pacs
from dgfnet.pacs.drawings import capture, segmentation
from dgfnet.pacs.findings import SINGLE, Assessment, ScoredPicture
from dgfnet.pacs.report import report
from dgfnet.preprocess.roi import find_square
from dgfnet.preprocess.windowing import to_grey
from dgfnet.serving.answers import NUMBERS, answer
from dgfnet.serving.cases import Case, Reading, read_moved
from dgfnet.serving.decode import NAME, Fetch, decoded_images
from dgfnet.serving.forms import records_of
from dgfnet.serving.records import check_records

LONGEST_NAME = 64


def send_body(
    body: bytes | bytearray,
    model: ScoringModel,
    origin: Mapping[str, str],
    pacs: Pacs,
    end: float = inf,
    fetching: Callable[[], Fetch] | None = None,
) -> str:
    """Scores the case of a request once more, stores the answer, and returns the answer's body.

    An answer is the same each time it is made, so that what is stored is what was seen.

    Args:
        body: JSON of one case, whose pictures are all references.
        model: scores it.
        origin: name and version of the model.
        pacs: of the pictures.
        end: until when on the monotonic clock.
        fetching: makes what gets the pictures of a case.

    Returns:
        JSON: `answer`, as of /invocations; `stored`, the study, series, instance and kind of each object.

    Raises:
        InputError: when the case cannot be scored, has no answer, or has pictures of files.
        PacsError: when the PACS does not take or keep a result.
    """
    records = records_of(body)
    check_records(records)
    if len(records) != 1:
        raise InputError(f"{len(records)} cases; expected one to be sent")
    (record,) = records
    reading = Reading.of(model)
    with decoded_images(record, reading, fetching and fetching()) as images:
        if from_files := [image.image.stem for image in images if image.held is None]:
            raise InputError(
                f"{from_files[0]}: of a file; expected pictures of the PACS alone, to be sent there"
            )
        case = read_moved(images, reading, end)
        (said,) = answer(model, [case], end)
    if said["level"] not in ("answer", "caution"):
        raise InputError(f"nothing to send: {said['statement']}")
    numbers = {name: float(said[name]) for name in NUMBERS if said[name] is not None and name != "decision"}
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
    stored = _store(pacs, _pictures(case, model, pacs), assessment)
    return json.dumps({"answer": {NAME: record[NAME]} | said | dict(origin), "stored": stored})


def _pictures(case: Case, model: ScoringModel, pacs: Pacs) -> list[ScoredPicture]:
    """Returns the largest picture of each modality, as the PACS holds it: its identity is not kept here."""
    pictures = []
    for modality, image in case.chosen.items():
        held, mask = image.held, case.drawn[modality]
        assert held is not None
        source = pacs.fetch(str(held.StudyInstanceUID), str(held.SeriesInstanceUID), str(held.SOPInstanceUID))
        square = find_square(mask, model.preprocess.dilations(modality))
        grey = to_grey(read_image(image), image, model.preprocess)
        frame = (image.slice or 0) if source.SOPClassUID in SINGLE else None
        pictures.append(ScoredPicture(source, frame, mask, (square.left, square.top, square.side), grey))
    return pictures


def _store(pacs: Pacs, pictures: list[ScoredPicture], said: Assessment) -> list[dict[str, str]]:
    """Stores the results of each study in it; everything is made before anything is sent."""
    studies: dict[str, list[tuple[ScoredPicture, Dataset]]] = {}
    for picture in pictures:
        study = str(picture.source.StudyInstanceUID)
        studies.setdefault(study, []).append((picture, segmentation(picture, said)))
    results = {
        study: [
            *(("segmentation", segments) for _, segments in drawn),
            *(("capture", capture(picture, said)) for picture, _ in drawn),
            ("report", report(drawn, said)),
        ]
        for study, drawn in studies.items()
    }
    for study, made in results.items():
        pacs.store(study, [data for _, data in made])
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
