"""Tells whose a data set of a PACS is."""

from __future__ import annotations

from pydicom.dataset import Dataset


def subject(data: Dataset) -> tuple[str, ...]:
    """Returns what is the same for data sets of one patient and of no two.

    That is PatientID with its issuer, for each hospital numbers by itself; where there is none, the study, as
    nothing else then says that two studies are of one patient.
    """
    number, issuer, study = (
        str(data.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")
    )
    return (number, issuer) if number else (study,)
