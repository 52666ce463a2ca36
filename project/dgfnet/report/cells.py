"""Formats single values as text; an undefined value becomes a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNDEFINED, DASH, MINUS = "\N{EN DASH}", "\N{EN DASH}", "\N{MINUS SIGN}"


def finite(value: Any) -> float | None:
    """Returns the number as a float, or None for null, nan and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(value: Any) -> str:
    """Formats any value as text, null as a dash."""
    return UNDEFINED if value is None else str(value)


def number(value: Any, digits: int = 3) -> str:
    """Formats a number with a fixed count of decimals."""
    checked = finite(value)
    return UNDEFINED if checked is None else f"{checked:.{digits}f}"


def with_interval(record: Mapping[str, Any] | None) -> str:
    """Formats an estimate and its limits: 0.875 (0.840-0.903), with a dash between the limits."""
    record = record or {}
    if finite(record.get("estimate")) is None:
        return UNDEFINED
    return f"{number(record['estimate'])} ({limits(record)})"


def limits(record: Mapping[str, Any]) -> str:
    """Formats both limits of an interval with a dash between them, or only a dash when there are none."""
    low, high = number(record.get("low")), number(record.get("high"))
    return UNDEFINED if low == high == UNDEFINED else f"{low}{DASH}{high}"


def signed_with_interval(record: Mapping[str, Any] | None) -> str:
    """Formats a difference and its limits, each with its sign: +0.025 (+0.004 to +0.045)."""
    record = record or {}
    return f"{signed(record.get('estimate'))} ({signed(record.get('low'))} to {signed(record.get('high'))})"


def with_spread(mean: Any, sd: Any) -> str:
    """Formats mean ± standard deviation."""
    if finite(mean) is None:
        return UNDEFINED
    return f"{number(mean)} ± {number(sd)}"


def p_value(value: Any) -> str:
    """Formats a p-value with three decimals, or as a bound when it is smaller."""
    checked = finite(value)
    if checked is None:
        return UNDEFINED
    return "< 0.001" if checked < 0.001 else f"{checked:.3f}"


def percent(confidence: Any) -> str:
    """Formats 0.95 as 95 %."""
    checked = finite(confidence)
    return "" if checked is None else f"{100 * checked:g} %"


def short(value: Any) -> str:
    """Returns the first twelve characters of a hash, keeping the mark of uncommitted changes."""
    if not value:
        return UNDEFINED
    text = str(value)
    body, dirty, _ = text.partition("-dirty")
    return body[:12] + dirty


def signed(value: Any) -> str:
    """Formats a number with three decimals and its sign."""
    checked = finite(value)
    if checked is None:
        return UNDEFINED
    return f"{checked:+.3f}".replace("-", MINUS) if abs(checked) >= 0.0005 else "0.000"
