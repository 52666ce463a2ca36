"""Copies among the pictures of a cohort, and by which changes they are copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dgfnet.audit.fingerprint import GREY, Fingerprint
from dgfnet.audit.registration import Registration, Transform, lift, register
from dgfnet.audit.search import Proposal, candidates
from dgfnet.parallel import map_in_order

PATIENTS = 5  # that share one anatomy: more have no copy of one picture, but are drawn from one (phantoms)
GRAIN = 0.6  # correlation of the grain in the worst parts that tells copies from those
UPRIGHT = 1.5  # degrees that a registration may be off
STRETCHED = 1.06  # width to height, a change above it
COVERED = 0.94  # of what one shows, cropped below it
FRAMED = 0.06  # of the picture, more or less around what both show
CHANGED = 0.04  # of the range of grey values
FEW = 4000  # registrations that are not worth starting processes


@dataclass(frozen=True)
class Copy:
    """Two pictures that are one.

    Attributes:
        first: row of the one.
        second: row of the other.
        correlation: of their structure, 0..1.
        change: what makes the second of the first: `mirrored`, `upside down`, `rotated 90` (clockwise),
            `tilted 7` (degrees), `cropped` (either of them), `framed` (more or less is around it),
            `stretched`, `inverted`, `grey values`, separated by commas; `stored again` for none of these.
    """

    first: int
    second: int
    correlation: float
    change: str


@dataclass(frozen=True, eq=False)
class _Job:
    first: Fingerprint
    second: Fingerprint
    candidate: Proposal


def find_copies(
    prints: Sequence[Fingerprint], persons: Sequence[str], threshold: float, processes: int = 1
) -> list[Copy]:
    """Returns the pairs of pictures of different persons that are one, the most alike first.

    Args:
        prints: of the pictures, all of one modality.
        persons: owners of the pictures; pairs of one person are not returned.
        threshold: correlation above which pictures are one, 0..1.
        processes: number of processes at work at once.
    """
    found = candidates(prints, persons)
    jobs = [_Job(prints[one.first], prints[one.second], one) for one in found]
    laid = map_in_order(_register, jobs, processes, "copies", few=FEW)
    same = [
        (one, registered)
        for one, registered in zip(found, laid, strict=True)
        if registered is not None and registered.correlation > threshold
    ]
    shared = _shared([one for one, _ in same], persons)
    copies = [
        Copy(
            one.first,
            one.second,
            min(1.0, registered.correlation),
            name_change(prints[one.first], prints[one.second], registered.transform, one.inverted),
        )
        for (one, registered), common in zip(same, shared, strict=True)
        if not common or registered.grain > GRAIN
    ]
    return sorted(copies, key=lambda copy: (-copy.correlation, copy.first, copy.second))


def name_change(first: Fingerprint, second: Fingerprint, transform: Transform, inverted: bool) -> str:
    """Returns what makes the second picture of the first, as `Copy.change` says it.

    Args:
        first: of the one picture.
        second: of the other.
        transform: (2, 3); where a point of the second structure lies in the first.
        inverted: grey values run the other way in the second.
    """
    there = np.linalg.inv(lift(_between_pictures(first, second, transform)))[:2, :2]
    mirrored = np.linalg.det(there) < 0
    turned = there @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    angle = np.degrees(np.arctan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))
    quarter = round(angle / 90)
    names = [_ORIENTATION[bool(mirrored), quarter % 4]]
    tilt = abs(angle - 90 * quarter)
    names.append(f"tilted {tilt:.0f}" if tilt > UPRIGHT else "")
    back = np.asarray(np.linalg.inv(lift(transform))[:2])
    (covered, seen), (covers, shown) = _covered(first, second, transform), _covered(second, first, back)
    if min(covered, covers) < COVERED:
        names.append("cropped")
    elif abs(seen - shown) > FRAMED:
        names.append("framed")
    strong, weak = np.linalg.svd(there, compute_uv=False)
    names.append("stretched" if strong > STRETCHED * weak else "")
    names.append("inverted" if inverted else "grey values" if _greys_differ(first, second, transform) else "")
    return ", ".join(name for name in names if name) or "stored again"


_ORIENTATION = {
    (False, 0): "",
    (False, 1): "rotated 90",
    (False, 2): "rotated 180",
    (False, 3): "rotated 270",
    (True, 0): "mirrored",
    (True, 1): "mirrored, rotated 90",
    (True, 2): "upside down",
    (True, 3): "mirrored, rotated 270",
}


def _register(job: _Job) -> Registration | None:
    return register(job.first, job.second, job.candidate)


def _shared(found: Sequence[Proposal], persons: Sequence[str]) -> list[bool]:
    """Tells for each pair whether it belongs to more than PATIENTS persons who all look alike."""
    if not found:
        return []
    first, second = (np.array([getattr(one, side) for one in found]) for side in ("first", "second"))
    links = coo_array((np.ones(len(found)), (first, second)), shape=(len(persons), len(persons)))
    part = connected_components(links, directed=False)[1]
    owners: dict[int, set[str]] = {}
    for row in np.unique(np.concatenate([first, second])):
        owners.setdefault(int(part[row]), set()).add(persons[row])
    return [len(owners[int(part[row])]) > PATIENTS for row in first]


def _between_pictures(first: Fingerprint, second: Fingerprint, transform: Transform) -> Transform:
    """Returns the transform between the pictures themselves, (2, 3), of one between their reduced fields."""
    return (_of_picture(first) @ lift(transform) @ np.linalg.inv(_of_picture(second)))[:2]


def _of_picture(one: Fingerprint) -> Transform:
    """Returns where a point of the reduced field lies in the picture, (3, 3)."""
    rows, columns = one.structure.shape
    x, y = (one.field.right - one.field.left) / columns, (one.field.bottom - one.field.top) / rows
    return np.array([[x, 0, one.field.left + (x - 1) / 2], [0, y, one.field.top + (y - 1) / 2], [0, 0, 1]])


def _covered(first: Fingerprint, second: Fingerprint, transform: Transform) -> tuple[float, float]:
    """Returns the shares of the first's structure and of its picture that the second, laid on it, covers."""
    whole = np.ones(second.structure.shape, dtype=np.float32)
    laid = np.asarray(cv2.warpAffine(whole, transform, first.structure.shape[::-1])) > 0.5
    shows, field = first.structure > 0, first.field
    share = (field.right - field.left) * (field.bottom - field.top) / (field.height * field.width)
    return float(laid[shows].mean()), float(laid.mean()) * share


def _greys_differ(first: Fingerprint, second: Fingerprint, transform: Transform) -> bool:
    """Tells whether grey values where both show something differ by more than storing changes them."""
    lay = np.linalg.inv(_of_grey(first)) @ lift(transform) @ _of_grey(second)
    ones = np.ones((GREY, GREY), dtype=np.float32)
    shown = np.asarray(cv2.warpAffine(ones, lay[:2], (GREY, GREY)), dtype=np.float32)
    both = cv2.erode((shown > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    laid = cv2.warpAffine(cv2.blur(second.grey, (3, 3)), lay[:2], (GREY, GREY))
    if not both.any():
        return False
    values = cv2.blur(first.grey, (3, 3))[both]
    low, high = np.percentile(values, (1, 99))
    return float(np.median(np.abs(laid[both] - values))) > CHANGED * max(float(high - low), 1e-6)


def _of_grey(one: Fingerprint) -> Transform:
    """Returns where a pixel of the smallest picture lies in the structure, (3, 3)."""
    x, y = one.structure.shape[1] / GREY, one.structure.shape[0] / GREY
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
