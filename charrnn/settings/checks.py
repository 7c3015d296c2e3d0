"""Checks of values that users give, with errors that name the option, the value and what it must be.

Knows numbers and words. Refuses to know what they mean.
"""

from __future__ import annotations

import math
from typing import Any

from charrnn.errors import UsageError

_HUGE = 1e300


def require(condition: bool, option: str, value: object, expected: str) -> None:
    """Raises UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(f"{option} is {value!r}", f"it must be {expected}")


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < _HUGE  # also keeps whole numbers away that no float can hold


def positive_integer(option: str, value: object, most: int | None = None) -> None:
    """Raises UsageError unless `value` is a whole number from 1 to `most`."""
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (most is None or value <= most)
    require(valid, option, value, "a whole number " + (f"from 1 to {most:,}" if most else "of at least 1"))


def between(option: str, value: Any, low: float, high: float, *, high_included: bool = True) -> None:
    """Raises UsageError unless `value` is a number from `low` to `high`."""
    inside = is_number(value) and low <= value and (value <= high if high_included else value < high)
    last = f"{high:g}" if high_included else f"less than {high:g}"
    expected = f"a number of at least {low:g}" if math.isinf(high) else f"a number from {low:g} to {last}"
    require(inside, option, value, expected)


def one_of(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises UsageError unless `value` is one of `choices`."""
    require(value in choices, option, value, "one of " + ", ".join(choices))
