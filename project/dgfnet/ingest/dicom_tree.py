"""`dgfnet ingest dicom`: an export of US, CT and DICOM-SEG becomes a cohort folder.

- A file is taken for what its headers say, whatever its name. Files that name a person or a place are not
  used, and the account says which attributes did, never their values. Private attributes and free text are
  copied, and counted in import.json.
- The mask of an image is what a DICOM-SEG, a label map or an RTSTRUCT draws on it, by place where both have
  one, else by reference to the image (and a clip's frame). A file that names series of the export, or images
  of them, draws on no other series: phases of contrast and reconstructions lie at the same places.
- Where segments have names that need not all be nodules, one has to say which are: a gland would get the
  label of the patient.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging import nifti, structures
from dgfnet.imaging.dicom import UNREADABLE, open_file
from dgfnet.imaging.geometry import CutOff, OtherGrid, is_displayed
from dgfnet.imaging.labels import SHOWN, Region, called, may_all_be_nodules
from dgfnet.imaging.places import Placement
from dgfnet.imaging.segmentation import SEGMENTATIONS, open_segmentation, regions_on, sources
from dgfnet.ingest.dicom_headers import DicomImage, sort_files
from dgfnet.ingest.folder import (
    UNCHECKED,
    Account,
    NotUsed,
    building,
    files_of,
    image_row,
    png,
    progress,
    unpng,
    write_account,
)
from dgfnet.ingest.labels import read_labels
from dgfnet.ingest.slices import SLICES

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
NO_LABEL = "the labels have no row of its nodule"


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


def import_dicom(
    source: Path,
    out: Path,
    labels: Path,
    wanted: Sequence[str] = (),
    resample: bool = False,
    fetched: Sequence[NotUsed] | None = None,
) -> Account:
    """Writes a cohort folder of a DICOM export.

    Args:
        source: folder to look through, with all folders below it.
        out: folder to make; it must not exist or be empty. It appears whole or not at all.
        labels: table of labels (`labels.py`) by PatientID.
        wanted: segments that are nodules, by name, number, code or pattern; empty where all are.
        resample: lay a segmentation on another grid by the nearest pixel.
        fetched: what was left out when the export came from a PACS; None for an export that was given.

    Returns:
        What was used and what was not, also written into the folder: every file of the source is either in
        the cohort or in not_used.csv.

    Raises:
        InputError: for a faulty table, an `out` in use, nothing to use, or two labels that would become one
            nodule id.
    """
    paths, links = files_of(source, "dicom", labels)
    table = read_labels(labels)
    pictures, segmentations, lost = sort_files(paths)
    masks: list[DrawnMask] = []
    found: dict[Path, list[Region]] = {}
    for path, patient in progress(list(segmentations.items()), "Segmentations"):
        read = _masks(path, patient, pictures, wanted, resample)
        if isinstance(read, str):
            lost[path] = read
        else:
            masks += read[0]
            found[path] = read[1]
            if not read[0]:
                lost[path] = "draws on no image of this export"
    _check_regions(found, wanted)
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
            *(fetched or ()),
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
        held = Counter(name for p in pictures.values() if p.path in used for name in p.unchecked)
        origin = {
            "source": "dicom" if fetched is None else "dicomweb",
            "views_assumed_transverse": assumed,
            UNCHECKED: dict(sorted(held.items())),
        }
        account = Account(origin, counts, not_used)
        write_account(folder, table.nodules(list(nodules)), rows, account)
    return account


def _masks(
    path: Path, patient: str, pictures: dict[str, DicomImage], wanted: Sequence[str], resample: bool
) -> tuple[list[DrawnMask], list[Region]] | str:
    """Reads what a file draws on its patient's pictures, and its regions, or returns why it is not used."""
    try:
        data = open_file(path, patient)
        own = _drawn_on(data, [picture for picture in pictures.values() if picture.patient == patient])
        drawn = open_segmentation(path, data) if data.SOPClassUID in SEGMENTATIONS else None
        outlines = None if drawn else structures.open_structures(path, data)
        uids = sources(drawn) if drawn else set[str]()
        if any(pictures[uid].patient != patient for uid in uids & pictures.keys()):
            return "references images of another patient"
        masks: list[DrawnMask] = []
        regions: list[Region] = []
        beside: InputError | None = None
        for picture, frame, place in _frames(own):
            try:
                if drawn:
                    found = regions_on(drawn, place, resample)[0]
                elif outlines and place.plane is not None:
                    uid = place.uid if place.frames == 1 else None
                    found = structures.regions_on(outlines, place.plane, uid)
                else:
                    continue
            except CutOff:
                raise
            except (OtherGrid, structures.OtherFrame) as error:  # of another series of the patient
                beside = beside or error
                continue
            regions = found
            chosen = _wanted(regions, wanted)
            for label in dict.fromkeys(region.name for region in chosen):
                plane = np.logical_or.reduce([region.mask for region in chosen if region.name == label])
                if area := int(plane.sum()):
                    drawing = png(plane.astype(np.uint8) * np.uint8(255))
                    masks.append(DrawnMask(path, picture, frame, label, area, drawing))
    except InputError as error:
        return _bare(error, path)
    except UNREADABLE as error:
        return f"cannot be read as DICOM-SEG ({type(error).__name__})"
    if beside is not None and not masks:
        return _bare(beside, path)
    return masks, regions


