"""Crops of nodules, the input of every model of a bundle: one image per modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.settings import Preprocess
from dgfnet.vocabulary import Modality

BATCH = 64  # nodules that go through a network at once

Crops = Mapping[Modality, NDArray[np.uint8]]  # (N, S, S) grey values


def checked_crops(
    crops: Mapping[Modality, NDArray[Any]], needed: tuple[Modality, ...], settings: Preprocess
) -> dict[Modality, NDArray[np.uint8]]:
    """Returns the crops a model needs, (N, S, S) uint8 each.

    Raises:
        InputError: naming the modality whose crops are missing, or of another number, shape or type.
    """
    checked = {}
    for name in needed:
        if name not in crops:
            raise InputError(f"crops of {name} are missing; this model needs {', '.join(needed)}")
        side, given = settings.size(name), crops[name]
        if given.ndim != 3 or given.shape[1:] != (side, side) or given.dtype != np.uint8 or not len(given):
            raise InputError(f"{name}: expected (N, {side}, {side}) uint8, found {given.shape} {given.dtype}")
        checked[name] = np.ascontiguousarray(given)
    counts = sorted({len(images) for images in checked.values()})
    if len(counts) != 1:
        raise InputError(f"every modality needs one crop per nodule, found {counts}")
    return checked


def in_parts(images: Crops) -> list[dict[Modality, NDArray[np.uint8]]]:
    """Returns crops in batches of BATCH nodules."""
    count = len(next(iter(images.values())))
    return [{name: crops[at : at + BATCH] for name, crops in images.items()} for at in range(0, count, BATCH)]
