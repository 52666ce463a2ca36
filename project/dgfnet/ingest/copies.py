"""Files of a tree become files of a cohort: slices are chosen, copies get names of its own."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgfnet.errors import InputError
from dgfnet.imaging import itk, pictures
from dgfnet.imaging.annotations import read as read_annotation
from dgfnet.imaging.dicom import as_input_error, open_file
from dgfnet.imaging.identity import pseudonym_of, unchecked
from dgfnet.imaging.kinds import ending_of, kind_of
from dgfnet.imaging.labels import check_plausible, nodule_of
from dgfnet.ingest.folder import image_row, png, progress
from dgfnet.ingest.slices import SLICES, Drawn, Refused, is_stack, largest_slices

DRAWN = "_mask_drawn.png"  # ending of masks that were annotations


@dataclass(frozen=True)
class MatchedImage:
    """An image of the source with what its path says."""

    image: Path
    mask: Path
    patient: str
    nodule: str
    modality: str
    view: str


def write_images(
    folder: Path, images: Sequence[MatchedImage], segment: str | None, resample: bool
) -> tuple[list[tuple[MatchedImage, dict[str, Any]]], dict[Path, Refused], Counter[str], Counter[str]]:
    """Copies files under names of the cohort's own.

    Returns:
        Their rows of images.csv, why others are not used, how masks that were opened were matched, and what
        DICOM files hold that nobody can check, by the number of files.
    """
    rows: list[tuple[MatchedImage, dict[str, Any]]] = []
    lost: dict[Path, Refused] = {}
    counts: Counter[tuple[str, str]] = Counter()
    matches: Counter[str] = Counter()
    options = {"segment": segment or "", "resample": int(resample) or ""}
    unchecked: dict[Path, list[str]] = {}
    usable, fits = _fit(images, segment, resample, lost, unchecked)
    for source in progress(usable, "Cohort"):
        drawn = fits.get(source.image)
        counts[source.nodule, source.modality] += 1
        stem = f"{source.modality}/{source.nodule}_{counts[source.nodule, source.modality]}"
        try:
            image, mask = _copy(source, folder, stem, segment)
        except InputError as error:
            lost |= dict.fromkeys((source.image, source.mask), Refused(_bare(error, source.mask)))
            continue
        cells = dict(options) if not mask.endswith(DRAWN) else {}
        if drawn is not None:
            matches[drawn.match] += 1
            cells["spacing_mm"] = f"{drawn.spacing_mm:.6g}" if drawn.spacing_mm else ""
        for index in drawn.slices if drawn else (None,):
            at = "" if index is None else index
            row = image_row(source.nodule, source.modality, source.view, image, mask, slice=at, **cells)
            rows.append((source, row))
    copied = {path for source, _ in rows for path in (source.image, source.mask)}
    held = Counter(name for path in copied & unchecked.keys() for name in unchecked[path])
    return rows, lost, matches, held


def _fit(
    images: Sequence[MatchedImage],
    segment: str | None,
    resample: bool,
    lost: dict[Path, Refused],
    held: dict[Path, list[str]],
) -> tuple[list[MatchedImage], dict[Path, Drawn]]:
    """Opens CT volumes and DICOM images with their masks: slices that show most, and what is lost.

    Of a series of files with a slice each, the slices with the largest masks are chosen over all files.
    """
    fits: dict[Path, Drawn] = {}
    series: dict[str, list[Path]] = defaultdict(list)
    usable = []
    for source in progress(images, "Masks"):
        fault = _identity_fault(source, held)
        refused = Refused(fault) if fault else None
        if not refused and source.modality == "ct" and kind_of(source.image) != "picture":
            found = largest_slices(source.image, source.mask, segment, resample)
            if isinstance(found, Refused):
                refused = found
            else:
                fits[source.image] = found
                if not is_stack(source.image):
                    series[source.nodule].append(source.image)
        if refused:
            lost |= {source.image: refused, source.mask: refused}
        else:
            usable.append(source)
    for files in series.values():
        for path in sorted(files, key=lambda path: -sum(fits[path].areas))[SLICES:]:
            lost[path] = Refused(f"not among the {SLICES} largest slices of its nodule")
    return [source for source in usable if source.image not in lost], fits


def _copy(source: MatchedImage, folder: Path, stem: str, segment: str | None) -> tuple[str, str]:
    """Copies an image and its mask; an annotation becomes a picture: it knows the image's old name."""
    image, mask = f"{stem}{_ending(source.image)}", f"{stem}_mask{_ending(source.mask)}"
    if kind_of(source.mask) == "annotation":
        mask = f"{stem}{DRAWN}"
        shape = _shape_of(source.image, source.mask)
        regions = read_annotation(source.mask, source.image.name, shape)
        drawn = nodule_of(regions, segment, source.mask.name)
        check_plausible(drawn, source.mask.name, source.image.name)
        (folder / mask).write_bytes(png(drawn * np.uint8(255)))
    else:
        _copy_file(source.mask, folder / mask)
    _copy_file(source.image, folder / image)
    return image, mask


def _copy_file(source: Path, target: Path) -> None:
    if source.suffix.lower() == ".mhd":  # header and voxels in two files become one
        itk.save_as_one(source, target)
    else:
        shutil.copyfile(source, target)


def _bare(error: InputError, path: Path) -> str:
    """Returns a message without the name of its file, so that many files may share it."""
    return str(error).removeprefix(f"{path.name}: ")


def _identity_fault(source: MatchedImage, held: dict[Path, list[str]]) -> str:
    """Returns the reason why one of two files that may be DICOM is not to be copied, or nothing.

    What the files hold that nobody can check is put into `held`.

    The image's PatientID names nobody in its mask where the image is de-identified: many tools that write
    segmentations drop the flag that says so.
    """
    pseudonym = ""
    for path in (source.image, source.mask):
        try:
            if kind_of(path) == "dicom":
                data = open_file(path, pseudonym)
                with as_input_error(path, "cannot be read as DICOM"):
                    held[path] = unchecked(data)
                pseudonym = pseudonym_of(data) if path == source.image else pseudonym
        except InputError as error:
            return _bare(error, path)
    return ""


def _shape_of(image: Path, mask: Path) -> tuple[int, int]:
    """Returns rows and columns of an image that was annotated."""
    if kind_of(image) == "picture":
        return pictures.shape_of(image, None)
    if kind_of(image) != "dicom":
        raise InputError(
            f"{mask.name}: outlines on a picture, but the image is a volume; expected a mask volume"
        )
    data = open_file(image)
    with as_input_error(image, "its size cannot be read"):
        return int(data.Rows), int(data.Columns)


def _ending(path: Path) -> str:
    ending = ending_of(path)
    return ".mha" if ending == ".mhd" else ending
