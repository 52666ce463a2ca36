"""DDTI: thyroid ultrasound pictures with outlines in XML, read as a careful user would (Pedraza et al. 2015).

What is settled here, after looking at the pictures:

- A case is one nodule: its XML gives one TIRADS, and all its pictures count as pictures of that nodule. 4b,
  4c and 5 are positive, 2, 3 and 4a negative. A case without a score is not used.
- Two outlines in a picture are, nearly always, one nodule in the two views of a split screen. Their union
  would put the seam between the views into the middle of the region of interest, so the picture is cut at
  the seam and each half is a picture of its own. Outlines drawn twice count once. Several different
  outlines inside one view are not used: which of them the case describes cannot be told. Arrows are not
  outlines.
- The XML cuts the outlines at 2,500 characters. An outline is kept if its list of points is closed: then
  every point was read, and only bookkeeping behind it is lost. An outline cut inside its points is not
  used, unless it only begins to repeat a whole one.
- Answers ("TIRADS 4C") and settings are burned in around the ultrasound field. Only the field is kept: from
  the outline outwards up to the first black line on each side. A field with words in it is not used.
- Pictures are compared by their decoded pixels. A repeated picture inside a case is used once; a case that
  shows a picture of an earlier case is not used, because one person would stand on both sides of a split.
"""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.screening.overlays import words
from dgfnet.errors import InputError
from dgfnet.ingest.folder import NotUsed, files_of
from dgfnet.parallel import cores, map_in_order

LABELS = {"2": 0, "3": 0, "4a": 0, "4b": 1, "4c": 1, "5": 1}  # TIRADS
SEAM = (
    2.65  # step between columns over its median: at least 2.96 at the seams of DDTI, at most 2.37 elsewhere
)
ABOVE_TEXT = 5 / 6  # share of the picture's height above the burned-in text, whose strokes look like seams
BLACK = 20  # grey value; JPEG leaves noise below it around the ultrasound field
INSIDE = 0.9  # an outline may reach over the seam with a tenth of its area: it is drawn by hand
SMALLEST = 20  # pixels of a mask; anything smaller is a slip of the hand
OUTLINE = "freehand"  # regionType of an outline; arrows are drawn too
POINT = re.compile(r'\{\s*"x":\s*(-?\d+(?:\.\d+)?),\s*"y":\s*(-?\d+(?:\.\d+)?)\s*\}')

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """A drawn outline: its points (x, y) and whether the file held all of them."""

    points: tuple[tuple[float, float], ...]
    whole: bool


@dataclass(frozen=True)
class View:
    """The ultrasound field of one view: grey pixels (height, width) and the nodule's mask, 0 or 1."""

    name: str
    pixels: Grey
    mask: Grey


@dataclass(frozen=True)
class DdtiCase:
    """One DDTI case: one nodule with its views and the words of its XML.

    Attributes:
        pictures: hashes of the pixels of its pictures.
        marked: file names of its pictures.
    """

    name: str
    tirads: str
    words: dict[str, str]
    views: tuple[View, ...]
    pictures: frozenset[str]
    marked: frozenset[str]

    @property
    def label(self) -> int:
        """1 for TIRADS 4b and above."""
        return LABELS[self.tirads]


def files(folder: Path) -> list[Path]:
    """Returns the XML files of the cases, in the order of their numbers.

    Raises:
        InputError: when the folder is not a DDTI folder.
    """
    paths = list((folder / "xml").glob("*.xml"))
    if not paths or not (folder / "images").is_dir():
        raise InputError(f"{folder}: expected the folders images/ and xml/ of DDTI with xml/*.xml")
    return sorted(paths, key=lambda path: (int(path.stem) if path.stem.isdigit() else 0, path.stem))


def read_cases(paths: Sequence[Path]) -> tuple[list[DdtiCase], list[NotUsed]]:
    """Reads the usable cases and everything that is not used, in the order of the XML files."""
    cases: list[DdtiCase] = []
    dropped: list[NotUsed] = []
    owner: dict[str, str] = {}  # picture -> case
    for case, lost in map_in_order(_read_case, paths, cores(), "DDTI cases", few=400):
        dropped += lost
        if case is None:
            continue
        twins = sorted({owner[picture] for picture in case.pictures if picture in owner})
        if twins:
            reason = "shows a picture of another case, which is used"
            dropped.append(NotUsed("ddti", "case", case.name, reason, f"case {', '.join(twins)}"))
            continue
        owner.update(dict.fromkeys(case.pictures, case.name))
        cases.append(case)
    return cases, dropped


