"""Says in a line where a training run stands, and how it ended."""

from __future__ import annotations

import math
import signal

from charrnn.display.blocks import bits, short
from charrnn.events import Finished, Progress, Validated
from charrnn.wording import count, figure


def duration(seconds: float) -> str:
    """Returns a time span in readable units.

    >>> duration(42), duration(3 * 60 + 5), duration(7500)
    ('42 s', '3 min 05 s', '2 h 05 min')
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def figures(event: Progress, width: int | None) -> str:
    """Returns what a line of progress says: as much as fits into `width` cells, the most important first."""
    rate = figure(event.learning_rate)
    by_importance = {
        f"{duration(event.seconds_left)} left": 4,
        f"train {short(bits(event.train_nats), 3)} bpc": 1,
        f"{event.characters_per_second:,.0f} characters/s": 0,
        f"learning rate {rate}": 2,
        f"gradient {short(event.gradient_norm, 2)}": 3,
    }
    kept: list[str] = []
    for text in by_importance:
        if width is None or len(" \u00b7 ".join([*kept, text])) <= width:
            kept.append(text)
    return " \u00b7 ".join(sorted(kept, key=by_importance.__getitem__))


def summary(event: Finished) -> str:
    """Returns the line that ends a run: why, after how much, and its best validation."""
    why = {"budget": "finished", "patience": "stopped early, since validation no longer improved,"}
    ended = why.get(event.reason) or f"stopped by {signal_name(event.signal)} and saved"
    text = (
        f"{ended} after {count(event.step, 'step')}, {count(event.characters, 'character')} "
        f"and {duration(event.seconds)}"
    )
    if event.skipped:
        text += f", with {count(event.skipped, 'step')} skipped for overflow"
    if event.best_nats is None:
        return text
    worse = ", which is worse than guessing" if event.is_worse_than_guessing else ""
    return (
        f"{text}; best validation {bits(event.best_nats):.4f} bpc ({event.best_nats:.4f} nats) "
        f"at step {event.best_step:,}{worse}"
    )


def averaged(event: Validated) -> str:
    """Returns the line that tells what a member reaches alone, and with those before it."""
    assert event.member_nats is not None
    assert event.ensemble_nats is not None
    return (
        f"member {event.member} of {event.members}: {bits(event.member_nats):.4f} bpc, with the "
        f"{'member' if event.member == 2 else 'members'} before it {bits(event.ensemble_nats):.4f}"
    )


def signal_name(number: int | None) -> str:
    """Returns what a reader calls a signal: Ctrl-C, or its name."""
    if number is None:
        return "a signal"
    try:
        return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
