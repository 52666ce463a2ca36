"""Patients of the phantom: factors, labels, and the flaws that screening must find; no pictures yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dgfnet.cohort.records import Source
from dgfnet.phantom import latents
from dgfnet.vocabulary import SITES, Site

EXTERNAL_PREVALENCE = 0.37
EXCLUDED_SHARE = 0.04  # of the main cohort, for each of the three reasons
TWO_NODULES_SHARE = 0.13
STREAMS: dict[Source, int] = {"main": 1, "external": 2}


@dataclass(frozen=True)
class Patient:
    """A patient before anything is drawn.

    Attributes:
        flaw: the exclusion criterion this patient is made to meet, if any: missing_modality,
            measurement_lines or several_malignant.
    """

    patient_id: str
    cohort: Source
    index: int
    latents: latents.Latents
    labels: dict[Site, int]
    nodules: int
    flaw: str | None


def enrol_main(count: int, seed: int, rule: latents.Rule) -> list[Patient]:
    """Enrols the main cohort, `count` patients."""
    rng = np.random.default_rng([seed, 0, STREAMS["main"]])
    per_reason = max(1, round(EXCLUDED_SHARE * count))
    reasons = ["missing_modality", "measurement_lines", "several_malignant"]
    flaws: list[str | None] = [reason for reason in reasons for _ in range(per_reason)]
    flaws += [None] * (count - len(flaws))
    rng.shuffle(flaws)
    patients = []
    for index, flaw in enumerate(flaws):
        factors = latents.draw(rng)
        labels = _label(factors, rule, rng)
        if flaw == "several_malignant":
            labels = {**labels, "central": 1}  # excluded, so that no analysed label is touched
        several = flaw == "several_malignant" or rng.random() < TWO_NODULES_SHARE
        patients.append(Patient(f"P{index + 1:04d}", "main", index, factors, labels, 1 + several, flaw))
    return patients


def enrol_external(count: int, seed: int, rule: latents.Rule) -> list[Patient]:
    """Enrols until the numbers with and without central metastasis are full (a case-control sample)."""
    rng = np.random.default_rng([seed, 0, STREAMS["external"]])
    room = {1: round(EXTERNAL_PREVALENCE * count)}
    room[0] = count - room[1]
    patients: list[Patient] = []
    while len(patients) < count:
        factors = latents.draw(rng)
        labels = _label(factors, rule, rng)
        if room[labels["central"]]:
            room[labels["central"]] -= 1
            index = len(patients)
            patients.append(Patient(f"E{index + 1:04d}", "external", index, factors, labels, 1, None))
    return patients


def _label(factors: latents.Latents, rule: latents.Rule, rng: np.random.Generator) -> dict[Site, int]:
    return {site: int(rng.random() < latents.probability(factors, site, rule)) for site in SITES}
