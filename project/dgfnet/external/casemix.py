"""Case mix: the patients of the external cohort beside those the model was made on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dgfnet.cohort.records import Nodule
from dgfnet.vocabulary import MODALITIES, SITES

NUMBERS = ("age", "max_diameter_mm", "aspect_ratio")
NAMES = ("sex", "margin", "location")
COLUMNS = ["attribute", "main", "external"]


def case_mix(nodules: Sequence[Nodule]) -> pd.DataFrame:
    """Describes main and external cohort, one row per attribute, as text.

    Counts, shares, medians with quartiles; empty where a cohort lacks the attribute.

    Prevalence is of nodules with a known label; attributes are those of the manifest.
    """
    parts = {name: [nodule for nodule in nodules if nodule.cohort == name] for name in ("main", "external")}
    rows = [("patients", *(str(len({n.patient_id for n in part})) for part in parts.values()))]
    rows.append(("nodules", *(str(len(part)) for part in parts.values())))
    for modality in MODALITIES:
        rows.append((f"{modality} images per nodule", *(_images(part, modality) for part in parts.values())))
    for site in SITES:
        labels = [[n.labels[site] for n in part if n.labels[site] is not None] for part in parts.values()]
        rows.append((f"{site} metastasis", *(_share(values.count(1), len(values)) for values in labels)))
    attributes = {
        name: [[n.attributes.get(name) for n in part] for part in parts.values()]
        for name in (*NUMBERS, *NAMES)
    }
    for name in NUMBERS:
        rows.append((name, *(_quartiles(values) for values in attributes[name])))
    for name in NAMES:
        for value in sorted({entry for values in attributes[name] for entry in values if entry}):
            counts = [
                (values.count(value), sum(entry is not None for entry in values))
                for values in attributes[name]
            ]
            rows.append((f"{name}: {value}", *(_share(*count) for count in counts)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _images(part: Sequence[Nodule], modality: str) -> str:
    if not part:
        return ""
    return f"{sum(image.modality == modality for nodule in part for image in nodule.images) / len(part):.1f}"


def _share(count: int, of: int) -> str:
    return f"{count} of {of} ({count / of:.0%})" if of else ""


def _quartiles(values: Sequence[str | None]) -> str:
    numbers = pd.to_numeric(pd.Series([value for value in values if value]), errors="coerce").dropna()
    if numbers.empty:
        return ""
    low, middle, high = numbers.quantile([0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"
