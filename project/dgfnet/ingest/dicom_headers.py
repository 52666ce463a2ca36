"""Headers of a DICOM export: which file is a picture, which one draws, and what neither can be used for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dgfnet.imaging.dicom import UNREADABLE
from dgfnet.imaging.geometry import is_axial
from dgfnet.imaging.identity import identity, unchecked
from dgfnet.imaging.masks import STRUCTURES
from dgfnet.imaging.places import Placement, placement
from dgfnet.imaging.segmentation import SEGMENTATIONS
from dgfnet.parallel import cores, map_in_order

LONGITUDINAL = re.compile(r"long|sag", re.IGNORECASE)
TRANSVERSE = re.compile(r"trans|axial", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class DicomImage:
    """A US or CT file of the export.

    Attributes:
        series: SeriesInstanceUID.
        study: StudyInstanceUID.
        view: as the headers say, or empty.
        places: of its frames; one for a single image.
        unchecked: private attributes and free text in it, which nobody can check (`imaging.identity`).
    """

    path: Path
    patient: str
    modality: str
    uid: str
    series: str
    study: str
    view: str
    places: tuple[Placement, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def frames(self) -> tuple[int | None, ...]:
        """Returns the frames of a clip from 0, None alone for a single image."""
        return tuple(range(len(self.places))) if len(self.places) > 1 else (None,)


@dataclass(frozen=True)
class DrawingFile:
    """A file that draws on pictures: a segmentation or a structure set.

    Attributes:
        named: attributes that name a person; PatientID alone is none where a picture has it as a pseudonym.
    """

    patient: str
    named: tuple[str, ...]


def sort_files(
    paths: Sequence[Path],
) -> tuple[dict[str, DicomImage], dict[Path, str], dict[Path, str]]:
    """Sorts files: pictures by SOPInstanceUID, those that draw with their patient, others with a reason."""
    pictures: dict[str, DicomImage] = {}
    found: dict[Path, DrawingFile] = {}
    lost: dict[Path, str] = {}
    for path, kind in zip(
        paths, map_in_order(_classify, paths, cores(), "DICOM headers", few=2000), strict=True
    ):
        if isinstance(kind, str):
            lost[path] = kind
        elif isinstance(kind, DrawingFile):
            found[path] = kind
        elif pictures.setdefault(kind.uid, kind) is not kind:
            lost[path] = "the same image as another file (SOPInstanceUID)"
    pseudonyms = {picture.places[0].pseudonym for picture in pictures.values()}
    drawing: dict[Path, str] = {}
    for path, kind in found.items():
        named = [name for name in kind.named if name != "PatientID" or kind.patient not in pseudonyms]
        if named:
            lost[path] = _named(named)
        else:
            drawing[path] = kind.patient
    return pictures, drawing, lost


def _classify(path: Path) -> DicomImage | DrawingFile | str:
    """Returns a picture, a file that draws, or the reason why the file is neither."""
    try:
        return _of_header(path, pydicom.dcmread(path, stop_before_pixels=True))
    except InvalidDicomError:
        return "not a DICOM file"
    except UNREADABLE:
        return "its DICOM headers are damaged"


def _of_header(path: Path, data: Dataset) -> DicomImage | DrawingFile | str:
    names = identity(data)
    patient = str(data.get("PatientID") or "").strip()
    if patient and data.get("SOPClassUID") in (*SEGMENTATIONS, STRUCTURES):
        return DrawingFile(patient, tuple(names))
    if names:
        return _named(names)
    if not patient:
        return "PatientID is empty; expected a pseudonym"
    modality = {"US": "us", "CT": "ct"}.get(str(data.get("Modality")))
    if modality is None:
        return f"modality {data.get('Modality')} without use here"
    if "Rows" not in data:
        return f"modality {data.Modality} without pixels"
    count = int(data.get("NumberOfFrames") or 1)
    places = tuple(placement(path.name, data, frame if count > 1 else None) for frame in range(count))
    if modality == "ct" and any(place.plane and not is_axial(place.plane) for place in places):
        return "no axial slices (ImageOrientationPatient)"
    series, study = str(data.get("SeriesInstanceUID", "")), str(data.get("StudyInstanceUID", ""))
    view = view_of(data, modality)
    whose = (path, patient, modality, str(data.SOPInstanceUID), series, study)
    return DicomImage(*whose, view, places, tuple(unchecked(data)))


def view_of(data: Dataset, modality: str) -> str:
    """Returns the view of an image, us or ct, as its headers say, or nothing."""
    text = f"{data.get('SeriesDescription', '')} {data.get('ProtocolName', '')}"
    if modality == "ct":
        return "axial"
    if LONGITUDINAL.search(text):
        return "longitudinal"
    return "transverse" if TRANSVERSE.search(text) else ""


def _named(names: Sequence[str]) -> str:
    return f"names a person or a place ({', '.join(names)}); de-identify it by the basic profile of PS3.15"
