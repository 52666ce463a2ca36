"""Archives of a few 32-pixel images, written by the package's own writer."""

from __future__ import annotations

import numpy as np

from dgfnet.preprocess.build import write
from dgfnet.preprocess.crops import pad_of
from dgfnet.preprocess.sample import Sample

VIEWS = {"us": "transverse", "ct": "axial"}


def side_of(settings, modality):
    """Stored side of a crop, with its margins, pixels."""
    size = settings.size(modality)
    return size + 2 * pad_of(size, settings.margin)


def write_archive(folder, settings, nodules, planes):
    """An archive of `nodules`, (nodule_id, patient_id, {modality: areas of its images in pixels}).

    `planes(modality, row, side)` draws (3, side, side). Rows take turns between the nodules, so that a row's
    number is not that of its nodule.
    """
    samples = []
    for modality in ("us", "ct"):
        row = 0
        longest = max(len(images[modality]) for _, _, images in nodules)
        for number in range(longest):
            for nodule, patient, images in nodules:
                if number < len(images[modality]):
                    drawn = planes(modality, row, side_of(settings, modality))
                    area = images[modality][number]
                    samples.append(Sample(nodule, patient, modality, VIEWS[modality], drawn, area, 0.5, 60))
                    row += 1
    counts = {name: sum(sample.modality == name for sample in samples) for name in ("us", "ct")}
    return write(folder, counts, samples, settings)


def numbered(modality, row, side):
    """Constant pictures whose grey is the row, so that a batch tells where it comes from."""
    return np.full((3, side, side), row, dtype=np.uint8) * np.array([1, 0, 0], dtype=np.uint8)[:, None, None]


def blob(modality, row, side):
    """A white ellipse on black, off the centre; image, nodule and boundary are the same picture."""
    rng = np.random.default_rng([row, len(modality), side])
    y, x = np.mgrid[:side, :side] / side
    cx, cy = rng.uniform(0.4, 0.6, 2)
    mask = ((x - cx) / rng.uniform(0.2, 0.3)) ** 2 + ((y - cy) / rng.uniform(0.12, 0.2)) ** 2 < 1
    return np.stack([mask * 255, mask, mask]).astype(np.uint8)
