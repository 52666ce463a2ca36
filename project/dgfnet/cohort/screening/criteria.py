"""The paper's exclusion criteria, with counts that add up (paper section 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.vocabulary import MODALITIES, Modality

REASONS = {
    "missing_modality": "US or CT missing",
    "measurement_lines": "lines or text drawn in every US image",
    "several_malignant": "several malignant nodules and metastatic nodes",
    "no_label": "no known LNM status at any site",
}


@dataclass(frozen=True)
class Screened:
    """The result of screening.

    Attributes:
        kept: the cohort that is analysed.
        flow: per cohort (main, external) numbers of patients, nodules and images enrolled, excluded by
            reason, kept.
        excluded: reason per excluded nodule.
    """

    kept: Cohort
    flow: dict[str, dict[str, Any]]
    excluded: dict[str, str]


def screen(cohort: Cohort, modalities: Sequence[Modality] = MODALITIES) -> Screened:
    """Applies the criteria in the order of REASONS; a nodule counts under the first one it meets.

    A US picture with measurement lines is set aside; its nodule is excluded only when no US picture without
    lines remains.

    Args:
        cohort: as read, with what was decided about its pictures.
        modalities: those that every nodule needs.
    """
    kept: list[Nodule] = []
    excluded: dict[str, str] = {}
    for nodule in cohort.nodules:
        reason = _reason(nodule, modalities)
        if reason is None:
            kept.append(replace(nodule, images=tuple(i for i in nodule.images if not _set_aside(i))))
        else:
            excluded[nodule.nodule_id] = reason
    result = Cohort(cohort.root, tuple(kept))
    return Screened(result, _flow(cohort, result, excluded), excluded)


def _set_aside(image: Image) -> bool:
    """Says that a US picture shows lines; a CT slice never goes, or a nodule could be kept without CT."""
    return image.modality == "us" and image.measurement_lines


def _reason(nodule: Nodule, modalities: Sequence[Modality]) -> str | None:
    if any(not nodule.of(modality) for modality in modalities):
        return "missing_modality"
    if nodule.of("us") and all(image.measurement_lines for image in nodule.of("us")):
        return "measurement_lines"
    metastasis = any(label == 1 for label in nodule.labels.values())
    if metastasis and (nodule.n_malignant_nodules or 0) > 1:
        return "several_malignant"
    if all(label is None for label in nodule.labels.values()):
        return "no_label"
    return None


def _flow(before: Cohort, after: Cohort, excluded: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Counts patients, nodules and images; a patient without nodules left has the first's reason."""
    flow: dict[str, dict[str, Any]] = {}
    for name in ("main", "external"):
        enrolled = [nodule for nodule in before.nodules if nodule.cohort == name]
        kept = [nodule for nodule in after.nodules if nodule.cohort == name]
        staying = {nodule.patient_id for nodule in kept}
        out = [nodule for nodule in enrolled if nodule.nodule_id in excluded]
        first = {nodule.patient_id: excluded[nodule.nodule_id] for nodule in reversed(out)}
        patients = Counter(reason for patient, reason in first.items() if patient not in staying)
        nodules = Counter(excluded[nodule.nodule_id] for nodule in out)
        images = Counter({reason: 0 for reason in REASONS})
        for nodule in out:
            images[excluded[nodule.nodule_id]] += len(nodule.images)
        aside = sum(len(n.images) for n in enrolled if n.nodule_id not in excluded) - _count(kept)["images"]
        flow[name] = {
            "enrolled": _count(enrolled),
            "excluded": {
                reason: {"patients": patients[reason], "nodules": nodules[reason], "images": images[reason]}
                for reason in REASONS
            },
            "images_set_aside": aside,
            "kept": _count(kept),
        }
    return flow


def _count(nodules: list[Nodule]) -> dict[str, int]:
    return {
        "patients": len({nodule.patient_id for nodule in nodules}),
        "nodules": len(nodules),
        "images": sum(len(nodule.images) for nodule in nodules),
    }
