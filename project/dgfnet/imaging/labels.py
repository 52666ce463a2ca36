"""Regions of a mask file, and the choice of the one that is the nodule.

Every kind of mask file, whatever it calls its parts (labels, segments, structures, polygons), becomes a list of
regions here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError

SHOWN = 12  # regions that a message names
ALL = "*"
# names that say a region is not a nodule: a mask of one such region would be learned as one
ORGAN = re.compile(
    r"gland|lymph|lobe|isthmus|trachea|carotid|jugular|o?esophagus|vessel|artery|vein|muscle|parenchyma"
    r"|background|\bthyroid$|\bnode\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Region:
    """A region that a mask file draws on one picture.

    Attributes:
        number: of the label or segment, as the file counts.
        name: as the file calls it; empty when it does not.
        mask: (rows, columns), True inside.
        codes: coded meanings, such as SCT:27925004 and its text.
    """

    number: int
    name: str
    mask: NDArray[np.bool_]
    codes: tuple[str, ...] = ()

    def described(self) -> str:
        """Returns number and name as messages give them."""
        return f"{self.number} {self.name!r}" if self.name else str(self.number)


def nodule_of(regions: Sequence[Region], wanted: str | None, where: str) -> NDArray[np.uint8]:
    """Returns the union of the regions that are the nodule, (rows, columns), 0 or 1.

    Args:
        regions: all that the file knows, drawn on this picture or not; at least one.
        wanted: number, name (capitals do not matter), code or a pattern of these with * and ?; several with
            + between them; None where the file has one region only.
        where: what a message begins with.

    Raises:
        InputError: for several regions and none asked for, one that its name says is no nodule, and for a
            region that the file does not have.
    """
    if wanted is None:
        if len(regions) > 1:
            raise InputError(
                f"{where}: {len(regions)} regions ({_listed(regions)}); say which is the nodule in the column "
                f"segment of images.csv (a number, name or code; {ALL} for all as one)"
            )
        if ORGAN.search(regions[0].name):
            raise InputError(
                f"{where}: its one region is called {regions[0].name!r}; expected a nodule. If it is one, say "
                f"so in the column segment of images.csv"
            )
        chosen = list(regions)
    else:
        chosen = []
        for text in (part.strip() for part in wanted.split("+")):
            matching = [region for region in regions if is_called(region, text)]
            if not matching:
                raise InputError(f"{where}: no region {text!r}; found {_listed(regions)}")
            chosen += matching
    return np.logical_or.reduce([region.mask for region in chosen]).astype(np.uint8)


def is_called(region: Region, text: str) -> bool:
    """Returns True when the text is the region's number, name or code, or a pattern of one."""
    called = (str(region.number), region.name, *region.codes)
    return any(fnmatch(name.casefold(), text.casefold()) for name in called if name)


def _listed(regions: Sequence[Region]) -> str:
    more = f", and {len(regions) - SHOWN} more" if len(regions) > SHOWN else ""
    return ", ".join(region.described() for region in regions[:SHOWN]) + more
