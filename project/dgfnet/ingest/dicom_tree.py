"""`dgfnet ingest dicom`: an export of US, CT and DICOM-SEG becomes a cohort folder.

- A file is taken for what its headers say, whatever its name. Files that name a person or a place are not
  used, and the account says which attributes did, never their values.
- The mask of an image is what a DICOM-SEG drew on it: its frames reference the image (and a clip's frame).
- A nodule is a label of the segments: `<patient>-<label>`, or the patient alone where all segments of a
  patient have one label. Segments of one label in a file are one mask; what a second file draws of the same
  nodule on the same image is not used.
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
from pydicom.errors import InvalidDicomError

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import UNREADABLE, identity
from dgfnet.imaging.segmentation import SEGMENTATION
from dgfnet.ingest.folder import (
    Account,
    NotUsed,
    building,
    files_of,
    image_row,
    png,
    progress,
    write_account,
)
from dgfnet.ingest.labels import read_labels
from dgfnet.ingest.lidc import SLICES
from dgfnet.parallel import cores, map_in_order

LONGITUDINAL = re.compile(r"long|sag", re.IGNORECASE)
TRANSVERSE = re.compile(r"trans|axial", re.IGNORECASE)
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
NO_LABEL = "the labels have no row of its nodule"


@dataclass(frozen=True)
class DicomImage:
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
class DrawnMask:
    """The mask that a DICOM-SEG draws of a label on an image or frame.

    Attributes:
        source: the DICOM-SEG.
        frame: of a clip, from 0; None for a single image.
        area: pixels of the mask, more than 0.
        png: the mask as a PNG file, 0 and 255: a whole export of masks has to fit into memory.
    """

    source: Path
    picture: DicomImage
    frame: int | None
    label: str
    area: int
    png: bytes


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
        InputError: for a faulty table, an `out` in use, nothing to use, or two labels that would become one
            nodule id.
    """
    paths, links = files_of(source, "dicom", labels)
    table = read_labels(labels)
    pictures, segmentations, lost = _sort(paths)
    masks = []
    for path, patient in progress(list(segmentations.items()), "DICOM-SEG"):
        read = _masks(path, patient, pictures)
        if isinstance(read, str):
            lost[path] = read
        else:
            masks += read
    first, repeated = _first_of(source, masks)
    nodules = _by_nodule(first)
    unlabelled = {key: nodules.pop(key) for key in list(nodules) if table.of(*key) is None}
    with building(out) as folder:
        rows, used, reasons = _write(folder, nodules)
        reasons |= {mask.picture.path: NO_LABEL for group in unlabelled.values() for mask in group}
        for picture in pictures.values():
            lost[picture.path] = reasons.get(picture.path, "no DICOM-SEG draws a nodule on it")
        for path in segmentations:
            lost.setdefault(path, "draws on no image that is used")
        idle = [(path.relative_to(source).as_posix(), lost[path]) for path in sorted(lost.keys() - used)]
        not_used = (
            *links,
            *(NotUsed("dicom", "file", name, reason) for name, reason in idle),
            *repeated,
            *(NotUsed("dicom", "nodule", nodule, NO_LABEL) for _, nodule in unlabelled),
            *table.unused(list(nodules)),
        )
        kinds = Counter(row["modality"] for row in rows)
        counts = {"nodules": len(nodules), "us_images": kinds["us"], "ct_slices": kinds["ct"]}
        shown = [
            picture for picture in pictures.values() if picture.path in used and picture.modality == "us"
        ]
        assumed = sum(not picture.view for picture in shown)
        account = Account({"source": "dicom", "views_assumed_transverse": assumed}, counts, not_used)
        write_account(folder, table.nodules(list(nodules)), rows, account)
    return account


def _sort(paths: Sequence[Path]) -> tuple[dict[str, DicomImage], dict[Path, str], dict[Path, str]]:
    """Sorts files: pictures by SOPInstanceUID, segmentations with their patient, others with a reason."""
    pictures: dict[str, DicomImage] = {}
    segmentations: dict[Path, str] = {}
    lost: dict[Path, str] = {}
    for path, kind in zip(
        paths, map_in_order(_classify, paths, cores(), "DICOM headers", few=2000), strict=True
    ):
        if isinstance(kind, str):
            lost[path] = kind
        elif isinstance(kind, tuple):
            segmentations[path] = kind[0]
        elif pictures.setdefault(kind.uid, kind) is not kind:
            lost[path] = "the same image as another file (SOPInstanceUID)"
    return pictures, segmentations, lost


def _classify(path: Path) -> DicomImage | tuple[str] | str:
    """Returns a picture, the patient of a segmentation, or the reason why the file is neither."""
    try:
        return _of_header(path, pydicom.dcmread(path, stop_before_pixels=True))
    except InvalidDicomError:
        return "not a DICOM file"
    except UNREADABLE:
        return "its DICOM headers are damaged"


def _of_header(path: Path, data: Dataset) -> DicomImage | tuple[str] | str:
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
    if modality is None:
        return f"modality {data.get('Modality')} without use here"
    if "Rows" not in data:
        return f"modality {data.Modality} without pixels"
    frames = int(data.get("NumberOfFrames") or 1)
    return DicomImage(path, patient, modality, str(data.SOPInstanceUID), _view(data, modality), frames)


