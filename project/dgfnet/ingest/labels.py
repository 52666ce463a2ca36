"""The table of labels that a hospital has: lymph-node status by patient or nodule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dgfnet.cohort.records import Source
from dgfnet.cohort.table import Flag, Identifier, raise_faults, read_table
from dgfnet.ingest.folder import NotUsed


class LabelRow(BaseModel):
    """Labels of a nodule, or without nodule_id of all nodules of a patient; further columns are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)
    patient_id: str = Identifier
    nodule_id: str | None = None
    cohort: Source = "main"
    lnm_central: Flag | None = None
    lnm_lateral: Flag | None = None
    n_malignant_nodules: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Labels:
    """Rows per (patient, nodule), nodule None for all of the patient's."""

    rows: Mapping[tuple[str, str | None], LabelRow]

    def of(self, patient: str, nodule: str) -> LabelRow | None:
        """Returns the row of a nodule, or of its patient, or None."""
        return self.rows.get((patient, nodule)) or self.rows.get((patient, None))

    def nodules(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Returns the rows of nodules.csv for (patient, nodule) pairs, which all have labels."""
        rows = []
        for patient, nodule in pairs:
            row = self.rows.get((patient, nodule)) or self.rows[patient, None]
            cells = row.model_dump(exclude={"patient_id", "nodule_id"})
            rows.append({"patient_id": patient, "nodule_id": nodule, **cells})
        return rows

    def unused(self, pairs: Sequence[tuple[str, str]]) -> list[NotUsed]:
        """Returns the rows that no image belongs to."""
        asked = {pair if pair in self.rows else (pair[0], None) for pair in pairs}
        patients = {patient for patient, _ in pairs}
        return [
            NotUsed(
                "labels",
                "row",
                nodule or patient,
                "its nodules have rows of their own"
                if nodule is None and patient in patients
                else "no image of it is used",
            )
            for patient, nodule in self.rows
            if (patient, nodule) not in asked
        ]


def read_labels(path: Path) -> Labels:
    """Reads the table.

    Raises:
        InputError: with file, row and column, also for two rows of a nodule, or a patient in both cohorts.
    """
    rows: dict[tuple[str, str | None], LabelRow] = {}
    parts: dict[str, str] = {}
    faults = []
    for number, row in read_table(path, LabelRow):
        if rows.setdefault((row.patient_id, row.nodule_id), row) is not row:
            faults.append(f"{path.name} row {number}: a second row of {row.nodule_id or row.patient_id!r}")
        before = parts.setdefault(row.patient_id, row.cohort)
        if before != row.cohort:
            faults.append(
                f"{path.name} row {number}, column cohort: patient {row.patient_id!r} is {row.cohort} here "
                f"and {before} above; a patient belongs to one cohort, or the external test leaks"
            )
    raise_faults(faults)
    return Labels(rows)
