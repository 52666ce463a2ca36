"""One number to one text; what is undefined becomes a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNDEFINED, DASH, MINUS = "\N{EN DASH}", "\N{EN DASH}", "\N{MINUS SIGN}"


def known(value: Any) -> float | None:
    """The number, or None for null, nan and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(value: Any) -> str:
    """Anything as text, null as a dash."""
    return UNDEFINED if value is None else str(value)


def number(value: Any, digits: int = 3) -> str:
    """A number with a fixed count of decimals."""
    found = known(value)
    return UNDEFINED if found is None else f"{found:.{digits}f}"


def with_interval(record: Mapping[str, Any] | None) -> str:
    """Estimate and limits: 0.875 (0.840-0.903), with a dash between the limits."""
    record = record or {}
    if known(record.get("estimate")) is None:
        return UNDEFINED
    return f"{number(record['estimate'])} ({limits(record)})"


def limits(record: Mapping[str, Any]) -> str:
    """Both limits of an interval with a dash between them, or a dash alone when there are none."""
    low, high = number(record.get("low")), number(record.get("high"))
    return UNDEFINED if low == high == UNDEFINED else f"{low}{DASH}{high}"


def with_spread(mean: Any, sd: Any) -> str:
    """Mean ± standard deviation."""
    if known(mean) is None:
        return UNDEFINED
    return f"{number(mean)} ± {number(sd)}"


def p_value(value: Any) -> str:
    """Three decimals, or a bound when it is smaller."""
    found = known(value)
    if found is None:
        return UNDEFINED
    return "< 0.001" if found < 0.001 else f"{found:.3f}"


def percent(confidence: Any) -> str:
    """0.95 as 95 %."""
    found = known(confidence)
    return "" if found is None else f"{100 * found:g} %"


def short(value: Any) -> str:
    """First twelve characters of a hash, keeping the mark of uncommitted changes."""
    if not value:
        return UNDEFINED
    text = str(value)
    body, dirty, _ = text.partition("-dirty")
    return body[:12] + dirty


def signed(value: Any) -> str:
    """Three decimals with a sign in front."""
    found = known(value)
    if found is None:
        return UNDEFINED
    return f"{found:+.3f}".replace("-", MINUS) if abs(found) >= 0.0005 else "0.000"
