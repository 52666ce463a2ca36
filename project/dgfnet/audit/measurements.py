"""Measurements of the audit: a record per image, and their summary per nodule."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.audit.fingerprint import Fingerprint, picture_fingerprint
from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image, Nodule
from dgfnet.errors import InputError
from dgfnet.vocabulary import MODALITIES

NUMBERS = ("area_px", "area_mm2", "extent_mm", "rows", "columns", "spacing_mm", "mean", "deviation")


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measurements of an image.

    Attributes:
        fingerprint: its fingerprint.
        extent_mm: longer side of the smallest rectangle around the nodule; nan without spacing.
        mean: brightness (grey or HU) far from the nodule; nan when the picture shows nothing else.
        deviation: standard deviation there.
    """

    source: Image
    patient_id: str
    cohort: str
    fingerprint: Fingerprint
    area_px: float
    area_mm2: float
    extent_mm: float
    rows: float
    columns: float
    spacing_mm: float
    mean: float
    deviation: float


def measure(nodule: Nodule) -> list[Measurements]:
    """Measures a nodule's images; those that cannot be read are left to `preprocess`, which names all."""
    measured = []
    for image in nodule.images:
        try:
            measured.append(_measure(nodule, image))
        except (InputError, OSError):
            continue
    return measured


def table(nodules: list[Nodule], measured: list[Measurements]) -> pd.DataFrame:
    """Returns a row per nodule: patient_id, labels, the mean of every number over its images, us_ and ct_."""
    rows = pd.DataFrame(
        [
            {"nodule_id": image.source.nodule_id, "modality": image.source.modality}
            | {name: getattr(image, name) for name in NUMBERS}
            for image in measured
        ],
        columns=["nodule_id", "modality", *NUMBERS],
    )
    labels = pd.DataFrame(
        [
            {"nodule_id": n.nodule_id, "patient_id": n.patient_id}
            | {f"lnm_{site}": value for site, value in n.labels.items()}
            for n in nodules
        ]
    ).set_index("nodule_id")
    for modality in MODALITIES:
        grouped = rows[rows["modality"] == modality].groupby("nodule_id")
        means = grouped[list(NUMBERS)].mean().assign(images=grouped.size())
        labels = labels.join(means.add_prefix(f"{modality}_"))
    return labels


def _measure(nodule: Nodule, image: Image) -> Measurements:
    pixels, mask = read_pair(image)
    spacing = image.spacing_mm or pixels.spacing_mm or float("nan")
    area = float(np.count_nonzero(mask))
    around = pixels.values[_far(mask)]
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)  # what is inside is many
    (_, _), sides, _ = cv2.minAreaRect(np.concatenate(outlines))
    return Measurements(
        source=image,
        patient_id=nodule.patient_id,
        cohort=nodule.cohort,
        fingerprint=picture_fingerprint(pixels.values),
        area_px=area,
        area_mm2=area * spacing**2,
        extent_mm=max(sides) * spacing,
        rows=float(pixels.values.shape[0]),
        columns=float(pixels.values.shape[1]),
        spacing_mm=spacing,
        mean=float(around.mean()) if around.size else float("nan"),
        deviation=float(around.std()) if around.size else float("nan"),
    )


def _far(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns the pixels beyond half a side of the nodule's bounding box: the disease must not show there."""
    far = np.ones(mask.shape, dtype=bool)
    x, y, width, height = cv2.boundingRect(mask)
    rows = slice(max(0, y - height // 2), y + height + height // 2)
    columns = slice(max(0, x - width // 2), x + width + width // 2)
    far[rows, columns] = False
    return far
