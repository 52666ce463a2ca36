"""Contact sheets of augmented pictures: what training sees, for a look before hours are spent on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dgfnet.files import replacing
from dgfnet.preprocess.archive import Archive, centre
from dgfnet.preprocess.contact import chosen_rows, draw_tile
from dgfnet.sections.networks import Augment
from dgfnet.vocabulary import Modality

PICTURES, DRAWS = 4, 5


def write_augmented_sheet(
    path: Path, archive: Archive, modality: Modality, settings: Augment, seed: int
) -> None:
    """Writes one PNG: a line per picture, as it is and as five draws of the augmentation change it.

    Nodules are outlined in red, boundary targets drawn in green, as in the sheets of the stage preprocess.
    """
    from dgfnet.dataset.augment import Augmenter  # albumentations: seconds, and only this sheet needs it here

    augmenter = Augmenter(settings, archive.size[modality])
    augmenter.reseed(seed)
    lines = []
    for row in chosen_rows(len(archive.planes(modality)), PICTURES):
        stored = archive.planes(modality)[row]
        drawn = [draw_tile(augmenter(stored), 0, f"draw {number + 1}") for number in range(DRAWS)]
        plain = np.ascontiguousarray(centre(stored, archive.size[modality]))
        lines.append(np.hstack([draw_tile(plain, 0, f"{row} as it is"), *drawn]))
    _, encoded = cv2.imencode(".png", np.vstack(lines))
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
