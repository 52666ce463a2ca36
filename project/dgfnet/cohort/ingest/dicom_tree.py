"""`dgfnet ingest dicom`: an export of US, CT and DICOM-SEG becomes a cohort folder.

- A file is taken for what its headers say, whatever its name. Files that name a person or a place are not
  used, and the account says which attributes did, never their values.
- The mask of an image is what a DICOM-SEG drew on it: its frames reference the image (and a clip's frame).
- A nodule is a label of the segments: `<patient>-<label>`, or the patient alone where all segments of a
  patient have one label.
- Of CT the three slices of a nodule with the largest masks are used, as for public volumes; of US all images.
- DICOM seldom says how the probe was held: a US image is longitudinal when its series or protocol says so
  ("long", "sag"), else transverse; import.json counts how many were assumed.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.cohort.dicom import SEGMENTATION, UNREADABLE, identity
from dgfnet.cohort.ingest.folder import (
    Account,
    NotUsed,
    building,
    image_row,
    progress,
    write_account,
    write_png,
)
from dgfnet.cohort.ingest.labels import Labels, read_labels
from dgfnet.cohort.ingest.lidc import SLICES
from dgfnet.cohort.parallel import cores, each
from dgfnet.errors import InputError

LONGITUDINAL = re.compile(r"long|sag", re.IGNORECASE)
TRANSVERSE = re.compile(r"trans|axial", re.IGNORECASE)
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Picture:
    """A US or CT file of the export.

    Attributes:
        view: as the headers say, or empty.
        frames: of a clip, 1 for a single image.
    """

    path: Path
    patient: str
    modality: str
    uid: str
    view: str
    frames: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """The mask of one segment on one image or frame, (height, width), 0 or 1, and the file it stands in."""

    source: Path
    picture: Picture
    frame: int | None
    label: str
    mask: NDArray[np.uint8]


def import_dicom(source: Path, out: Path, labels: Path) -> Account:
    """Writes a cohort folder of a DICOM export.

    Args:
        source: folder to look through, with all folders below it.
        out: folder to make; it must not exist or be empty. It appears whole or not at all.
        labels: table of labels (`labels.py`) by PatientID.

    Returns:
        What was used and what was not, also written into the folder: every file of the source is either in
        the cohort or in not_used.csv.

    Raises:
        InputError: for a faulty table, an `out` in use, or nothing to use.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    table = read_labels(labels)
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    lost: dict[Path, str] = {}
    pictures: dict[str, Picture] = {}
    segmentations: list[tuple[Path, str]] = []
    kinds_of = each(_classify, paths, cores(), "DICOM headers", few=2000)
    for path, kind in zip(paths, kinds_of, strict=True):
        if isinstance(kind, str):
            lost[path] = kind
        elif isinstance(kind, Picture):
            if kind.uid in pictures:
                lost[path] = "the same image as another file (SOPInstanceUID)"
            pictures.setdefault(kind.uid, kind)
        else:
            segmentations.append((path, kind[0]))
    drawn = []
    for path, patient in progress(segmentations, "DICOM-SEG"):
        masks = _masks(path, patient, pictures)
        if isinstance(masks, str):
            lost[path] = masks
        else:
            drawn += masks
    nodules, unlabelled = _by_nodule(drawn, table)
    with building(out) as folder:
        rows, used, more = _write(folder, nodules)
        for path, _ in segmentations:
            if path not in used:
                lost.setdefault(path, "draws on no image that is used")
        for picture in pictures.values():
            if picture.path not in used:
                reason = more.get(picture.path) or unlabelled.get(picture.path)
                lost[picture.path] = reason or "no DICOM-SEG draws a nodule on it"
        found = [
            (patient, nodule) for patient, nodule in nodules if nodule in {row["nodule_id"] for row in rows}
        ]
        not_used = [
            NotUsed("dicom", "file", path.relative_to(source).as_posix(), lost[path]) for path in sorted(lost)
        ]
        kinds = Counter(row["modality"] for row in rows)
        counts = {"nodules": len(found), "us_images": kinds["us"], "ct_slices": kinds["ct"]}
        assumed = sum(not one.view for one in pictures.values() if one.path in used and one.modality == "us")
        facts = {"source": "dicom", "views_assumed_transverse": assumed}
        account = Account(facts, counts, (*not_used, *table.unused(found)))
        write_account(folder, table.nodules(found), rows, account)
    return account