def strays(folder: Path, paths: Iterable[Path], cases: Iterable[DdtiCase]) -> list[NotUsed]:
    """Returns files that belong to no case, and pictures that no mark of a used case names."""
    xml = set(paths)
    names, marked = {path.stem for path in xml}, {case.name: case.marked for case in cases}
    files, lost = files_of(folder, "ddti")
    for path in files:
        where, case = path.relative_to(folder).as_posix(), path.stem.rpartition("_")[0]
        if path.parent != folder / "images":
            lost += [] if path in xml else [NotUsed("ddti", "file", where, "no part of the set")]
        elif case not in names:
            lost.append(NotUsed("ddti", "file", where, "no XML describes its case"))
        elif path.name not in marked.get(case, {path.name}):  # a case not used is told with its pictures
            lost.append(NotUsed("ddti", "file", where, "the XML of its case has no mark for it"))
    return lost


def parse_outlines(text: str) -> list[Outline]:
    """Parses the outlines of an `<svg>` element, whole or cut, without arrows and repetitions."""
    decoder = json.JSONDecoder()
    outlines: list[Outline] = []
    rest = text.strip().removeprefix("[").lstrip()
    while rest.startswith("{"):
        try:
            region, end = decoder.raw_decode(rest)
            rest = rest[end:].lstrip(" ,\r\n\t")
            outline, kind = _outline(region), region.get("regionType", OUTLINE)
        except ValueError:  # the text ends inside this region
            points, closed, bookkeeping = rest.partition("]")
            whole = bool(closed) and "points" not in bookkeeping
            outline, kind = (
                Outline(tuple((float(x), float(y)) for x, y in POINT.findall(points)), whole),
                OUTLINE,
            )
            rest = ""
        length = None if outline.whole else len(outline.points)
        repeats = bool(outline.points) and any(
            outline.points == earlier.points[:length] for earlier in outlines
        )
        if kind == OUTLINE and not repeats and (len(outline.points) > 2 or not outline.whole):
            outlines.append(outline)
    return outlines


def find_seam(grey: Grey) -> int | None:
    """Returns the first column of the right view of a split screen, or None for a single view.

    Two views meet in a step that runs down the picture: the mean step between neighbouring columns there
    stands out of the median of the middle third, where the seam is looked for.
    """
    third = grey.shape[1] // 3
    if third < 3:
        return None
    middle = grey[: round(ABOVE_TEXT * grey.shape[0]), third : 2 * third].astype(np.float32)
    steps = np.abs(np.diff(middle, axis=1)).mean(axis=0)
    where = int(steps.argmax())
    return third + where + 1 if steps[where] > SEAM * max(float(np.median(steps)), 0.1) else None


def cut_views(name: str, grey: Grey, outlines: Sequence[Outline]) -> tuple[list[View], list[str]]:
    """Cuts the views in which exactly one whole outline lies; returns reasons against the others."""
    seam = find_seam(grey)
    edges = [0, grey.shape[1]] if seam is None else [0, seam, grey.shape[1]]
    views: list[View] = []
    reasons: list[str] = [] if outlines else ["no outline in the XML"]
    for side, (left, right) in enumerate(pairwise(edges)):
        here = [outline for outline in outlines if left <= _middle(outline, grey.shape[1]) < right]
        if not here:
            continue
        view = _view(f"{name}{'ab'[side]}" if seam else name, grey, here, left, right)
        if isinstance(view, str):
            reasons.append(view)
        else:
            views.append(view)
    return views, reasons


def _outline(region: dict[str, Any]) -> Outline:
    """Returns the outline of a decoded region; without points when they are no finite numbers."""
    try:
        points = tuple((float(point["x"]), float(point["y"])) for point in region["points"])
    except (ValueError, KeyError, TypeError):
        return Outline((), whole=False)
    return Outline(points, True) if np.isfinite(points).all() else Outline((), whole=False)


