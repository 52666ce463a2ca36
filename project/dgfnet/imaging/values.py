"""The meaning of a mask's values and colours: one rule for every kind of file (`coding_of`).

| values | meaning |
| --- | --- |
| 0 and one other | the other is the nodule |
| whole numbers, at most 16 | labels; 255 is void where it is the thin border of labels up to 32 |
| whole numbers in a volume, more of them, in areas of one value | labels |
| fractions from 0 to 1 | probabilities: nodule from 0.5 on |
| grey from 0 to 255, little in between | blurred by JPEG or scaling: nodule above 127 |
| colours | each colour is a label, black is the ground |
| anything else | no mask |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.imaging.labels import Region

LABELS = 16  # values of a mask that numbers its regions
BLURRED = 0.25  # share of values between ground and nodule that JPEG, scaling and networks leave, at most
DARK, BRIGHT = 33, 223  # of 255: below is ground, above is nodule
EDGE = 8  # times as many pixels may be edge as pure nodule: a small nodule, much enlarged
ROUNDED = 1e-3  # of their range, by which probabilities leave it: interpolation and narrow floats do that
MANY = 1024  # labels of a volume, at most
PIECED = 0.5  # share of neighbours of one value, from which on values are labels, not grey
LEVEL = 8  # greys by which values of an area differ after JPEG, at most; edges differ by more
BORDER = 9  # pixels; void is thinner
WHOLE = 0.01  # labels as floats that were scaled into bytes (nibabel) miss whole numbers by less
VOID = 255  # the border that PASCAL VOC leaves undecided


@dataclass(frozen=True)
class Coding:
    """The meaning of the values of a mask file.

    Attributes:
        kind: labels; fractions of 1; grey of 255.
        numbers: of the labels; of the others 1.
    """

    kind: Literal["labels", "fractions", "grey"]
    numbers: tuple[int, ...] = (1,)


def coding_of(values: NDArray[Any], where: str, is_lossy: bool = False) -> Coding:
    """Returns the meaning of the values of a whole mask file, of any shape, by the rule above.

    Args:
        values: a picture (rows, columns), or a volume.
        where: what a message begins with.
        is_lossy: the file was coded as JPEG, which does not keep values, so that they can be no labels.

    Raises:
        InputError: when they are those of a picture, or none of them is the ground, 0.
    """
    if values.dtype == bool:
        return Coding("labels")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and bool((np.abs(values - np.rint(values)) > WHOLE).any()):
        scale = 1.0 if high <= 1 + ROUNDED else 255.0
        if (
            low < -ROUNDED * scale
            or not scale / 2 <= high <= scale * (1 + ROUNDED)
            or not _is_blurred(values, scale)
        ):
            raise InputError(_no_mask(where))
        return Coding("fractions" if scale == 1 else "grey")
    if low < (-ROUNDED if values.dtype.kind == "f" else 0) or high > np.iinfo(np.uint16).max:
        raise InputError(_no_mask(where))
    if is_lossy:
        return _of_lossy(values, where)
    present = _present(values)
    if len(present) > LABELS and 0 not in present:
        raise InputError(_no_mask(where))
    if len(present) > 1 and 0 not in present:
        raise InputError(
            f"{where}: values {present[0]} to {present[-1]} and none of them 0; expected 0 outside the nodule"
        )
    numbers = [value for value in present if value]
    if len(numbers) <= 1:
        return Coding("labels", tuple(numbers) or (1,))
    if high > 127 and (labels := _beside_void(values, numbers)):
        return Coding("labels", labels)
    if len(numbers) <= LABELS and (high <= 127 or values.ndim == 3):
        return Coding("labels", tuple(numbers))
    if values.ndim == 3 and len(numbers) <= MANY and _is_pieced(values, high):
        return Coding("labels", tuple(numbers))
    if high <= VOID:
        flat = [value for value in numbers if len(numbers) <= LABELS and _is_flat(values == value)]
        if len(flat) > 1 or any(DARK <= value <= BRIGHT for value in flat):
            return Coding("labels", tuple(numbers))
        if _is_blurred(values, 255.0):
            return Coding("grey")
    raise InputError(_no_mask(where))


def _of_lossy(values: NDArray[Any], where: str) -> Coding:
    """Returns the coding of a JPEG: ground and nodule with blurred edges, or nothing that can be told."""
    if values.max() <= 127 or _has_level(values):
        raise InputError(
            f"{where}: a JPEG with other values than 0 and 255, which JPEG does not keep; expected a PNG"
        )
    if not _is_blurred(values, 255.0):
        raise InputError(_no_mask(where))
    return Coding("grey")


def _has_level(values: NDArray[Any]) -> bool:
    """Returns True when a grey between ground and nodule fills an area, which edges do not."""
    grey, area = values.astype(np.uint8), np.ones((5, 5), np.uint8)
    low, high = cv2.erode(grey, area, borderValue=0), cv2.dilate(grey, area)
    return bool(((low >= DARK) & (high <= BRIGHT) & (high - low <= LEVEL)).any())


def _is_pieced(values: NDArray[Any], high: float) -> bool:
    """Returns True when most neighbours have one value, as labels do; near 0 and 255 probabilities do too."""
    low, top = (DARK, BRIGHT) if high <= VOID and high >= DARK else (1, np.inf)
    same = pairs = 0
    for slab, following in pairwise(values):
        is_meant = (np.minimum(slab, following) >= low) & (np.maximum(slab, following) <= top)
        pairs += int(np.count_nonzero(is_meant))
        same += int(np.count_nonzero(is_meant & (slab == following)))
    return pairs > 0 and same >= PIECED * pairs


def _present(values: NDArray[Any]) -> list[int]:
    """Returns the whole numbers that stand in an array, a slab at a time: volumes are large."""
    is_there = np.zeros(np.iinfo(np.uint16).max + 1, dtype=bool)
    for slab in values[None] if values.ndim == 2 else values:
        if slab.dtype == np.uint8:
            is_there[:256] |= cv2.calcHist([slab], [0], None, [256], [0, 256]).ravel() > 0
        else:
            whole = np.rint(slab) if slab.dtype.kind == "f" else slab
            is_there[whole.astype(np.uint16).ravel()] = True
    return [int(value) for value in np.flatnonzero(is_there)]


def _beside_void(values: NDArray[Any], numbers: list[int]) -> tuple[int, ...]:
    """Returns the labels whose thin border is void; none where 255 is a region of its own, or in a volume."""
    labels = tuple(number for number in numbers if number != VOID)
    if VOID not in numbers or len(numbers) > LABELS or values.ndim != 2 or labels[-1] >= DARK:
        return ()
    drawn = (np.isin(values, labels)).astype(np.uint8)
    rim = (cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > drawn) & (drawn == 0)
    encloses = np.count_nonzero(rim & (values == VOID)) >= 0.9 * np.count_nonzero(rim)
    return labels if encloses and not _is_flat(values == VOID, BORDER) else ()


def regions_of(values: NDArray[Any], coding: Coding) -> list[Region]:
    """Returns the regions of a slice or picture, (rows, columns), by the coding of its file."""
    if coding.kind == "labels":
        whole = np.rint(values) if values.dtype.kind == "f" else values
        return [Region(number, "", whole == number) for number in coding.numbers]
    return [Region(1, "", values >= 0.5 if coding.kind == "fractions" else values > 127)]


def regions_of_colour(pixels: NDArray[np.uint8], where: str, is_lossy: bool = False) -> list[Region]:
    """Returns a region for each colour of a picture (rows, columns, 3), blue first; black is the ground.

    Args:
        pixels: of the picture.
        where: what a message begins with.
        is_lossy: the file was coded as JPEG, which keeps colours only roughly.

    Raises:
        InputError: when it has more colours than a mask has.
    """
    brightest = pixels.max(axis=2)
    if bool((pixels == pixels[:, :, :1]).all()):
        return regions_of(brightest, coding_of(brightest, where, is_lossy))
    keys = pixels[..., 2].astype(np.int64) << 16 | pixels[..., 1].astype(np.int64) << 8 | pixels[..., 0]
    colours, counts = np.unique(keys, return_counts=True)
    drawn = [int(colour) for colour in colours if colour]
    exact = [colour for colour in drawn if not is_lossy and len(drawn) <= LABELS and _is_flat(keys == colour)]
    if exact and counts[0] and colours[0] == 0 and (len(exact) == len(drawn) or len(exact) > 1):
        return [Region(n, f"#{colour:06x}", keys == colour) for n, colour in enumerate(exact, start=1)]
    if is_lossy:
        _of_lossy(brightest, where)
    elif not _is_blurred(brightest, 255.0):
        raise InputError(_no_mask(where))
    strong = brightest > 127  # blurred edges have a share of their colour: its channels keep their order
    bits = (pixels.astype(np.int64) * 2 > brightest[..., None]) @ np.array([1, 2, 4])
    kinds = [int(kind) for kind in range(1, 8) if _is_flat(strong & (bits == kind))]
    names = {kind: "#" + "".join("ff" if kind & bit else "00" for bit in (4, 2, 1)) for kind in kinds}
    return [Region(n, names[kind], strong & (bits == kind)) for n, kind in enumerate(kinds, start=1)]


def _is_blurred(values: NDArray[Any], scale: float) -> bool:
    """Returns True when few enough values are neither ground nor nodule for a blurred mask.

    Of grey there must be pure nodule too: a dark picture has little of either.
    """
    between = np.count_nonzero((values >= DARK / 255 * scale) & (values <= BRIGHT / 255 * scale))
    pure = np.count_nonzero(values > BRIGHT / 255 * scale)
    return bool(between <= BLURRED * values.size and (scale == 1 or between <= EDGE * pure))


def _is_flat(region: NDArray[np.bool_], side: int = 3) -> bool:
    """Returns True when a region has an area, not only the width of an edge: a square of 3 x 3 pixels."""
    return bool(cv2.erode(region.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=0).any())


def _no_mask(where: str) -> str:
    return f"{where}: grey values all over; that is a picture, expected a mask of 0 and 1 or 255"