def _classify(path: Path) -> Picture | tuple[str] | str:
    """A picture, the patient of a segmentation, or why the file is neither."""
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True)
    except UNREADABLE:
        return "not a DICOM file"
    if names := identity(data):
        return (
            f"names a person or a place ({', '.join(names)}); de-identify it by the basic profile of PS3.15"
        )
    patient = str(data.get("PatientID") or "").strip()
    if not patient:
        return "PatientID is empty; expected a pseudonym"
    if data.get("SOPClassUID") == SEGMENTATION:
        return (patient,)
    modality = {"US": "us", "CT": "ct"}.get(str(data.get("Modality")))
    if modality is None or "Rows" not in data:
        return f"modality {data.get('Modality')} without use here"
    frames = int(data.get("NumberOfFrames") or 1)
    return Picture(path, patient, modality, str(data.SOPInstanceUID), _view(data, modality), frames)


def _view(data: Dataset, modality: str) -> str:
    text = f"{data.get('SeriesDescription', '')} {data.get('ProtocolName', '')}"
    if modality == "ct":
        return "axial"
    if LONGITUDINAL.search(text):
        return "longitudinal"
    return "transverse" if TRANSVERSE.search(text) else ""


def _masks(path: Path, patient: str, pictures: dict[str, Picture]) -> list[Drawn] | str:
    """What a segmentation draws on the pictures of its patient, or why it cannot be used."""
    try:
        segments = highdicom.seg.segread(path)
        uids = [str(uid) for _, _, uid in segments.get_source_image_uids()]
        ours = [pictures[uid] for uid in uids if uid in pictures]
        if any(picture.patient != patient for picture in ours):
            return "references images of another patient"
        found = []
        for number in segments.segment_numbers:
            label = str(segments.get_segment_description(number).segment_label)
            for picture in ours:
                for frame in range(picture.frames) if picture.frames > 1 else (None,):
                    mask = _plane(segments, number, picture, frame)
                    if mask.any():
                        found.append(Drawn(path, picture, frame, label, mask))
    except UNREADABLE as error:
        return f"cannot be read as DICOM-SEG ({type(error).__name__})"
    return found or "draws on no image of this export"


def _plane(segments: Any, number: int, picture: Picture, frame: int | None) -> NDArray[np.uint8]:
    choice = {
        "segment_numbers": [number],
        "ignore_spatial_locations": True,
        "assert_missing_frames_are_empty": True,
    }
    if frame is None:
        planes = segments.get_pixels_by_source_instance([picture.uid], **choice)
    else:
        planes = segments.get_pixels_by_source_frame(picture.uid, [frame + 1], **choice)
    return np.asarray(planes[0].max(axis=-1) > 0, dtype=np.uint8)


def _by_nodule(
    drawn: Sequence[Drawn], labels: Labels
) -> tuple[dict[tuple[str, str], list[Drawn]], dict[Path, str]]:
    """What is drawn of every labelled nodule, and the pictures of those without a label."""
    names = defaultdict(set)
    for one in drawn:
        names[one.picture.patient].add(one.label)
    nodules: dict[tuple[str, str], list[Drawn]] = defaultdict(list)
    lost: dict[Path, str] = {}
    for one in drawn:
        patient = one.picture.patient
        nodule = patient if len(names[patient]) == 1 else f"{patient}-{UNSAFE.sub('_', one.label)}"
        if labels.of(patient, nodule) is None:
            lost[one.picture.path] = f"the labels have no row of patient {patient!r} or nodule {nodule!r}"
        else:
            nodules[patient, nodule].append(one)
    return dict(nodules), lost


def _write(
    folder: Path, nodules: dict[tuple[str, str], list[Drawn]]
) -> tuple[list[dict[str, Any]], set[Path], dict[Path, str]]:
    """Copies images, writes masks; rows of images.csv, files used, and why others of the nodules are not."""
    rows: list[dict[str, Any]] = []
    used: set[Path] = set()
    lost: dict[Path, str] = {}
    for (_, nodule), drawn in nodules.items():
        for modality in ("us", "ct"):
            some = [one for one in drawn if one.picture.modality == modality]
            if modality == "ct":
                some.sort(key=lambda one: -int(one.mask.sum()))
                lost |= {
                    one.picture.path: f"not among the {SLICES} largest slices of its nodule"
                    for one in some[SLICES:]
                }
                some = some[:SLICES]
            for count, one in enumerate(some, start=1):
                image, mask = (
                    f"{modality}/{UNSAFE.sub('_', nodule)}_{count}{end}" for end in (".dcm", "_mask.png")
                )
                shutil.copyfile(one.picture.path, folder / image)
                write_png(folder / mask, one.mask * np.uint8(255))
                view, frame = one.picture.view or "transverse", "" if one.frame is None else one.frame
                rows.append(image_row(nodule, modality, view, image, mask, slice=frame))
                used |= {one.picture.path, one.source}
    return rows, used, lost
