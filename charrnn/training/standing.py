"""Where a run stands over all its members, as events and lines of metrics tell it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from charrnn.events import Finished, Progress
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


def fraction_of(counters: Counters, pace: Pace, course: Course, members: int, distill: float = 0.0) -> float:
    """Returns the share of the run's budget that is used, where its last share `distill` is the student's."""
    if course.member > members:
        return 1.0 - distill * (1.0 - pace.fraction(counters))
    return (1.0 - distill) * (course.member - 1 + pace.fraction(counters)) / members


def progress_of(
    counters: Counters,
    pace: Pace,
    means: Mapping[str, float],
    learning_rate: float,
    course: Course = ALONE,
    members: int = 1,
    distill: float = 0.0,
    apart: float = 0.0,
) -> Progress:
    """Returns a report of progress; `means` are those since the last line of metrics (`StepSums.means`).

    In `apart` of the seconds nothing was trained: they count in a budget of minutes, and in no speed.
    """
    here, fraction = place(counters, pace.ring, course), fraction_of(counters, pace, course, members, distill)
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
