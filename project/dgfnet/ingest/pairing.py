"""Pairs of two public sets that stand in for one cohort, and the pairs that are held out.

Nothing here knows about files. A person may appear once: a subject (a DDTI case) gets one candidate (a LIDC
nodule) of its class, and of each patient of the candidates at most one nodule is used. So a pair shares no
person with any other pair, and no split of the pairs can leak. The price is the further nodules of a
patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dgfnet.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """Something that can be given to a subject of its class.

    Attributes:
        name: unique identifier.
        person: the source patient; at most one candidate of a person is used.
        label: class, 0 or 1.
    """

    name: str
    person: str
    label: int


def pair(
    subjects: Mapping[str, int], candidates: Sequence[Candidate], rng: np.random.Generator
) -> dict[str, str]:
    """Draws a candidate of the same class for every subject, without replacement and at random.

    The class with the least to spare draws first, because a person with nodules of both classes serves one.

    Args:
        subjects: label of each subject.
        candidates: what can be drawn.
        rng: source of the draw; for the same result give subjects and candidates in the same order.

    Returns:
        Candidate name of each subject, in the order of `subjects`; without those for whom none was left.
    """
    shuffled = [candidates[i] for i in rng.permutation(len(candidates))]
    demand = Counter(subjects.values())
    supply = {label: len({c.person for c in candidates if c.label == label}) for label in demand}
    drawn: dict[str, str] = {}
    persons: set[str] = set()
    for label in sorted(demand, key=lambda label: (supply[label] - demand[label], label)):
        waiting = [name for name in subjects if subjects[name] == label]
        waiting = [waiting[i] for i in rng.permutation(len(waiting))]
        for candidate in shuffled:
            if not waiting:
                break
            if candidate.label == label and candidate.person not in persons:
                drawn[waiting.pop(0)] = candidate.name
                persons.add(candidate.person)
    return {name: drawn[name] for name in subjects if name in drawn}


def hold_out(labels: Mapping[str, int], share: float, rng: np.random.Generator) -> set[str]:
    """Names of a random share of each class: the external cohort.

    Raises:
        InputError: when a class has fewer than two members, so that one part would lack it.
    """
    held: set[str] = set()
    for label in (0, 1):
        names = [name for name in labels if labels[name] == label]
        if len(names) < 2:
            raise InputError(
                f"label {label}: found {len(names)}; main and external cohort need at least one each"
            )
        count = min(max(1, round(share * len(names))), len(names) - 1)
        held.update(names[i] for i in rng.permutation(len(names))[:count])
    return held
