"""The events that a training run yields while it goes on.

The run never prints; its caller decides what to show. Events hold plain numbers and text, so that they can be logged,
tested or drawn. Losses are in nats per character.
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
    """The run's progress, sent a few times a second at most, and whenever a line of metrics is written."""

    step: int
    epoch: float
    characters: int
    fraction: float
    """Share of the budget used, 0 to 1."""
    seconds: float
    seconds_left: float
    train_nats: float
    """Mean training loss over the steps since the last line of metrics."""
    learning_rate: float
    gradient_norm: float
    """Global norm of the gradient before clipping, mean over the steps since the last line of metrics."""
    characters_per_second: float


@dataclass(frozen=True, slots=True)
class Validated:
    """The held-out part was scored."""

    step: int
    epoch: float
    characters: int
    seconds: float
    train_nats: float | None
    """Mean training loss since the previous validation or sample; None where no step was made since."""
    validation_nats: float
    """Of an ensemble the better of the member in training alone and its average with those before it."""
    is_best: bool
    member: int | None = None
    """The number of the member in training, from 1; None in a run of one model."""
    members: int = 1
    member_nats: float | None = None
    """What the member in training reaches alone."""
    ensemble_nats: float | None = None
    """What the average of it and the members before it reaches; None of the first."""
    is_student: bool = False
    """Whether the model in training is the student of all members."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sample of text that the model wrote at this step."""

    step: int
    text: str
    characters: int = 0
    """Characters trained on so far."""
    fraction: float = 1.0
    """Share of the budget used, 0 to 1."""
    train_nats: float | None = None
    """Mean training loss since the previous validation or sample; None where no step was made since."""
    primed: int = 0
    """How many characters at its beginning were given, not written."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint has been written completely and synced to disk."""

    path: Path
    step: int


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Training diverged and went back to the last good checkpoint with a smaller learning rate."""

    diverged_at: int
    step: int
    learning_rate_scale: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Where the validations of a run were going at its end (`training/trend.py` has the rule)."""

    kind: Literal["falling", "flat", "stopped"]
    fall_nats: float
    """By how much validation fell over the last quarter of the steps."""
    best_step: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run. `signal` is the number of the signal that ended it, if one did."""

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
    epoch: float = 0.0
    trend: Trend | None = None
    """None where too few validations were made to tell."""
    is_worse_than_guessing: bool = False
    """Whether even the best validation costs more than to hold all characters to be equally likely."""


Event = Notice | Progress | Validated | Sampled | Saved | RolledBack | Finished
