"""Contact sheets of whole pictures, captioned, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 240  # pixels of a picture's longer side
BELOW, BESIDE = 24, 8  # white around it


def caption(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Reduces a picture (height, width[, 3]) to TILE, with a line of text below it."""
    scale = TILE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE + BELOW, TILE + BESIDE, *picture.shape[2:]), 255, dtype=np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    black = (0, 0, 0) if picture.ndim == 3 else 0
    cv2.putText(tile, text[-30:], (4, TILE + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, black, 1, cv2.LINE_AA)
    return tile


def stack(tiles: Sequence[NDArray[np.uint8]], across: int) -> NDArray[np.uint8]:
    """Lays tiles of one size in rows of `across`, the last row filled with white."""
    blank = np.full_like(tiles[0], 255)
    full = [*tiles, *[blank] * (-len(tiles) % across)]
    return np.vstack([np.hstack(full[start : start + across]) for start in range(0, len(full), across)])
