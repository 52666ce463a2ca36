"""The flow of patients, nodules and images through the screening, and the analyses made of what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dgfnet.report.cells import text
from dgfnet.report.inputs import Json, SiteInputs

REASONS = {
    "missing_modality": "ultrasound or CT missing",
    "measurement_lines": "lines or text drawn in every ultrasound image",
    "several_malignant": "several malignant nodules and metastatic nodes",
    "no_label": "metastasis status unknown",
}
COUNTS = ("patients", "nodules", "images")


@dataclass(frozen=True)
class Flow:
    """One cohort's way through the screening.

    Attributes:
        name: main or external.
        enrolled, kept: counts of patients, nodules, images.
        excluded: (words, counts) per reason, and the single pictures set aside.
        analysed: nodules and positives of each site's analysis, in words.
        adds_up: enrolled minus excluded is kept, for all three counts.
    """

    name: str
    enrolled: Mapping[str, int]
    excluded: tuple[tuple[str, Mapping[str, int]], ...]
    kept: Mapping[str, int]
    analysed: tuple[str, ...]
    adds_up: bool


def flow(name: str, record: Json, sites: Sequence[SiteInputs]) -> Flow:
    """Reads the counts of one cohort from enrolment.json, and of the analyses made of it."""
    enrolled, kept = _counts(record.get("enrolled")), _counts(record.get("kept"))
    reasons = record.get("excluded") or {}
    excluded = [(REASONS.get(reason, reason), _counts(counts)) for reason, counts in reasons.items()]
    aside = int(record.get("images_set_aside") or 0)
    if aside:
        excluded.append(("single images with lines or text set aside", {"images": aside}))
    left = {
        unit: enrolled[unit] - sum(counts.get(unit, 0) for _, counts in excluded) - kept[unit]
        for unit in COUNTS
    }
    shown = tuple((words, counts) for words, counts in excluded if any(counts.values()))
    return Flow(name, enrolled, shown, kept, _analysed(name, sites), not any(left.values()))


def _analysed(cohort: str, sites: Sequence[SiteInputs]) -> tuple[str, ...]:
    """Nodules with a known status at each site, as the analyses counted them."""
    lines = []
    for site in sites:
        if cohort == "main":
            record: Json = next(iter(site.variants.values()), {})
        else:
            record = (site.external or {}).get("external") or {}
        if "n" in record:
            lines.append(
                f"{site.site}: {record['n']} nodules, {text(record.get('positives'))} with metastasis"
            )
    return tuple(lines)


def _counts(record: Any) -> dict[str, int]:
    return {unit: int((record or {}).get(unit) or 0) for unit in COUNTS}
