"""Where a run stands: its counters and pace in the terms of events and metrics.

Pure functions of numbers. Knows what is reported. Refuses to know when, and to whom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from charrnn.events import Finished, Progress
from charrnn.training.pace import Counters, Pace
from charrnn.training.ring import Ring


def place(counters: Counters, ring: Ring) -> dict[str, Any]:
    """Step, epoch, characters and seconds, as every line of metrics has them."""
    position = counters.read(ring.window)
    return {
        "step": counters.step,
        "epoch": round(ring.epoch(position), 6),
        "characters": position * ring.lanes,
        "seconds": round(counters.seconds, 3),
    }


def progress_of(counters: Counters, pace: Pace, means: Mapping[str, float], learning_rate: float) -> Progress:
    """With the means since the last line of metrics (of `Tally.means`)."""
    here, fraction = place(counters, pace.ring), pace.fraction(counters)
    return Progress(
        fraction=fraction,
        seconds_left=counters.seconds / fraction - counters.seconds if fraction else math.inf,
        train_nats=means["nats"],
        learning_rate=learning_rate,
        gradient_norm=means["gradient_norm"],
        characters_per_second=here["characters"] / counters.seconds if counters.seconds else 0.0,
        **here,
    )


def finished(counters: Counters, pace: Pace, *, skipped: int, signal: int | None) -> Finished:
    """As the last event."""
    reason: Literal["budget", "patience", "signal"] = "budget"
    if signal is not None:
        reason = "signal"
    elif pace.is_out_of_patience(counters):
        reason = "patience"
    return Finished(
        reason=reason,
        step=counters.step,
        characters=counters.read(pace.ring.window) * pace.ring.lanes,
        seconds=counters.seconds,
        validation_nats=counters.history[-1][2] if counters.history else None,
        best_nats=counters.best_nats,
        best_step=counters.best_step,
        skipped=skipped,
        signal=signal,
    )
