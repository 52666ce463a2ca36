"""`dgfnet monitor`: compares what a deployed champion answered with the nodules it was validated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import binomtest, chi2_contingency

from dgfnet.errors import InputError
from dgfnet.metrics.updating import needed_for_mean
from dgfnet.registry.champion import load_champion
from dgfnet.settings import Settings
from dgfnet.vocabulary import MODALITIES, Site

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]

FEWEST = 30  # answers that are compared
UNLIKELY = 0.01  # p below which a difference is told: a champion is looked at again and again
LEAST_EXPECTED = 5  # in a cell of a chi-squared test


@dataclass(frozen=True)
class Period:
    """Counts of a server.

    Attributes:
        answers: cases by level, of the champion's variant.
        others: cases that a model of one modality answered.
        risks: by parts of `bundle.watch.RISK_BOUNDS`.
        mean_risk: of them; nan without any.
        novel: per modality the pictures beyond the limit of caution, and all.
    """

    answers: Mapping[str, int]
    others: int
    risks: tuple[int, ...]
    mean_risk: float
    novel: Mapping[str, tuple[int, int]]


def monitor(settings: Settings, site: Site, counts: Path, before: Path | None) -> str:
    """Compares a period with the champion's held-out nodules.

    Args:
        settings: for the registry.
        site: whose champion was served.
        counts: what `GET /metrics` of its server said at the end of the period.
        before: the same at its beginning; None compares all since the server was started.

    Returns:
        What was found, and what to do, a line each.

    Raises:
        InputError: when a file holds no such counts, or those of another version or of another start.
    """
    champion = load_champion(settings, site)
    metadata, name = champion.metadata, champion.name
    if "held_out_risks" not in metadata:
        raise InputError(
            f"{name} version {champion.version} was registered by an earlier release; it keeps no counts"
        )
    samples = read_counts(counts, name, champion.version)
    if before is not None:
        samples = _since(samples, read_counts(before, name, champion.version), counts, before)
    variant, limit = str(metadata["variant"]), float(metadata["false_alarms"])
    period, held_out = period_of(samples, variant), metadata["held_out_risks"]
    total = sum(period.answers.values())
    levels = ", ".join(f"{count} {level}" for level, count in period.answers.items() if count)
    lines = [f"{name} version {champion.version}: {total} answers by {variant} ({levels or 'none'})"]
    if period.others:
        lines.append(f"{period.others} more by models of one modality: only their pictures are compared")
    if total < FEWEST:
        return "\n".join([*lines, f"too few to compare: {FEWEST} at least"])
    read = {name: pair for name, pair in period.novel.items() if pair[1]}
    p_values = [
        float(binomtest(far, every, limit / len(metadata["modalities"]), alternative="greater").pvalue)
        for far, every in read.values()
    ]
    p_pictures = min(1.0, len(p_values) * min(p_values, default=1.0))
    shares = ", ".join(f"{name} {far} of {every}" for name, (far, every) in read.items())
    lines.append(
        f"pictures beyond the limit of caution: {shares}; of held-out nodules {limit:g} (p {p_pictures:.2g})"
    )
    p_risks = 1.0
    if held_out is not None and any(period.risks):
        p_risks = same_distribution(held_out["counts"], period.risks)
        lines.append(
            f"mean risk {period.mean_risk:.2f}, held out {held_out['mean']:.2f} (distribution: p "
            f"{p_risks:.2g})"
        )
    if p_pictures < UNLIKELY:
        lines.append(
            "pictures are unlike those of the training cohort more often than by chance: look at what the "
            "warnings name (scanner, gain, window, reconstruction), and validate there before relying on it"
        )
    if p_risks < UNLIKELY:
        needed = needed_for_mean(float(np.clip(period.mean_risk, 0.01, 0.99)))
        lines.append(
            f"risks are distributed otherwise: patients or calibration differ; label {needed} consecutive "
            f"cases (Riley 2021) and run dgfnet recalibrate {site} --cohort FOLDER"
        )
    if min(p_pictures, p_risks) >= UNLIKELY:
        lines.append("nothing unusual; this does not show that its answers are right: only labels do")
    return "\n".join(lines)


def read_counts(path: Path, model: str, version: str) -> dict[tuple[str, Labels], float]:
    """Reads what `GET /metrics` said of a version.

    Raises:
        InputError: when it is something else, or of another version.
    """
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as counts of Prometheus ({error})") from None
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in families
        for sample in family.samples
    }
    served = {name: dict(labels) for (name, labels) in samples if name == "dgfnet_model_info"}
    if not served:
        raise InputError(f"{path}: no counts of dgfnet serve; expected what GET /metrics says")
    (of,) = served.values()
    if (of.get("model"), of.get("version")) != (model, version):
        raise InputError(
            f"{path}: counts of {of.get('model')} version {of.get('version')}; the champion is {model} "
            f"version {version}"
        )
    return samples


def _since(now: Samples, start: Samples, counts: Path, before: Path) -> dict[tuple[str, Labels], float]:
    """Returns what was counted between two files."""
    begun = [key for key in start if key[0].endswith("_created") and now.get(key) != start[key]]
    if begun or any(now.get(key, 0.0) < value for key, value in start.items()):
        raise InputError(f"{counts} and {before}: the server was started again in between")
    return {key: value - start.get(key, 0.0) for key, value in now.items()}


def period_of(samples: Samples, variant: str) -> Period:
    """Sorts counts of a server; risks and levels are those of a variant."""
    answers, others = {"answer": 0, "caution": 0, "no answer": 0}, 0
    cumulated: dict[float, float] = {}
    novel: dict[str, tuple[int, int]] = {}
    for (name, labels), value in samples.items():
        own = dict(labels)
        if name == "dgfnet_answers_total" and own["variant"] == variant:
            answers[own["level"]] = answers.get(own["level"], 0) + int(value)
        elif name == "dgfnet_answers_total":
            others += int(value)
        elif name == "dgfnet_risk_bucket" and own["variant"] == variant:
            cumulated[float(own["le"])] = value
    for modality in MODALITIES:
        every = samples.get(("dgfnet_novelty_count", (("modality", modality),)), 0.0)
        usual = samples.get(("dgfnet_novelty_bucket", (("le", "1.0"), ("modality", modality))), 0.0)
        novel[modality] = int(every - usual), int(every)
    risks = np.diff([value for _, value in sorted(cumulated.items())], prepend=0.0)
    of = (("variant", variant),)
    count, total = samples.get(("dgfnet_risk_count", of), 0.0), samples.get(("dgfnet_risk_sum", of), 0.0)
    mean = total / count if count else float("nan")
    return Period(answers, others, tuple(int(value) for value in risks), mean, novel)


def same_distribution(first: Any, second: Any) -> float:
    """Returns the p-value of a chi-squared test that two rows of counts are of one distribution.

    Neighbouring parts are put together until each expects LEAST_EXPECTED in both rows; 1 when one is left.
    """
    table = np.array([first, second], dtype=np.float64)
    if not table.sum(axis=1).all():
        return 1.0
    share = table.sum(axis=1).min() / table.sum()
    columns: list[np.ndarray] = []
    for column in table.T:
        if columns and share * columns[-1].sum() < LEAST_EXPECTED:
            columns[-1] = columns[-1] + column
        else:
            columns.append(column)
    if len(columns) > 1 and share * columns[-1].sum() < LEAST_EXPECTED:
        last = columns.pop()
        columns[-1] = columns[-1] + last
    if len(columns) < 2:
        return 1.0
    return float(chi2_contingency(np.stack(columns, axis=1), correction=False).pvalue)
