"""Regions of a mask file, and the choice of the one that is the nodule.

Every kind of mask file, whatever it calls its parts (labels, segments, structures, polygons), becomes a list
of regions; `values.py` makes them of numbers and colours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError

SHOWN = 12  # regions that a message names
FULL = 0.9  # share of the picture from which on a mask is none of a nodule
OUTLINE = 3  # times as many pixels inside and on a line as on it
ALL = "*"
# names that say a region is not a nodule: a mask of one such region would be learned as one
ORGAN = re.compile(
    r"gland|lymph|lobe|isthmus|trachea|carotid|jugular|o?esophagus|vessel|artery|vein|muscle|parenchyma"
    r"|background|\bthyroid$|\bnode\b",
    re.IGNORECASE,
)
NODULE = re.compile(r"nodul|lesion|tumou?r|mass\b|carcinoma|cancer|neoplas", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Region:
    """A region that a mask file draws on one picture.

    Attributes:
        number: of the label or segment, as the file counts.
        name: as the file calls it; empty when it does not.
        mask: (rows, columns), True inside.
        codes: coded meanings, such as SCT:27925004 and its text.
        fault: of a region whose file does not say which pixels are inside, such as a box, the reason; its
            mask is empty then.
    """

    number: int
    name: str
    mask: NDArray[np.bool_]
    codes: tuple[str, ...] = ()
    fault: str = ""

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
        InputError: for several regions and none asked for, one that its name says is no nodule, a region
            that the file does not have, and one that is no area.
    """
    if wanted is None:
        if len(regions) > 1:
            raise InputError(
                f"{where}: {len(regions)} regions ({_listed(regions)}); say which is the nodule "
                f"in segment: its number, name or code, or {ALL} for all as one"
            )
        if _is_organ(regions[0]):
            name = regions[0].name if ORGAN.search(regions[0].name) else regions[0].codes[-1]
            raise InputError(
                f"{where}: its one region is called {name!r}; expected a nodule. If it is one, "
                f"say so in segment"
            )
        chosen = list(regions)
    else:
        chosen = []
        for text in (part.strip() for part in wanted.split("+")):
            matching = called(regions, text)
            if not matching:
                raise InputError(f"{where}: no region {text!r}; found {_listed(regions)}")
            chosen += matching
    for region in chosen:
        if region.fault:
            raise InputError(f"{where}: region {region.described()} {region.fault}")
    return np.asarray(np.logical_or.reduce([region.mask for region in chosen]), dtype=np.uint8)


def called(regions: Sequence[Region], text: str) -> list[Region]:
    """Returns the regions of this number, else name, else code, else those whose name or code fits a pattern.

    The first of these that any region has decides: a gland that was coded as a nodule is none of `nodule`.
    """
    wanted = text.casefold()
    ways = (
        lambda region: str(region.number) == wanted,
        lambda region: region.name.casefold() == wanted,
        lambda region: any(code.casefold() == wanted for code in region.codes),
        lambda region: fnmatch(region.name.casefold(), wanted),
        lambda region: any(fnmatch(code.casefold(), wanted) for code in region.codes),
    )
    return next((found for way in ways if (found := [region for region in regions if way(region)])), [])


def may_all_be_nodules(regions: Sequence[Region]) -> bool:
    """Returns True for regions of one name, or names and codes of nodules, and none that is an organ's."""
    if any(_is_organ(region) for region in regions):
        return False
    if len({region.name for region in regions}) == 1:
        return True
    return all(any(NODULE.search(text) for text in (region.name, *region.codes)) for region in regions)


def _is_organ(region: Region) -> bool:
    """Returns True for a region whose name, or else its code, says that it is no nodule."""
    if ORGAN.search(region.name):
        return True
    texts = (region.name, *region.codes)
    return any(ORGAN.search(text) for text in texts) and not any(NODULE.search(text) for text in texts)


def _listed(regions: Sequence[Region]) -> str:
    more = f", and {len(regions) - SHOWN} more" if len(regions) > SHOWN else ""
    return ", ".join(region.described() for region in regions[:SHOWN]) + more


def check_plausible(mask: NDArray[np.uint8], where: str, picture: str) -> None:
    """Refuses what is no mask of a nodule: nothing, everything, or the ground in place of the nodule.

    Raises:
        InputError: in one sentence.
    """
    share = float(np.count_nonzero(mask)) / mask.size
    if not share:
        raise InputError(f"{where}: the mask is empty on {picture}; expected nonzero pixels on the nodule")
    if share == 1:
        raise InputError(f"{where}: the mask covers the whole image; expected the nodule alone")
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if border.mean() > 0.5:
        corners = " and in all its corners" if mask[[0, 0, -1, -1], [0, -1, 0, -1]].all() else ""
        raise InputError(
            f"{where}: the mask is drawn along the border of the picture{corners}, so it is inverted; "
            f"expected 0 on the ground and another value on the nodule"
        )
    lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.count_nonzero(cv2.drawContours(np.zeros_like(mask), lines, -1, 1, cv2.FILLED))
    if filled > OUTLINE * np.count_nonzero(mask):
        raise InputError(f"{where}: the mask is an outline, not an area; fill it")
    if share > FULL:
        raise InputError(
            f"{where}: the mask covers {share:.0%} of the picture; expected the nodule and ground around it"
        )
