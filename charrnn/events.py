"""What a training run reports while it goes on.

`train` yields these values and never prints; whoever runs it decides what to show. They hold plain numbers and
text, so that they can be logged, tested or drawn. Losses are in nats per character.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know once: a choice made for them, a kind of resume, a file left alone."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the run stands. Sent a few times a second at most, and whenever a line of metrics is written."""

    step: int
    epoch: float
    characters: int
    fraction: float
    """Share of the budget used, 0 to 1."""
    seconds: float
    seconds_left: float
    train_nats: float
    """Mean over the steps since the last line of metrics."""
    learning_rate: float
    gradient_norm: float
    """Global norm before clipping, mean over the same steps."""
    characters_per_second: float


@dataclass(frozen=True, slots=True)
class Validated:
    """The held-out part was scored."""

    step: int
    epoch: float
    characters: int
    seconds: float
    train_nats: float | None
    """Mean training loss since the validation before; None where no step lies between."""
    validation_nats: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """Text the model wrote at this step."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is whole and durable on disk."""

    path: Path
    step: int


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Training diverged and went back to the last good checkpoint with a smaller learning rate."""

    diverged_at: int
    step: int
    learning_rate_scale: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event. `signal` is the number of the signal that ended the run, if one did."""

    reason: Literal["budget", "patience", "signal"]
    step: int
    characters: int
    seconds: float
    validation_nats: float | None
    best_nats: float | None
    best_step: int
    skipped: int = 0
    """Steps whose gradient overflowed the range of fp16 and that changed nothing."""
    signal: int | None = None


Event = Notice | Progress | Validated | Sampled | Saved | RolledBack | Finished
