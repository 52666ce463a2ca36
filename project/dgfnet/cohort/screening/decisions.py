"""Decisions of a person about pictures: `decisions.csv` beside the manifest.

`image, slice, other, decision`: `keep` or `set_aside` a picture in which something seems to be drawn (`slice`
names a frame or page, empty means all), or `image` and `other` are `different` although the audit takes them
for one. Further columns (who, when, why) are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dgfnet.cohort.records import Cohort, Image
from dgfnet.cohort.table import raise_faults, read_table

DECISIONS = "decisions.csv"


class DecisionRow(BaseModel):
    """One row of decisions.csv."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    image: str = Field(min_length=1)
    slice: int | None = Field(default=None, ge=0)
    other: str | None = None
    decision: Literal["keep", "set_aside", "different"]


@dataclass(frozen=True)
class Decisions:
    """Decisions of a cohort.

    Attributes:
        about: keep (True) or set aside (False), per path in the cohort folder and slice; slice None means
            every slice of the file.
        different: pairs of paths that show two patients.
    """

    about: dict[tuple[str, int | None], bool]
    different: frozenset[frozenset[str]]

    def kept(self, path: str, index: int | None) -> bool | None:
        """Returns True for a picture to keep, False for one to set aside, None when nobody has decided."""
        return self.about.get((path, index), self.about.get((path, None)))


def read_decisions(cohort: Cohort) -> Decisions:
    """Reads decisions.csv of a cohort folder; without the file nothing is decided.

    Raises:
        InputError: for a fault of the table, a path that images.csv does not name, or two decisions on one
            picture.
    """
    path = cohort.root / DECISIONS
    if not path.is_file():
        return Decisions({}, frozenset())
    names = {name_of(cohort, image) for nodule in cohort.nodules for image in nodule.images}
    about: dict[tuple[str, int | None], bool] = {}
    different: set[frozenset[str]] = set()
    faults = []
    for number, row in read_table(path, DecisionRow):
        where = f"{DECISIONS} row {number}, column"
        for column in ("image", "other"):
            named = getattr(row, column)
            if named is not None and named not in names:
                faults.append(
                    f"{where} {column}: {named!r} is not in images.csv; expected a path as it stands there"
                )
        if (row.decision == "different") != (row.other is not None):
            faults.append(
                f"{where} other: expected a second picture when the decision is different, and only then"
            )
        elif row.other is not None:
            different.add(frozenset((row.image, row.other)))
        elif about.setdefault((row.image, row.slice), row.decision == "keep") != (row.decision == "keep"):
            faults.append(
                f"{where} decision: {row.image!r} is both kept and set aside; expected one decision"
            )
    raise_faults(faults)
    return Decisions(about, frozenset(different))


def name_of(cohort: Cohort, image: Image) -> str:
    """Returns the path of an image as images.csv writes it."""
    return image.image.relative_to(cohort.root).as_posix()
