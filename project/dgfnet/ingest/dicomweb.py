"""`dgfnet ingest dicomweb`: studies of a PACS, named in the table of labels, become a cohort folder.

- The table says which study is whose: `patient_id` is the pseudonym that the cohort gets, `study_uid` or
  `accession` the study in the PACS, several with blanks between. Neither of these two is written anywhere.
- Everything that names somebody is taken out in memory (`pacs.deidentify`), UIDs and dates with it, before
  a file is written; UIDs are replaced alike in pictures and in what draws on them, by a key that is thrown
  away.
- What is written then is an export as `ingest dicom` reads it, in a temporary folder; that makes the cohort.
- A picture with the patient's name in it, as its header says (BurnedInAnnotation), is not written.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dgfnet.errors import InputError
from dgfnet.imaging.identity import identity
from dgfnet.ingest.dicom_headers import view_of
from dgfnet.ingest.dicom_tree import UNSAFE, import_dicom
from dgfnet.ingest.folder import Account, NotUsed, check_free, progress, write_table
from dgfnet.ingest.labels import Labels, read_labels
from dgfnet.pacs.client import Pacs, SeriesEntry, check_uids
from dgfnet.pacs.deidentify import anonymous
from dgfnet.pacs.subject import subject

NAMED = ("study_uid", "accession")  # columns of the table that say which study
WANTED = {"US": "us", "CT": "ct", "SEG": "", "RTSTRUCT": ""}  # modalities that are fetched


def import_dicomweb(
    pacs: Pacs, out: Path, labels: Path, wanted: Sequence[str] = (), resample: bool = False
) -> Account:
    """Writes a cohort folder of studies in a PACS.

    Args:
        pacs: that holds the studies and what draws nodules in them.
        out: folder to make; it must not exist or be empty. It appears whole or not at all.
        labels: table of labels (`labels.py`) with `study_uid` or `accession`.
        wanted: segments that are nodules, as of `import_dicom`.
        resample: as there.

    Returns:
        What was used and what was not, as of `import_dicom`.

    Raises:
        InputError: for a faulty table, a study that is not there, studies of two patients under one
            pseudonym, or one patient under two; and as `import_dicom`.
    """
    check_free(out)
    table = read_labels(labels)
    studies = _studies(pacs, table, labels)
    whose = _Persons()
    lost: list[NotUsed] = []
    key = secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="dgfnet-") as temporary:
        export = Path(temporary) / "export"
        for place, (study, patient) in enumerate(progress(list(studies.items()), "Studies"), start=1):
            for number, series in enumerate(pacs.series(study), start=1):
                # counted, for numbers of series repeat, and a pseudonym may be no name of a folder
                where = f"{place}-{UNSAFE.sub('_', patient)[:40]}/{number}-{UNSAFE.sub('_', series.modality)}"
                if series.modality in WANTED:
                    lost += _fetch(pacs, study, series, patient, export / where, where, key, whose)
                else:
                    kind = f"series of modality {series.modality or '?'} without use here"
                    lost.append(NotUsed("dicomweb", "series", where, kind))
        export.mkdir(exist_ok=True)
        _write_labels(Path(temporary) / labels.name, table)
        return import_dicom(export, out, Path(temporary) / labels.name, wanted, resample, lost)


def _fetch(
    pacs: Pacs,
    study: str,
    series: SeriesEntry,
    patient: str,
    folder: Path,
    where: str,
    key: str,
    whose: _Persons,
) -> list[NotUsed]:
    """Writes the instances of a series that name nobody; returns those that do."""
    lost = []
    for number, own in enumerate(pacs.instances(study, series.uid), start=1):
        data = pacs.fetch(study, series.uid, own.uid)
        whose.check(data, patient)
        result = anonymous(data, patient, _replacing(key))
        if view := view_of(data, WANTED[series.modality]) if WANTED[series.modality] else "":
            result.SeriesDescription = view
        if named := identity(result):
            reason = f"names a person or a place ({', '.join(named)})"
            lost.append(NotUsed("dicomweb", "file", f"{where}/{number}.dcm", reason))
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{number}.dcm").open("xb") as file:
            result.save_as(file, enforce_file_format=True)
    return lost


def _replacing(key: str) -> Callable[[str], str]:
    """Returns what makes another UID of one: always the same, from which the first cannot be told."""
    return lambda uid: generate_uid(prefix="2.25.", entropy_srcs=[key, uid])


class _Persons:
    """Says that a pseudonym stands for one patient of the PACS, and a patient has one."""

    def __init__(self) -> None:
        self._patients: dict[str, tuple[str, ...]] = {}
        self._pseudonyms: dict[tuple[str, ...], str] = {}

    def check(self, data: Dataset, pseudonym: str) -> None:
        whose = subject(data)
        if self._patients.setdefault(pseudonym, whose) != whose:
            raise InputError(
                f"patient_id {pseudonym!r}: its studies are of two patients in the PACS (PatientID), or do "
                "not say of whom; expected those of one"
            )
        if self._pseudonyms.setdefault(whose, pseudonym) != pseudonym:
            other = self._pseudonyms[whose]
            raise InputError(
                f"patient_id {other!r} and {pseudonym!r} are one patient in the PACS (PatientID); give them "
                "one, or folds and the external test leak"
            )


def _studies(pacs: Pacs, table: Labels, labels: Path) -> dict[str, str]:
    """Returns the pseudonym of each study that the table names."""
    studies: dict[str, str] = {}
    for (patient, _), row in table.rows.items():
        at, cells = f"{labels.name}, patient_id {patient!r}", row.model_extra or {}
        named = {name: str(cells.get(name) or "").replace(";", " ").split() for name in NAMED}
        if not any(named.values()):
            raise InputError(f"{at}: no study; expected its UID in study_uid, or its number in accession")
        uids = list(named["study_uid"])
        try:
            check_uids(*uids)
        except InputError as error:
            raise InputError(f"{at}, column study_uid: {error}") from None
        for number in named["accession"]:
            found = pacs.studies(accession=number)
            if not found:
                raise InputError(f"{at}, column accession: the PACS has no study of this number")
            uids += [study.uid for study in found]
        for uid in uids:
            if studies.setdefault(uid, patient) != patient:
                raise InputError(f"{at}: a study that {studies[uid]!r} has, too; expected each once")
    return studies


def _write_labels(path: Path, table: Labels) -> None:
    """Writes the table without the columns that lead back to the PACS."""
    rows = [row.model_dump(exclude=set(NAMED)) for row in table.rows.values()]
    cells = [{name: "" if cell is None else cell for name, cell in row.items()} for row in rows]
    write_table(path, cells, list(dict.fromkeys(name for row in rows for name in row)))
