"""Tunes the settings of an evaluation on held-out text, by coordinate descent over ladders of values.

Each setting has a ladder of values and starts on one of its rungs. The search moves one rung at a time as long as that
lowers the loss, first in one setting, then in the next, and around again until nothing helps. It is deterministic, and
computes no point twice. A temperature alone is always found: the loss is convex in its inverse and has one minimum.

The search sees only named numbers and a loss, no models or texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from charrnn.evaluation.dynamic_rule import DEFAULTS, RuleName

_LEAST_GAIN = 1e-4
"""The smallest gain, in nats per character, that is worth a step."""
_ROUNDS = 4
TEMPERATURES = [round(0.5 + 0.02 * rung, 2) for rung in range(51)]
"""The temperatures that the search may choose: those of Melis et al. 2020 (arXiv 1909.01792), in steps of 0.02, with
more room on both sides."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried, and their loss, which is infinite where it was NaN."""

    settings: dict[str, float]
    nats_per_character: float


def ladders_of(rule: RuleName) -> dict[str, list[float]]:
    """Returns the values that the search may choose for each field of a rule, by name; they include the defaults."""
    middle = DEFAULTS[rule]
    ladders = {"learning_rate": _around(middle.learning_rate, 2, 8), "prior": [0.0, *_around(middle.prior, 2, 8)]}
    return {**ladders, "epsilon": _around(middle.epsilon, 4, 5)} if rule == "rms" else ladders


def _around(middle: float, factor: int, rungs: int) -> list[float]:
    return [middle * float(factor) ** rung for rung in range(-rungs, rungs + 1)]


def search(
    loss: Callable[[Mapping[str, float]], float],
    ladders: Mapping[str, Sequence[float]],
    start: Mapping[str, float],
    report: Callable[[Trial], None] = lambda _trial: None,
) -> tuple[Trial, list[Trial]]:
    """Returns the best of the settings tried, and all of them in the order in which they were tried.

    `start` names a rung of every ladder; a setting in `start` that has no ladder keeps its value.
    """
    trials: dict[tuple[int, ...], Trial] = {}

    def tried(rungs: Mapping[str, int]) -> Trial:
        key = tuple(rungs.values())
        if key not in trials:
            settings = {**start, **{name: ladders[name][rung] for name, rung in rungs.items()}}
            found = loss(settings)
            trials[key] = Trial(settings, found if math.isfinite(found) else math.inf)
            report(trials[key])
        return trials[key]

    here = {name: list(ladder).index(start[name]) for name, ladder in ladders.items()}
    best = tried(here)
    for _ in range(_ROUNDS):
        before = best
        for name, ladder in ladders.items():
            for direction in (1, -1):
                has_moved = False
                while 0 <= here[name] + direction < len(ladder):
                    there = {**here, name: here[name] + direction}
                    trial = tried(there)
                    if not trial.nats_per_character < best.nats_per_character - _LEAST_GAIN:
                        break
                    here, best, has_moved = there, trial, True
                if has_moved:
                    break  # the opposite direction leads back to where the search came from
        if best is before:
            break
    return best, list(trials.values())
