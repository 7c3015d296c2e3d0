"""Which iterates of a search by conjugate gradients are kept: those whose numbers grow by a factor (Martens 2010)."""

from __future__ import annotations

import math

_APART = 1.3


def kept_steps(most: int) -> list[int]:
    """Returns the numbers of the iterates that are kept of `most` steps: each is about 1.3 times the one before.

    >>> kept_steps(10)
    [1, 2, 3, 4, 5, 7, 9, 10]
    """
    found, number = [], 1.0
    while number < most:
        found.append(math.ceil(number))
        number *= _APART
    return [*dict.fromkeys([*(step for step in found if step < most), most])]
