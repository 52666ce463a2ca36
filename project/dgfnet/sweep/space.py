"""The space of a search: which values its settings may take, and how Optuna is told.

Optuna's categories are texts, numbers and booleans; a list stands there as JSON, and comes back as the list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from dgfnet.sections.fits import Range

Values = Mapping[str, Any]


def distributions(space: Mapping[str, Range], present: Values) -> dict[str, Any]:
    """Returns Optuna's distributions.

    Args:
        space: the settings in which a trial may differ.
        present: their values now: a whole number stays one.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made: dict[str, Any] = {}
    for name, limits in space.items():
        if limits.choices is not None:
            texts = tuple(dict.fromkeys(_plain(choice) for choice in limits.choices))
            made[name] = optuna.distributions.CategoricalDistribution(texts)
        elif limits.low is None or limits.high is None:
            raise ValueError(f"{name}: a range without limits")  # settings refuse it
        elif limits.whole(present[name]):
            low, high = int(limits.low), int(limits.high)
            made[name] = optuna.distributions.IntDistribution(low, high, log=limits.log)
        else:
            made[name] = optuna.distributions.FloatDistribution(limits.low, limits.high, log=limits.log)
    return made


def encoded(values: Values) -> dict[str, Any]:
    """Returns a point as Optuna knows it."""
    return {name: _plain(value) for name, value in values.items()}


def decoded(config: Values, space: Mapping[str, Range]) -> dict[str, Any]:
    """Returns the values of a point that Optuna suggested."""
    values = {}
    for name, limits in space.items():
        value = config[name]
        originals = {_plain(choice): choice for choice in limits.choices or ()}
        choice = originals.get(value, value)
        values[name] = list(choice) if isinstance(choice, tuple) else choice
    return values


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def within(values: Values, space: Mapping[str, Range]) -> bool:
    """Returns True when the point lies in the space."""
    for name, limits in space.items():
        value = values[name]
        if limits.choices is not None:
            if _plain(value) not in {_plain(choice) for choice in limits.choices}:
                return False
        elif limits.low is None or limits.high is None or not limits.low <= value <= limits.high:
            return False
    return True


def size(space: Mapping[str, Range], present: Values) -> float:
    """Returns the number of different points, infinite where a setting is no whole number."""
    return math.prod(
        math.inf if values is None else len(values) for values in _values(space, present).values()
    )


def every_point(space: Mapping[str, Range], present: Values) -> Iterator[dict[str, Any]]:
    """Yields all points of a space that has finitely many."""
    values = _values(space, present)
    for combination in product(*(found or [] for found in values.values())):
        yield dict(zip(values, combination, strict=True))


def _values(space: Mapping[str, Range], present: Values) -> dict[str, list[Any] | None]:
    """Returns the values of each setting, None for infinitely many."""
    found: dict[str, list[Any] | None] = {}
    for name, limits in space.items():
        if limits.choices is not None:
            found[name] = list({_plain(choice): choice for choice in limits.choices}.values())
        elif limits.whole(present[name]) and limits.low is not None and limits.high is not None:
            found[name] = list(range(int(limits.low), int(limits.high) + 1))
        else:
            found[name] = None
    return found
