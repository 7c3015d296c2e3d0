"""What the value of a setting may be, and the error that names the option, the value and what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from charrnn.errors import UsageError

LARGEST = 3e38
"""What is computed with is made fp32, which holds no number that is much larger."""
MOST = 10**15
"""Nothing at all is counted further: sums and products of such numbers fit into 64 bits, or a float holds them."""
WIDEST = 1 << 20
"""Nothing that is counted in a model or a step is larger."""

MOST_MEMBERS = 64
"""Of an ensemble."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a value may be."""

    kind: Any
    """The type that the command line makes of a word; a Literal where there are words to choose from."""
    accepts: Callable[[Any], bool]
    expected: str
    """What the value must be, as the end of a sentence."""
    beyond: tuple[float, str] | None = None
    """What no number may be larger than in size, and the end of the sentence for one that is, where the usual one names
    no such bound."""
    read: Callable[[str], Any] | None = None
    """Makes a value of a word of the command line, before it is checked; None where the kind is enough."""

    def require(self, option: str, value: object) -> None:
        """Raises UsageError, in the name of `option`, unless the value is accepted."""
        expected = self.expected
        if self.beyond is not None and isinstance(value, (int, float)) and self.beyond[0] < abs(value) < math.inf:
            expected = self.beyond[1]
        require(self.accepts(value), option, value, expected)


def require(condition: bool, option: str, value: object, expected: str) -> None:
    """Raises UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(f"{option} is {value!r}", f"it must be {expected}")


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False) -> Check:
    """A finite number from `low` to `high`; with `above` not `low` itself, with `below` not `high` itself."""

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not abs(value) <= LARGEST:  # so it is not nan either
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
    beyond = (LARGEST, f"at most {LARGEST:g} in size") if math.isinf(high) else None
    return Check(float, accepts, expected, beyond)


def whole(low: int = 1, high: int = MOST) -> Check:
    """A whole number from `low` to `high`."""

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    if high == MOST:
        return Check(int, accepts, f"a whole number of at least {low}", (MOST, f"at most {MOST:,}"))
    return Check(int, accepts, f"a whole number from {low} to {high:,}")


def one_of(words: Any) -> Check:
    """One of the words of a Literal."""
    choices = get_args(words)
    return Check(words, lambda value: value in choices, "one of " + ", ".join(choices))


def text(expected: str) -> Check:
    """Any text; `expected` says what it is taken for."""
    return Check(str, lambda value: isinstance(value, str), expected)


SHARE = number(0.0, 1.0)
SHARE_ABOVE_0 = number(0.0, 1.0, above=True)
RATE = number(0.0, 1.0, below=True)
"""A share that is not all."""
AT_LEAST_0 = number(0.0)
ABOVE_0 = number(0.0, above=True)
COUNT = whole(1)
SIZE = whole(1, WIDEST)
SEED = whole(0, 2**63 - 1)
FLAG = Check(bool, lambda value: isinstance(value, bool), "true or false")
TEXT = text("a text")
PATH = Check(Path, lambda value: isinstance(value, Path), "a path")
NAME = Check(
    str,
    lambda value: isinstance(value, str) and value.strip(". ") != "" and not set(value) & set("/\\\0"),
    "the name of a folder, without / and other than . and ..",
)
"""One part of a path, such as `emma`."""
