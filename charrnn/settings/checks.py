"""What the value of a setting may be, and the error that names the option, the value and what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from charrnn.errors import UsageError

_HUGE = 1e300
"""No float holds a number that is much larger."""
WIDEST = 1 << 20
"""Nothing that is counted in a model or a step is larger."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a value may be."""

    kind: Any
    """The type that the command line makes of a word; a Literal where there are words to choose from."""
    accepts: Callable[[Any], bool]
    expected: str
    """What the value must be, as the end of a sentence."""

    def require(self, option: str, value: object) -> None:
        """Raises UsageError, in the name of `option`, unless the value is accepted."""
        require(self.accepts(value), option, value, self.expected)


def require(condition: bool, option: str, value: object, expected: str) -> None:
    """Raises UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(f"{option} is {value!r}", f"it must be {expected}")


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False) -> Check:
    """A finite number from `low` to `high`; with `above` not `low` itself, with `below` not `high` itself."""

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not abs(value) < _HUGE:  # so it is not nan either
            return False
        return (low < value if above else low <= value) and (value < high if below else value <= high)

    if math.isinf(low):
        expected = "a finite number"
    elif math.isinf(high):
        expected = f"a number {'above' if above else 'of at least'} {low:g}"
    elif above:
        expected = f"a number above {low:g} and at most {high:g}"
    else:
        expected = f"a number from {low:g} to {'less than ' if below else ''}{high:g}"
    return Check(float, accepts, expected)


def whole(low: int = 1, high: int | None = None) -> Check:
    """A whole number of at least `low` and, where it is given, at most `high`."""

    def accepts(value: Any) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and low <= value and (value < _HUGE if high is None else value <= high)

    return Check(int, accepts, f"a whole number {f'of at least {low}' if high is None else f'from {low} to {high:,}'}")


def one_of(words: Any) -> Check:
    """One of the words of a Literal."""
    choices = get_args(words)
    return Check(words, lambda value: value in choices, "one of " + ", ".join(choices))


def text(expected: str) -> Check:
    """Any text; `expected` says what it is taken for."""
    return Check(str, lambda value: isinstance(value, str), expected)


SHARE = number(0.0, 1.0)
RATE = number(0.0, 1.0, below=True)
"""A share that is not all."""
AT_LEAST_0 = number(0.0)
ABOVE_0 = number(0.0, above=True)
COUNT = whole(1)
SIZE = whole(1, WIDEST)
SEED = whole(0, 2**63 - 1)
FLAG = Check(bool, lambda value: isinstance(value, bool), "true or false")
TEXT = text("a text")
SOME_TEXT = Check(str, lambda value: isinstance(value, str) and value != "", "at least one character")
PATH = Check(Path, lambda value: isinstance(value, Path), "a path")
NAME = Check(
    str,
    lambda value: isinstance(value, str) and value.strip(". ") != "" and not set(value) & set("/\\\0"),
    "the name of a folder, without / and other than . and ..",
)
"""One part of a path, such as `emma`."""
