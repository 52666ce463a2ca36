"""One person under two spellings of an id would stand on both sides of a split; such ids are found here."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from dgfnet.errors import InputError

SHOWN = 10  # groups listed before "and N more"


def normalised(identifier: str) -> str:
    """Returns an id without what people and programs write differently.

    Compatible characters become one (Unicode NFKC), invisible ones go (category Cf: zero-width spaces, soft
    hyphens, marks of direction), case is folded, white space and `-_./` become one hyphen, and numbers lose
    their leading zeros. Letters that only look alike stay different.
    """
    text = unicodedata.normalize("NFKC", identifier)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    text = unicodedata.normalize("NFKC", text.casefold())
    text = re.sub(r"[\s\-_./\u2010-\u2015]+", "-", text).strip("-")
    return re.sub(r"\d+", lambda number: str(int(number.group())), text)


def check_spellings(patients: Iterable[str]) -> None:
    """Refuses ids of patients that look like one person.

    Raises:
        InputError: listing them.
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    for patient in patients:
        spellings[normalised(patient)].add(patient)
    alike = [sorted(group) for group in spellings.values() if len(group) > 1]
    if alike:
        lines = [" and ".join(ascii(patient) for patient in group[:5]) for group in alike[:SHOWN]]
        more = [f"... and {len(alike) - SHOWN} more"] if len(alike) > SHOWN else []
        raise InputError(
            "\n".join(
                [
                    f"nodules.csv, column patient_id: {len(alike)} patient(s) seem to be written in several "
                    "ways, and would be split over the folds:",
                    *lines,
                    *more,
                    "write each person's id in one way; if they are different people, set cohort.spellings "
                    "to apart",
                ]
            )
        )