def _bare(error: InputError, path: Path) -> str:
    """Returns a message without the name of the file in front."""
    return str(error).removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ")


def _drawn_on(data: Dataset, own: list[DicomImage]) -> list[DicomImage]:
    """Returns the pictures of the series that a file names, of its patient's; all where it names none.

    Phases of contrast and reconstructions of one scan share their frame of reference: a nodule drawn on one
    of them lies on all by place, but was seen on one. Without a frame of reference studies are kept apart.
    """
    names = ("ReferencedSOPInstanceUID", "SeriesInstanceUID")
    named = {str(element.value) for element in data.iterall() if element.keyword in names}
    series = {picture.series for picture in own if picture.uid in named or picture.series in named}
    if series:
        return [picture for picture in own if picture.series in series]
    if len({picture.study for picture in own}) == 1:
        return own
    study = str(data.get("StudyInstanceUID", ""))
    is_placed = bool(str(data.get("FrameOfReferenceUID", "")))
    return [picture for picture in own if picture.study == study or (is_placed and _has_reference(picture))]


def _has_reference(picture: DicomImage) -> bool:
    return all(place.plane is not None and place.plane.frame_of_reference for place in picture.places)


def _frames(pictures: Sequence[DicomImage]) -> Iterator[tuple[DicomImage, int | None, Placement]]:
    for picture in pictures:
        for frame, place in zip(picture.frames, picture.places, strict=True):
            yield picture, frame, place


def _wanted(regions: Sequence[Region], wanted: Sequence[str]) -> list[Region]:
    """Returns the regions of a file that are nodules: all where nothing is said."""
    return list(regions) if not wanted else [region for text in wanted for region in called(regions, text)]


def _check_regions(found: Mapping[Path, Sequence[Region]], wanted: Sequence[str]) -> None:
    """Refuses an export whose regions may not all be nodules, unless it was said which ones are.

    A gland or a lymph node would get the patient's label, which leaks the answer.

    Raises:
        InputError: with the names and in how many files they stand; or for a name that stands nowhere.
    """
    counts = Counter(name for regions in found.values() for name in {region.name for region in regions})
    listed = ", ".join(f"{name!r} in {count} file(s)" for name, count in counts.most_common(SHOWN))
    every = [region for regions in found.values() for region in regions]
    for text in wanted:
        if every and not called(every, text):
            raise InputError(f"--segment {text}: no segment is called so; found {listed}")
    if wanted or not every or may_all_be_nodules(every):
        return
    raise InputError(
        f"the segments are {listed}, and not all of them need be nodules; say with --segment which ones are "
        f"(a name, number, code or pattern; several allowed; '*' for all)"
    )


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


def _once(masks: Sequence[DrawnMask]) -> tuple[list[DrawnMask], list[DrawnMask]]:
    """Splits masks on slices into the first at each place, and those on further files of the same slice."""
    first: dict[object, DrawnMask] = {}
    for mask in masks:
        plane = mask.picture.places[mask.frame or 0].plane
        place: object = (mask.picture.uid, mask.frame)
        if plane is not None:
            place = (mask.picture.study, plane.frame_of_reference, *np.round(plane.origin, 1).tolist())
        first.setdefault(place, mask)
    once = list(first.values())
    return once, [mask for mask in masks if mask not in once]


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


def _write_mask(folder: Path, stem: str, mask: DrawnMask) -> str:
    """Writes a mask and returns its name: a PNG, or NIfTI with its place where a PNG could mean two ways."""
    plane = mask.picture.places[mask.frame or 0].plane
    if plane is None or is_displayed(plane.down, plane.right):
        (folder / f"{stem}.png").write_bytes(mask.png)
        return f"{stem}.png"
    nifti.save_plane(folder / f"{stem}.nii.gz", unpng(mask.png), plane)
    return f"{stem}.nii.gz"


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
                chosen, again = _once(chosen)
                lost |= {mask.picture.path: "another file shows the same slice" for mask in again}
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
                mask_file = _write_mask(folder, f"{stem}{frame and '_f' + frame}_mask", mask)
                view = mask.picture.view or "transverse"
                rows.append(image_row(nodule, modality, view, f"{stem}.dcm", mask_file, slice=frame))
                used |= {mask.picture.path, mask.source}
    return rows, used, lost
