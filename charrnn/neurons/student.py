"""Student's t distribution for whole degrees of freedom, for which its probabilities are finite sums.

Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import functools
import math


@functools.cache
def student_quantile(degrees: int, share: float = 0.95) -> float:
    """Returns the t for which |T| < t with probability `share`, T having Student's distribution; found by bisection."""
    low, high = 0.0, math.pi / 2  # bounds of the angle whose tangent is t over the root of the degrees
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, degrees) < share else (low, angle)
    return math.tan(low) * math.sqrt(degrees)


def student_p_value(t: float, degrees: int) -> float:
    """Returns the probability that |T| is `t` or more: the p-value of a two-sided test."""
    return max(0.0, 1 - _within(math.atan(abs(t) / math.sqrt(degrees)), degrees))


def _within(angle: float, degrees: int) -> float:
    is_odd = degrees % 2
    power = math.cos(angle) if is_odd else 1.0
    term, total = power, 0.0
    for k in range(1 + is_odd, degrees, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    return (angle + math.sin(angle) * total) * 2 / math.pi if is_odd else math.sin(angle) * total
