"""What was looked for in the cohort before anything was trained: drawings, leaks, shortcuts."""

from __future__ import annotations

from dgfnet.report.cells import text, with_interval
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table

LEARNERS = {"linear": "logistic regression", "trees": "gradient-boosted trees"}


def shortcuts(audit: Json) -> Table:
    """AUC of the label told from size alone and from acquisition alone, per site."""
    rows = []
    for one in audit.get("baselines") or []:
        area = one.get("auc") or {}
        told = one.get("kind") == "acquisition" and (area.get("low") or 0) > 0.5
        note = "tells the label: a network can learn that instead of the disease" if told else ""
        cells = (
            LEARNERS.get(one.get("model"), text(one.get("model"))),
            with_interval(area),
            text(one.get("nodules")),
        )
        rows.append(Row(f"{one.get('site')}: {one.get('kind')} alone", cells, note))
    return Table(
        title="What can be told without looking",
        source="artifacts/audit/audit.json",
        corner="from",
        head=("model", "out-of-fold AUC", "nodules"),
        rows=tuple(rows),
        note="Size: area and extent of the nodule. Acquisition: size, number and spacing of the pictures, "
        "and their brightness far from the nodule.",
    )


def sentences(enrolment: Json | None, audit: Json) -> tuple[str, ...]:
    """What the screening saw in the pictures, and whether any is of two patients."""
    drawings = (enrolment or {}).get("drawings") or {}
    found = []
    if drawings:
        seen, noted, decided, waiting = (
            drawings.get(name) for name in ("pictures_found", "noted_in_manifest", "decided", "undecided")
        )
        found.append(
            f"In {seen} ultrasound pictures something is drawn (calipers, lines, colour, or words near "
            f"the nodule); the manifest notes {noted}, a person decided on {decided}, {waiting} wait for one."
        )
    images = sum((audit.get("images") or {}).values())
    same = audit.get("same_picture") or {}
    found.append(
        f"{images} pictures were compared with each other; {same.get('pairs')} pairs show one picture in two "
        "patients"
        + (
            f" and {same['decided_different']} were declared different."
            if same.get("decided_different")
            else "."
        )
    )
    return tuple(found)