def _view(data: Dataset, modality: str) -> str:
    text = f"{data.get('SeriesDescription', '')} {data.get('ProtocolName', '')}"
    if modality == "ct":
        return "axial"
    if LONGITUDINAL.search(text):
        return "longitudinal"
    return "transverse" if TRANSVERSE.search(text) else ""


def _masks(path: Path, patient: str, pictures: dict[str, DicomImage]) -> list[DrawnMask] | str:
    """Reads the masks of a segmentation on its patient's pictures, or returns why it cannot be used."""
    try:
        segments = highdicom.seg.segread(path)
        uids = [str(uid) for _, _, uid in segments.get_source_image_uids()]
        ours = [pictures[uid] for uid in uids if uid in pictures]
        if any(picture.patient != patient for picture in ours):
            return "references images of another patient"
        labels: dict[str, list[int]] = defaultdict(list)
        for number in segments.segment_numbers:
            labels[str(segments.get_segment_description(number).segment_label)].append(number)
        masks = []
        for label, numbers in labels.items():
            for picture in ours:
                for frame in range(picture.frames) if picture.frames > 1 else (None,):
                    plane = _plane(segments, numbers, picture, frame)
                    if area := int(plane.sum()):
                        masks.append(DrawnMask(path, picture, frame, label, area, png(plane * np.uint8(255))))
    except UNREADABLE as error:
        return f"cannot be read as DICOM-SEG ({type(error).__name__})"
    return masks or "draws on no image of this export"


def _plane(segments: Any, numbers: list[int], picture: DicomImage, frame: int | None) -> NDArray[np.uint8]:
    """Returns the union of segments on an image or frame, (height, width), 0 or 1."""
    choice = {
        "segment_numbers": numbers,
        "ignore_spatial_locations": True,
        "assert_missing_frames_are_empty": True,
    }
    if frame is None:
        planes = segments.get_pixels_by_source_instance([picture.uid], **choice)
    else:
        planes = segments.get_pixels_by_source_frame(picture.uid, [frame + 1], **choice)
    return np.asarray(planes[0].max(axis=-1) > 0, dtype=np.uint8)


def _first_of(source: Path, masks: Sequence[DrawnMask]) -> tuple[list[DrawnMask], list[NotUsed]]:
    """Splits masks into the first of a label and image, and what a further file draws there again."""
    first: dict[tuple[str, int | None, str], DrawnMask] = {}
    repeated = []
    for mask in masks:
        if first.setdefault((mask.picture.uid, mask.frame, mask.label), mask) is not mask:
            name, where = (path.relative_to(source).as_posix() for path in (mask.source, mask.picture.path))
            reason = "another DICOM-SEG draws the same nodule on the same image"
            repeated.append(NotUsed("dicom", "drawing", name, reason, f"on {where}"))
    return list(first.values()), repeated


def _by_nodule(masks: Sequence[DrawnMask]) -> dict[tuple[str, str], list[DrawnMask]]:
    """Groups masks by patient and nodule id."""
    names = defaultdict(set)
    for mask in masks:
        names[mask.picture.patient].add(mask.label)
    nodules: dict[tuple[str, str], list[DrawnMask]] = defaultdict(list)
    for mask in masks:
        patient = mask.picture.patient
        nodule = patient if len(names[patient]) == 1 else f"{patient}-{UNSAFE.sub('_', mask.label)}"
        nodules[patient, nodule].append(mask)
    for (patient, nodule), of_nodule in nodules.items():
        if len(labels := sorted({mask.label for mask in of_nodule})) > 1:
            raise InputError(
                f"patient {patient}: the segments {' and '.join(map(repr, labels))} would both be nodule "
                f"{nodule}; rename one"
            )
    return dict(nodules)


def _write(
    folder: Path, nodules: dict[tuple[str, str], list[DrawnMask]]
) -> tuple[list[dict[str, Any]], set[Path], dict[Path, str]]:
    """Copies images, writes masks; rows of images.csv, files used, and why others of the nodules are not."""
    rows: list[dict[str, Any]] = []
    used: set[Path] = set()
    lost: dict[Path, str] = {}
    for (_, nodule), masks in progress(list(nodules.items()), "Cohort"):
        for modality in ("us", "ct"):
            chosen = [mask for mask in masks if mask.picture.modality == modality]
            if modality == "ct":
                chosen.sort(key=lambda mask: -mask.area)
                reason = f"not among the {SLICES} largest slices of its nodule"
                lost |= {mask.picture.path: reason for mask in chosen[SLICES:]}
                chosen = chosen[:SLICES]
            copies: dict[str, str] = {}  # a clip may be drawn on in hundreds of frames
            for mask in chosen:
                stem = copies.get(mask.picture.uid)
                if stem is None:
                    stem = f"{modality}/{UNSAFE.sub('_', nodule)}_{len(copies) + 1}"
                    copies[mask.picture.uid] = stem
                    shutil.copyfile(mask.picture.path, folder / f"{stem}.dcm")
                frame = "" if mask.frame is None else str(mask.frame)
                # the f keeps frame 2 of A_1 apart from image 2 of a nodule A_1
                mask_file = f"{stem}{frame and '_f' + frame}_mask.png"
                (folder / mask_file).write_bytes(mask.png)
                view = mask.picture.view or "transverse"
                rows.append(image_row(nodule, modality, view, f"{stem}.dcm", mask_file, slice=frame))
                used |= {mask.picture.path, mask.source}
    return rows, used, lost