def _view(name: str, grey: Grey, outlines: Sequence[Outline], left: int, right: int) -> View | str:
    """Cuts the view between two columns, or returns the reason why it cannot be used."""
    if len(outlines) > 1:
        return "several outlines in one view: which of them the case describes cannot be told"
    outline = outlines[0]
    if not outline.whole:
        return "the outline is not whole in the XML"
    points = np.rint(np.array(outline.points)).astype(np.int32)
    if (points < 0).any() or (points >= grey.shape[::-1]).any():
        return "the outline leaves the picture"
    mask: Grey = np.zeros(grey.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [points], 1)
    area = int(mask.sum())
    if area < SMALLEST:
        return f"the outline encloses fewer than {SMALLEST} pixels"
    if int(mask[:, left:right].sum()) < INSIDE * area:
        return "the outline crosses the seam between two views"
    rows, columns = _field(grey[:, left:right], mask[:, left:right])
    inside = (rows, slice(left + columns.start, left + columns.stop))
    if words(grey[inside]):
        return "words are written into the ultrasound field"
    return View(name, np.ascontiguousarray(grey[inside]), np.ascontiguousarray(mask[inside]))


def _field(grey: Grey, mask: Grey) -> tuple[slice, slice]:
    """Returns rows and columns of the ultrasound field: from the outline up to the first black lines.

    Columns are judged over at least half the picture's height around the outline where there is as much, rows
    over the columns found, so that a shadow or a cyst is not taken for the edge of the field.
    """
    ys, xs = np.nonzero(mask)
    reach = grey.shape[0] // 4
    near = slice(max(0, ys.min() - reach), ys.max() + 1 + reach)
    columns = _grow(grey[near].max(axis=0) > BLACK, int(xs.min()), int(xs.max()))
    rows = _grow(grey[:, columns].max(axis=1) > BLACK, int(ys.min()), int(ys.max()))
    return rows, columns


def _grow(bright: NDArray[np.bool_], low: int, high: int) -> slice:
    before = np.flatnonzero(~bright[:low])
    after = np.flatnonzero(~bright[high + 1 :])
    return slice(
        int(before[-1]) + 1 if before.size else 0, high + 1 + int(after[0]) if after.size else bright.size
    )


def _middle(outline: Outline, width: int) -> float:
    """Returns the mean column of an outline, inside the picture; 0 when it has no points."""
    xs = [x for x, _ in outline.points]
    return min(max(sum(xs) / len(xs), 0.0), width - 1.0) if xs else 0.0


def _read_case(path: Path) -> tuple[DdtiCase | None, list[NotUsed]]:
    """Reads the case of an XML file; None when nothing of it can be used."""
    name = path.stem
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        return None, [NotUsed("ddti", "case", name, "the XML cannot be read", str(error))]
    words = {child.tag: " ".join((child.text or "").split()) for child in root if child.tag != "mark"}
    tirads = words.get("tirads", "").lower()
    if tirads not in LABELS:
        reason = f"TIRADS {tirads!r} is not one of {', '.join(LABELS)}" if tirads else "no TIRADS"
        return None, [NotUsed("ddti", "case", name, reason)]
    views: list[View] = []
    dropped: list[NotUsed] = []
    pictures: set[str] = set()
    shown: set[str] = set()
    marked: set[str] = set()
    for mark in root.iter("mark"):
        picture = f"{name}_{(mark.findtext('image') or '').strip()}"
        marked.add(f"{picture}.jpg")
        digest, usable, reasons = _read_mark(path.parent.parent / "images" / f"{picture}.jpg", mark, shown)
        views += usable
        dropped += [NotUsed("ddti", "picture", picture, reason) for reason in reasons]
        pictures |= {digest} if digest else set()
        shown |= {digest} if usable else set()
    if not views:
        return None, [*dropped, NotUsed("ddti", "case", name, "no usable picture")]
    return DdtiCase(name, tirads, words, tuple(views), frozenset(pictures), frozenset(marked)), dropped


def _read_mark(path: Path, mark: ElementTree.Element, shown: set[str]) -> tuple[str, list[View], list[str]]:
    """Reads hash, views and reasons of a picture; `shown` holds the hashes of the used pictures."""
    raw = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.empty(0, dtype=np.uint8)
    pixels = cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE) if raw.size else None
    if pixels is None:
        return "", [], ["the picture cannot be decoded" if path.is_file() else "the picture is missing"]
    grey = np.asarray(pixels, dtype=np.uint8)
    digest = hashlib.sha256(str(grey.shape).encode() + grey.tobytes()).hexdigest()
    if digest in shown:
        return digest, [], ["repeats a picture of the same case"]
    views, reasons = cut_views(path.stem, grey, parse_outlines(mark.findtext("svg") or ""))
    return digest, views, reasons
