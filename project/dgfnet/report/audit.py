"""Drawings, leaks and shortcuts, as the stages cohort and audit wrote them."""

from __future__ import annotations

from dgfnet.report.cells import finite, text, with_interval
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table

LEARNERS = {"linear": "logistic regression", "trees": "gradient-boosted trees"}


def shortcuts(audit: Json) -> Table:
    """Tabulates the AUC of predicting the label from size only and from acquisition only, per site."""
    rows = []
    for baseline in audit.get("baselines") or []:
        area = baseline.get("auc") or {}
        leaks = baseline.get("kind") == "acquisition" and (area.get("low") or 0) > 0.5
        note = "tells the label: a network can learn that instead of the disease" if leaks else ""
        cells = (
            LEARNERS.get(baseline.get("model"), text(baseline.get("model"))),
            with_interval(area),
            text(baseline.get("nodules")),
        )
        rows.append(Row(f"{baseline.get('site')}: {baseline.get('kind')} alone", cells, note))
    return Table(
        title="What can be told without looking",
        source="artifacts/audit/audit.json",
        corner="from",
        head=("model", "out-of-fold AUC", "nodules"),
        rows=tuple(rows),
        note="Size: area and extent of the nodule. Acquisition: size, number and spacing of the pictures, "
        "and their brightness far from the nodule.",
        folded=not any(row.note for row in rows),
    )


def statements(enrolment: Json | None, audit: Json) -> tuple[str, ...]:
    """Puts drawings in the pictures, and pictures shared by two patients, into sentences."""
    drawings = (enrolment or {}).get("drawings") or {}
    lines = []
    if drawings:
        drawn, noted, decided, waiting = (
            drawings.get(name) for name in ("pictures_found", "noted_in_manifest", "decided", "undecided")
        )
        lines.append(
            f"In {drawn} ultrasound pictures something is drawn (calipers, lines, colour, or words near "
            f"the nodule); the manifest notes {noted}, a person decided on {decided}, {waiting} wait for one."
        )
    images = sum((audit.get("images") or {}).values())
    same = audit.get("same_picture") or {}
    lines.append(
        f"{images} pictures were compared with each other; {same.get('pairs')} pairs show one picture in two "
        "patients"
        + (
            f" and {same['decided_different']} were declared different."
            if same.get("decided_different")
            else "."
        )
    )
    columns = audit.get("columns") or {}
    for column in columns.get("alone") or []:
        if (finite((column.get("auc") or {}).get("estimate")) or 0) > columns["limit"]:
            lines.append(
                f"The column {column.get('column')} alone tells the {column.get('site')} label, with an AUC "
                f"of {with_interval(column['auc'])}: it may have been derived from it."
            )
    return tuple(lines)
