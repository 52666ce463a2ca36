"""Pictures that look drawn upon, for a person to confirm: a table, a contact sheet, and what was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.cohort.readers import read_as_shown, read_mask
from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.cohort.screening.decisions import Decisions, name_of
from dgfnet.cohort.screening.overlays import Drawing, find
from dgfnet.cohort.screening.shapes import Box
from dgfnet.cohort.sheet import caption, stack
from dgfnet.errors import InputError
from dgfnet.files import replacing, write_csv
from dgfnet.parallel import map_in_order

COLUMNS = ["nodule_id", "image", "slice", "found", "where", "noted", "decision"]
BESIDE = 16  # pixels around a nodule where a mark is about it; further out are the scanner's scales and signs
SHOWN, ACROSS = 48, 6  # pictures of the sheet
MARK = (40, 40, 255)  # red: a box around what was found


@dataclass(frozen=True)
class Suspicion:
    """A US picture in which something seems to be drawn, with the decision about it.

    Attributes:
        noted: the manifest says that lines are drawn.
        decision: keep or set_aside; empty when nobody has decided.
    """

    image: Image
    name: str
    drawings: tuple[Drawing, ...]
    noted: bool
    decision: str


def review(cohort: Cohort, decisions: Decisions, reach: int, processes: int) -> list[Suspicion]:
    """Looks at every US picture; those that cannot be read are left to `preprocess`, which names them all.

    Args:
        cohort: as read.
        decisions: what a person decided so far.
        reach: pixels around the nodule that the network sees. Text further away does no harm: nearly every
            export has some beside the ultrasound field.
        processes: how many look at once.
    """
    inspected = [
        entry
        for entries in map_in_order(partial(_inspect, reach), cohort.nodules, processes, "screening")
        for entry in entries
    ]
    words = {True: "keep", False: "set_aside", None: ""}
    suspicions = []
    for image, drawings in inspected:
        name = name_of(cohort, image)
        decision = words[decisions.kept(name, image.slice)]
        if drawings or image.measurement_lines or decision:
            suspicions.append(Suspicion(image, name, drawings, image.measurement_lines, decision))
    return suspicions


def apply(cohort: Cohort, suspicions: Sequence[Suspicion], undecided: str) -> Cohort:
    """Returns the cohort with `measurement_lines` as decided; else as the manifest or `undecided` says.

    Args:
        cohort: as read.
        suspicions: of `review`.
        undecided: keep or set_aside; for pictures that the manifest does not note.
    """
    drawn = {
        (suspicion.name, suspicion.image.slice, suspicion.image.nodule_id): (
            suspicion.decision or ("set_aside" if suspicion.noted else undecided)
        )
        == "set_aside"
        for suspicion in suspicions
    }
    return Cohort(
        cohort.root,
        tuple(
            replace(nodule, images=tuple(_decided(cohort, image, drawn) for image in nodule.images))
            for nodule in cohort.nodules
        ),
    )


def counts(suspicions: Sequence[Suspicion]) -> dict[str, Any]:
    """Counts the pictures by the kinds of drawings in them, and those that wait for a decision."""
    kinds = Counter(
        kind for suspicion in suspicions for kind in sorted({drawing.kind for drawing in suspicion.drawings})
    )
    return {
        "found": dict(sorted(kinds.items())),
        "pictures_found": sum(bool(suspicion.drawings) for suspicion in suspicions),
        "noted_in_manifest": sum(suspicion.noted for suspicion in suspicions),
        "noted_but_not_found": sum(suspicion.noted and not suspicion.drawings for suspicion in suspicions),
        "decided": sum(bool(suspicion.decision) for suspicion in suspicions),
        "undecided": len(undecided(suspicions)),
    }


def undecided(suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    """Returns the suspicions that wait for a decision."""
    return [
        suspicion
        for suspicion in suspicions
        if suspicion.drawings and not suspicion.noted and not suspicion.decision
    ]


def write(folder: Path, suspicions: Sequence[Suspicion]) -> None:
    """Writes suspicious.csv, and suspicious.png with those that wait for a decision first."""
    rows = [
        {
            "nodule_id": suspicion.image.nodule_id,
            "image": suspicion.name,
            "slice": suspicion.image.slice,
            "found": ", ".join(sorted({drawing.kind for drawing in suspicion.drawings})),
            "where": "; ".join("{} {} {} {}".format(*drawing.box) for drawing in suspicion.drawings),
            "noted": int(suspicion.noted),
            "decision": suspicion.decision,
        }
        for suspicion in suspicions
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"slice": "Int64"})
    write_csv(table, folder / "suspicious.csv")
    sheet = folder / "suspicious.png"
    sheet.unlink(missing_ok=True)
    waiting = undecided(suspicions)
    first = (
        waiting + [suspicion for suspicion in suspicions if suspicion.drawings and suspicion not in waiting]
    )[:SHOWN]
    if first:
        with replacing(sheet) as temporary:
            temporary.write_bytes(
                cv2.imencode(".png", stack([_tile(suspicion) for suspicion in first], ACROSS))[1].tobytes()
            )


def _inspect(reach: int, nodule: Nodule) -> list[tuple[Image, tuple[Drawing, ...]]]:
    inspected: list[tuple[Image, tuple[Drawing, ...]]] = []
    for image in nodule.of("us"):
        try:
            drawings = find(read_as_shown(image))
            if any(drawing.kind in ("text", "mark") for drawing in drawings):
                mask = read_mask(image)
                regions = {"text": _square(mask, reach), "mark": _square(mask, min(reach, BESIDE))}
                drawings = tuple(d for d in drawings if _overlap(d.box, regions.get(d.kind, d.box)))
            inspected.append((image, drawings))
        except (InputError, OSError):
            inspected.append((image, ()))
    return inspected


def _square(mask: NDArray[np.uint8], reach: int) -> Box:
    """Returns the square around a nodule and `reach` pixels more on each side (paper section 2)."""
    x, y, w, h = cv2.boundingRect(mask)
    side = max(w, h) + 2 * reach
    return x + (w - side) // 2, y + (h - side) // 2, side, side


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _decided(cohort: Cohort, image: Image, drawn: dict[tuple[str, int | None, str], bool]) -> Image:
    key = (name_of(cohort, image), image.slice, image.nodule_id)
    return replace(image, measurement_lines=drawn.get(key, image.measurement_lines))


def _tile(suspicion: Suspicion) -> NDArray[np.uint8]:
    picture = read_as_shown(suspicion.image)
    shown = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2))
    for drawing in suspicion.drawings:
        x, y, w, h = drawing.box
        cv2.rectangle(shown, (x - 3, y - 3), (x + w + 3, y + h + 3), MARK, 1)
    return caption(shown, suspicion.name)
