"""`dgfnet ingest folder`: pictures and volumes whose paths say whose they are.

A pattern is a path with fields: `{patient}/{nodule}/{modality}_{view}_{number}.png`. `*` stands for anything
inside a name. Where a pattern lacks `{nodule}`, a patient has one nodule; `{modality}` can stand before the
pattern instead (`us:...`, `ct:...`); without `{view}`, ultrasound is taken for transverse. A mask pattern may
use the fields of its image pattern, and `{path}`, the image's path without its ending. Files that are neither
pictures nor volumes are taken for DICOM, and not used when they name a person or a place.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dgfnet.errors import InputError
from dgfnet.ingest.copies import MatchedImage, write_images
from dgfnet.ingest.folder import (
    UNCHECKED,
    Account,
    NotUsed,
    building,
    files_of,
    write_account,
)
from dgfnet.ingest.labels import Labels, read_labels

FIELDS = ("patient", "nodule", "modality", "view", "number")
MODALITIES = {"us": "us", "ultrasound": "us", "ct": "ct"}
# words for the plane that CT calls axial, and for the one along the neck
VIEWS = dict.fromkeys(("t", "trans", "transverse", "axial"), "transverse")
VIEWS |= dict.fromkeys(("l", "long", "longitudinal", "sagittal"), "longitudinal")
PLANES = {"us": ("transverse", "longitudinal"), "ct": ("axial",)}
LONGEST = 200  # bytes of a nodule id: it begins file names, which take 255


@dataclass(frozen=True)
class Pattern:
    """A pattern of image paths, and the place of their masks.

    Attributes:
        image: of a path relative to the source, with a named group per field.
        mask: format of the mask's path.
        modality: us or ct where the path does not say.
    """

    image: re.Pattern[str]
    mask: str
    modality: str | None


def import_folder(
    source: Path,
    out: Path,
    images: Sequence[str],
    masks: Sequence[str],
    labels: Path,
    segments: Sequence[str] = (),
    resample: bool = False,
) -> Account:
    """Writes a cohort folder of the files that match the patterns.

    Args:
        source: folder to look through, with all folders below it.
        out: folder to make; it must not exist or be empty. It appears whole or not at all.
        images: patterns of images, each with its mask pattern at the same place of `masks`.
        masks: patterns of masks.
        labels: table of labels (`labels.py`).
        segments: regions of the masks that are the nodule, together; empty where a mask has one.
        resample: lay masks on other grids by the nearest pixel.

    Returns:
        What was used and what was not, also written into the folder: every file of the source is either in
        the cohort or in not_used.csv.

    Raises:
        InputError: for a pattern that cannot be used, a faulty table, an `out` in use, or nothing to use.
    """
    if len(images) != len(masks) or not images:
        raise InputError(
            f"{len(images)} --image and {len(masks)} --mask: expected as many of each, at least one"
        )
    patterns = [compile_pattern(image, mask) for image, mask in zip(images, masks, strict=True)]
    paths, links = files_of(source, "folder", labels)
    table = read_labels(labels)
    matched, unmatched = _match(source, paths, patterns, table)
    with building(out) as folder:
        rows, faults, matches, held = write_images(folder, matched, "+".join(segments) or None, resample)
        shown = {path for image, _ in rows for path in (image.image, image.mask)}
        lost = [
            NotUsed("folder", "file", path.relative_to(source).as_posix(), fault.reason, fault.detail)
            for path, fault in faults.items()
            if path not in shown  # a mask may serve several images
        ]
        used = list(dict.fromkeys((image.patient, image.nodule) for image, _ in rows))
        not_used = links + unmatched + lost + table.unused(used)
        kinds = Counter(image.modality for image, _ in rows)
        counts = {"nodules": len(used), **{f"{name}_images": kinds[name] for name in ("us", "ct")}}
        origin = {"source": "folder", "patterns": list(images), "matched_by": dict(matches)}
        origin[UNCHECKED] = dict(sorted(held.items()))
        account = Account(origin, counts, tuple(not_used))
        write_account(folder, table.nodules(used), [row for _, row in rows], account)
    return account


def compile_pattern(image: str, mask: str) -> Pattern:
    """Reads a pair of patterns.

    Raises:
        InputError: for unknown fields, no patient, no modality, or a mask field that its image does not have.
    """
    before, colon, rest = image.partition(":")
    modality = MODALITIES.get(before.lower()) if colon else None
    if colon and modality is None:
        raise InputError(f"--image {image}: {before!r} before the colon, expected us or ct")
    text = rest if colon else image
    for option, pattern in (("--image", text), ("--mask", mask)):
        if set("{}") & set(re.sub(r"\{[^{}]*\}", "", pattern)):
            raise InputError(f"{option} {pattern}: a brace without its partner")
    given = re.findall(r"\{([^}]*)\}", text)
    if unknown := sorted(set(given) - set(FIELDS)):
        raise InputError(f"--image {image}: unknown field {{{unknown[0]}}}, expected {', '.join(FIELDS)}")
    if "patient" not in given:
        raise InputError(f"--image {image}: expected a field {{patient}}")
    if (modality is None) != ("modality" in given):
        raise InputError(
            f"--image {image}: expected us: or ct: before the pattern, or a field {{modality}} in it"
        )
    used = re.findall(r"\{([^}]*)\}", mask)
    if unknown := sorted(set(used) - {*given, "path"}):
        raise InputError(f"--mask {mask}: field {{{unknown[0]}}} is not in its --image {image}")
    expression, named = "", set()
    for part in re.split(r"(\{[^}]*\}|\*)", text):
        name = part[1:-1] if part.startswith("{") else ""
        if name:
            inside = r"\d+" if name == "number" else r"[^/]+?"
            expression += f"(?P={name})" if name in named else f"(?P<{name}>{inside})"
            named.add(name)
        else:
            expression += "[^/]*" if part == "*" else re.escape(part)
    return Pattern(re.compile(expression), mask, modality)


def _match(
    source: Path, paths: Sequence[Path], patterns: Sequence[Pattern], labels: Labels
) -> tuple[list[MatchedImage], list[NotUsed]]:
    """Returns images with a mask and a label, and every other file with the reason why it is not used."""
    names = {path.relative_to(source).as_posix(): path for path in paths}
    masks: set[str] = set()
    own: set[str] = set()
    matched: dict[str, tuple[Pattern, dict[str, str], str]] = {}
    for name in names:
        for pattern in patterns:
            if match := pattern.image.fullmatch(name):
                stem = PurePosixPath(name.removesuffix(".gz")).with_suffix("")  # folders may have dots, too
                where = pattern.mask.format(**match.groupdict(), path=stem)
                if where == name:
                    own.add(name)
                else:
                    masks.add(where)
                    matched.setdefault(name, (pattern, match.groupdict(), where))
    usable, lost = [], []
    for name, path in names.items():
        if name in masks:
            continue  # told with its image
        if name not in matched:
            reason = "its --mask pattern leads to itself" if name in own else "matches no --image pattern"
            lost.append(NotUsed("folder", "file", name, reason))
            continue
        pattern, fields, where = matched[name]
        described = _describe_image(path, pattern, fields, names.get(where))
        if isinstance(described, str):
            lost.append(
                NotUsed("folder", "file", name, described, "" if where in names else f"looked for {where}")
            )
        elif labels.of(described.patient, described.nodule) is None:
            detail = f"patient {described.patient!r}, nodule {described.nodule!r}"
            lost.append(NotUsed("folder", "file", name, "the labels have no row of it", detail))
        else:
            usable.append(described)
    paired = {image.mask for image in usable}
    lost += [
        NotUsed("folder", "file", name, "mask of an image that is not used")
        for name, path in names.items()
        if name in masks and path not in paired
    ]
    return usable, lost


def _describe_image(
    path: Path, pattern: Pattern, fields: dict[str, str], mask: Path | None
) -> MatchedImage | str:
    """Returns the image that a path describes, or the reason why it cannot be used."""
    modality = pattern.modality or MODALITIES.get(fields["modality"].lower())
    if modality is None:
        return f"modality {fields['modality']!r} is not us or ct"
    view = VIEWS.get(fields.get("view", "t").lower())
    if modality == "ct" and view == "transverse":
        view = "axial"
    if view not in PLANES[modality]:
        return f"view {fields['view']!r} is not {' or '.join(PLANES[modality])}"
    if mask is None:
        return "its mask is missing"
    patient = fields["patient"]
    nodule = f"{patient}-{fields['nodule']}" if "nodule" in fields else patient
    if len(os.fsencode(nodule)) > LONGEST:
        return f"patient and nodule together are longer than {LONGEST} bytes"
    return MatchedImage(path, mask, patient, nodule, modality, view)
