"""Where a run stands over all its members, as events and lines of metrics tell it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from charrnn.events import Finished, Progress
from charrnn.settings.config import Budget
from charrnn.training.course import Course
from charrnn.training.lanes import Reading
from charrnn.training.pace import Counters, Pace
from charrnn.training.trend import trend_of

ALONE = Course()


def place(counters: Counters, ring: Reading, course: Course = ALONE) -> dict[str, Any]:
    """Returns step, epoch, characters and seconds, as every line of metrics has them."""
    position = course.position + counters.position
    return {
        "step": course.step + counters.step,
        "epoch": round(ring.epoch(position), 6),
        "characters": position * ring.lanes,
        "seconds": round(course.seconds + counters.seconds, 3),
    }


def fraction_of(counters: Counters, pace: Pace, course: Course, budget: Budget) -> float:
    """Returns the share of the run's `budget` that is used, of which the one in training has that of its `pace`."""
    own = pace.fraction(counters)
    before = {"steps": course.step, "epochs": pace.ring.epoch(course.position), "minutes": course.seconds / 60}
    return min(1.0, (before[budget.unit] + own * pace.budget.amount) / budget.amount)


def progress_of(
    counters: Counters,
    pace: Pace,
    means: Mapping[str, float],
    learning_rate: float,
    course: Course = ALONE,
    budget: Budget | None = None,
    apart: float = 0.0,
) -> Progress:
    """Returns a report of progress; `means` are those since the last line of metrics (`StepSums.means`).

    `budget` is the run's, where the one in training has a share of it. In `apart` of the seconds nothing was trained:
    they count in a budget of minutes, and in no speed.
    """
    here = place(counters, pace.ring, course)
    fraction = fraction_of(counters, pace, course, budget or pace.budget)
    seconds = course.seconds + counters.seconds
    training = seconds - apart
    counted = seconds if pace.budget.minutes is not None else training
    return Progress(
        fraction=fraction,
        seconds_left=counted / fraction - counted if fraction else math.inf,
        train_nats=means["nats"],
        learning_rate=learning_rate,
        gradient_norm=means["gradient_norm"],
        characters_per_second=here["characters"] / training if training > 0 else 0.0,
        **here,
    )


def finished(
    counters: Counters,
    pace: Pace,
    *,
    skipped: int,
    signal: int | None,
    guess: float = math.inf,
    course: Course = ALONE,
    members: int = 1,
) -> Finished:
    """Returns the last event of a run; a guess costs `guess` nats per character.

    Where validation was going is told of one model alone.
    """
    reached = counters if members == 1 else course
    is_alone = members == 1 or course.member > members  # or the student
    brings_nothing = pace.run.patience is not None and course.member < members and course.brings_nothing
    reason: Literal["budget", "patience", "signal"] = "budget"
    if signal is not None:
        reason = "signal"
    elif pace.is_out_of_patience(counters) if is_alone else brings_nothing:
        reason = "patience"
    position = course.position + counters.position
    return Finished(
        reason=reason,
        step=course.step + counters.step,
        characters=position * pace.ring.lanes,
        seconds=course.seconds + counters.seconds,
        validation_nats=reached.history[-1][2] if reached.history else None,
        best_nats=reached.best_nats,
        best_step=reached.best_step,
        skipped=course.skipped + skipped,
        signal=signal,
        epoch=pace.ring.epoch(position),
        trend=trend_of(reached.history) if members == 1 else None,
        is_worse_than_guessing=reached.best_nats is not None and reached.best_nats > guess,
    )
