"""Attributes that nodules are grouped by: measured on masks, read from the manifest, and both compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd

from dgfnet.cohort.readers import read_image, read_mask
from dgfnet.cohort.records import Nodule
from dgfnet.errors import InputError
from dgfnet.extent import maximum_diameter
from dgfnet.parallel import map_in_order

DIAMETER, ASPECT = "max_diameter_mm", "aspect_ratio"
EDGES = {DIAMETER: (12.0, 20.0, 36.0, 60.0), ASPECT: (1.0,)}  # the paper's groups (Figure 5)
NAMED = ("margin", "location")
FEW = 6  # distinct numbers of a column that are still taken for categories
QUARTILES = (0.25, 0.5, 0.75)


def measured(nodules: Sequence[Nodule], processes: int) -> pd.DataFrame:
    """Measures largest diameter (mm) and height over width of each nodule, on its US masks; NaN if unknown.

    The diameter is the maximum Feret diameter, the larger of all views; the ratio is that of the bounding
    rectangle in the transverse view with the largest mask (paper, section 5).

    Args:
        nodules: of the cohort.
        processes: number of processes at work at once.

    Returns:
        One row per nodule, indexed by nodule_id.
    """
    rows = list(map_in_order(_measure, nodules, processes, "applicability"))
    table = pd.DataFrame(rows, columns=[DIAMETER, ASPECT], index=[nodule.nodule_id for nodule in nodules])
    return table.rename_axis("nodule_id")


def combined(
    table: pd.DataFrame, measurements: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Completes the manifest's attributes by measurements, and compares the two where both are known.

    Args:
        table: nodules.parquet, indexed by nodule_id; attributes may be text or absent.
        measurements: of `measured`.

    Returns:
        The table with both measured columns as numbers, and per column `n`, `median_difference` (measured
        minus manifest) and `within_tenth` (share that differs by less than 10 %).
    """
    result, agreement = table.copy(), {}
    for name in measurements.columns:
        recorded = (
            pd.to_numeric(table[name], errors="coerce") if name in table else pd.Series(np.nan, table.index)
        )
        own = measurements[name].reindex(table.index)
        both = recorded.notna() & own.notna()
        if both.any():
            difference = own[both] - recorded[both]
            agreement[name] = {
                "n": int(both.sum()),
                "median_difference": float(difference.median()),
                "within_tenth": float((difference.abs() < 0.1 * recorded[both].abs()).mean()),
            }
        result[name] = recorded.fillna(own)
    return result, agreement


def grouped(values: pd.Series) -> pd.Series:
    """Assigns every nodule its group as text; missing where the attribute is.

    Diameter and aspect ratio have the paper's limits, other numbers with more than FEW values the cohort's
    quartiles, everything else its own values.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    if str(values.name) in EDGES:
        return _cut(numbers, EDGES[str(values.name)])
    if numbers.notna().sum() == values.notna().sum() and numbers.nunique() > FEW:
        return _cut(numbers, tuple(float(limit) for limit in numbers.quantile(list(QUARTILES)).unique()))
    return values.where(values.isna(), values.astype(str))


def _cut(numbers: pd.Series, limits: tuple[float, ...]) -> pd.Series:
    """Groups `<= a`, `a - b`, ..., `> z`; an upper limit belongs to its group."""
    names = [f"<= {limits[0]:g}"]
    names += [f"{low:g} - {high:g}" for low, high in pairwise(limits)]
    names.append(f"> {limits[-1]:g}")
    place = np.searchsorted(limits, numbers.to_numpy(dtype=float), side="left")
    text = np.array(names, dtype=object)[np.minimum(place, len(limits))]
    return pd.Series(text, index=numbers.index, name=numbers.name).where(numbers.notna())


def _measure(nodule: Nodule) -> tuple[float, float]:
    diameters: list[float] = []
    ratios: list[tuple[int, float]] = []
    for image in nodule.of("us"):
        try:
            mask = read_mask(image)
            spacing = image.spacing_mm or read_image(image).spacing_mm
        except (InputError, OSError):  # preprocess has named it
            continue
        _, _, width, height = cv2.boundingRect(mask)
        if spacing:
            diameters.append(maximum_diameter(mask) * spacing)
        if image.view == "transverse":
            ratios.append((int(np.count_nonzero(mask)), height / width))
    return max(diameters, default=float("nan")), max(ratios, default=(0, float("nan")))[1]
