"""The gate: a version becomes champion when every criterion holds; none sees the external cohort.

A new criterion is an entry of `judge`; what it looks at is a field of `Evidence`, which register/measure.py
measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dgfnet.registry.evidence import Evidence, Rival
from dgfnet.sections.results import Register

if TYPE_CHECKING:
    from dgfnet.registry.paired import Comparison

ONNX_ERROR = 1e-4  # between probabilities of the ONNX graph and of the network it was made from


@dataclass(frozen=True)
class Criterion:
    """One condition of the gate.

    Attributes:
        name: of the quantity.
        value: measured, as text.
        needed: the limit of the settings, as text.
        met: the value keeps the limit.
    """

    name: str
    value: str
    needed: str
    met: bool


@dataclass(frozen=True)
class Judgement:
    """The criteria applied to one version.

    Attributes:
        criteria: each with its verdict.
        champion: the version that was champion then, None without one.
    """

    criteria: tuple[Criterion, ...]
    champion: str | None


def judge(
    evidence: Evidence, gain: Comparison | None, settings: Register, without_comparison: bool = False
) -> tuple[Criterion, ...]:
    """Applies the criteria.

    Args:
        evidence: of the new version.
        gain: the version beside the present champion; None when there is no champion. Where the two cannot be
            compared, the criterion is not met: that a version is no worse was not seen.
        settings: the gate's limits.
        without_comparison: a person takes the version although it cannot be compared. That does not help
            where the store's tables cannot be trusted.

    Returns:
        The criteria in the order they are printed; that of single modalities for a fusion, that of basic
        fusions for `dgf`, that of the champion where `gain` is given.
    """
    low, high = settings.calibration_slope
    findings, accuracy = evidence.audit_findings, evidence.weakest_accuracy
    lineage = evidence.missing_lineage
    criteria = [
        Criterion(
            "leakage audit",
            "not audited" if findings is None else f"{findings} finding(s)",
            "0 findings",
            findings == 0,
        ),
        _close("batch invariance", evidence.batch_variance, settings.tolerance),
        _close("ONNX error", evidence.onnx_error, ONNX_ERROR),
        _close("reproduces cross-validation", evidence.reproduction_error, settings.tolerance),
        Criterion(
            "lower limit of the out-of-fold AUC",
            f"{evidence.auc_low:.3f}",
            f"at least {settings.minimum_auc_lower_bound:g}",
            evidence.auc_low >= settings.minimum_auc_lower_bound,
        ),
        Criterion(
            "calibration slope",
            f"{evidence.calibration_slope:.2f}",
            f"{low:g} to {high:g}",
            low <= evidence.calibration_slope <= high,
        ),
        Criterion(
            "weakest group",
            evidence.weakest_group if accuracy is None else f"{accuracy:.3f}, {evidence.weakest_group}",
            f"accuracy at least {settings.minimum_group_accuracy:g}",
            # none large enough was not looked at; to do without groups, nobody asks for them
            not settings.groups if accuracy is None else accuracy >= settings.minimum_group_accuracy,
        ),
        Criterion(
            "lineage",
            lineage or "whole",
            "commit and data known" if settings.require_lineage else "not required",
            not lineage or not settings.require_lineage,
        ),
    ]
    if evidence.unimodal is not None:
        limit = settings.minimum_gain_over_unimodal
        criteria.append(_rival("AUC less its best single modality's", evidence.unimodal, limit))
    if evidence.simpler is not None:
        limit = settings.minimum_gain_over_simpler
        criteria.append(_rival("AUC less the best basic fusion's", evidence.simpler, limit))
    criteria.append(
        _rival("AUC less the best baseline's", evidence.baseline, settings.minimum_gain_over_baselines)
    )
    if gain is not None:
        name, needed = "AUC less the champion's, shared nodules", f"at least {settings.minimum_gain:+g}"
        value, met, gap = gain.account, gain.trusted and without_comparison, gain.difference
        if gap is not None:
            value = f"{gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {value}"
            met = gap.estimate >= settings.minimum_gain
        elif met:
            value = f"{value}; taken by hand, --without-comparison"
        criteria.append(Criterion(name, value, needed, met))
    return tuple(criteria)


def _rival(name: str, rival: Rival | None, limit: float) -> Criterion:
    """Returns the criterion that a simpler model is not better; -1 is no limit, and met without any."""
    asked = limit > -1
    needed = f"at least {limit:+g}" if asked else "told, not asked for"
    if rival is None:
        return Criterion(name, "not compared: no baseline in this cross-validation", needed, not asked)
    interval = "no interval" if rival.low is None else f"{rival.low:+.3f} to {rival.high:+.3f}"
    value = f"{rival.estimate:+.3f} ({interval}), {rival.name}"
    return Criterion(name, value, needed, not asked or rival.estimate >= limit)


def _close(name: str, difference: float, tolerance: float) -> Criterion:
    """Returns the criterion that probabilities are at most so far apart."""
    return Criterion(name, f"{difference:.1e}", f"at most {tolerance:g} apart", difference <= tolerance)


def why(criteria: Sequence[Criterion]) -> str:
    """Returns one sentence that names every criterion not met, or says that all are."""
    failed = [
        f"{criterion.name}: {criterion.value}, needed {criterion.needed}"
        for criterion in criteria
        if not criterion.met
    ]
    return "; ".join(failed) if failed else f"all {len(criteria)} criteria are met"
