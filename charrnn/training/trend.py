"""Tells from the validations of a run whether more training would help.

The rule looks at the last quarter of the steps, from 3/4 of the last validated step on:

    stopped   the best validation lies before that quarter, and two or more that came later did not reach it
    falling   the best validation of that quarter is 0.01 bits per character or more below the value at its beginning
    flat      neither

The value at the quarter's beginning is interpolated between the validations around it, in the logarithm of the step,
since losses fall about so. 0.01 bits are two standard errors of a validation on 250,000 characters
(`recipe.validation_share`). A learning rate that falls towards the end makes validation fall too: this is not told
apart, as a run that goes on with a larger budget has a larger rate again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from charrnn.events import Trend

_LATE = 0.75
_LEAST = 0.01 * math.log(2)


def trend_of(history: Sequence[Sequence[float | None]]) -> Trend | None:
    """Returns where validation was going; None where fewer than two validations tell, or none before the last quarter.

    `history` has a list for each validation: step, training nats, validation nats (None where nothing is held out).
    """
    points = [(step, nats) for step, _, nats in history if step and nats is not None]
    if len(points) < 2:
        return None
    late_from = _LATE * points[-1][0]
    late = [nats for step, nats in points if step > late_from]
    if len(late) == len(points):
        return None
    best_step, best = min(points, key=lambda point: point[1])
    fall = _value_at(late_from, points) - min(late)
    if best < min(late) and len(late) >= 2:
        return Trend("stopped", fall, round(best_step))
    return Trend("falling" if fall >= _LEAST else "flat", fall, round(best_step))


def _value_at(step: float, points: Sequence[tuple[float, float]]) -> float:
    """Returns the nats at `step`, which lies between two of the points, interpolated in the logarithm of the step."""
    pairs = zip(points, points[1:], strict=False)
    before, after = next((one, other) for one, other in pairs if one[0] <= step < other[0])
    share = math.log(step / before[0]) / math.log(after[0] / before[0])
    return before[1] + share * (after[1] - before[1])
