"""Contact sheets: what the network will see, for a look before hours of training are spent on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.files import replacing
from dgfnet.preprocess.archive import Archive
from dgfnet.vocabulary import Modality

TILES, COLUMNS = 24, 6
TILE = 240  # pixels at least; crops are enlarged by whole factors so that single pixels stay visible
NODULE, BOUNDARY, INPUT = (60, 60, 255), (90, 220, 90), (255, 180, 60)  # blue, green, red


def write_sheet(path: Path, archive: Archive, modality: Modality) -> None:
    """Writes one PNG: nodule outlined in red, boundary target in green, network input framed in blue."""
    rows = chosen_rows(len(archive.planes(modality)), TILES)
    nodules = archive.rows(modality)["nodule_id"].tolist()
    pad = archive.pad[modality]
    tiles = [draw_tile(archive.planes(modality)[row], pad, f"{row} {nodules[row]}") for row in rows]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % COLUMNS)
    lines = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    _, encoded = cv2.imencode(".png", np.vstack(lines))
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def chosen_rows(count: int, most: int) -> list[int]:
    """Returns at most `most` of `count` rows, evenly spread from the first to the last."""
    return [int(row) for row in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def draw_tile(planes: NDArray[np.uint8], pad: int, caption: str) -> NDArray[np.uint8]:
    """Draws a stored crop (3, S, S) as BGR, (k*S, k*S, 3) with the smallest whole k that reaches TILE."""
    side = planes.shape[1]
    factor = -(-TILE // side)
    grey, nodule, boundary = (
        np.asarray(
            cv2.resize(plane, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
        for plane in planes
    )
    tile = np.repeat(grey[:, :, None], 3, axis=2)
    on = boundary > 0
    tile[on] = (0.5 * tile[on] + 0.5 * np.array(BOUNDARY)).astype(np.uint8)
    contours, _ = cv2.findContours(nodule, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, NODULE, 1)
    near, far = pad * factor, (side - pad) * factor - 1
    cv2.rectangle(tile, (near, near), (far, far), INPUT, 1)
    cv2.putText(tile, caption, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
