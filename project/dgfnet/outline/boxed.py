"""Pictures as they are read when nodules come with boxes: measured on nodules that were outlined by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.records import Image
from dgfnet.imaging.boxes import bounding_box
from dgfnet.outline.outliner import Outliner


@dataclass(frozen=True, eq=False)
class Boxed:
    """Makes the mask of a nodule from the box around the one that was drawn (`preprocess.sample.Redraw`).

    Attributes:
        outliners: by nodule.
        jitter: edges of the box are moved by at most this share of its side, for each picture always alike.
    """

    outliners: Mapping[str, Outliner]
    jitter: float = 0.0

    def __call__(self, image: Image, grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the outline in the box, (height, width) of 0 and 1; an empty mask stays."""
        if not mask.any():
            return mask
        box = bounding_box(mask)
        if self.jitter:
            name = f"{image.nodule_id}\0{image.image.name}\0{image.slice}"
            seed = int.from_bytes(sha256(name.encode()).digest()[:8], "little")
            box = box.moved(self.jitter, np.random.default_rng(seed)).clipped(grey.shape)
        return self.outliners[image.nodule_id](image.modality, grey, box.filled(grey.shape, image.image.name))


def changes(before: NDArray[np.float64], after: NDArray[np.float64], threshold: Any) -> dict[str, Any]:
    """Returns `changed_calls`, and `largest_change` of a probability, (N,) each, at thresholds (one or N)."""
    return {
        "changed_calls": int(np.count_nonzero((after >= threshold) != (before >= threshold))),
        "largest_change": float(np.abs(after - before).max()),
    }
