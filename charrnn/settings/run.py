"""What a run reports, keeps and does in trouble, as a frozen dataclass like those of `config.py`.

Knows values and their limits. Refuses to know what a model learns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from charrnn.settings.checks import between, one_of, positive_integer
from charrnn.settings.config import WIDEST
from charrnn.settings.fields import Record

DivergencePolicy = Literal["stop", "rollback"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(Record):
    """What a run reports, keeps and does in trouble. Nothing here changes the course of the numbers, bar a rollback."""

    log_every: int = 50
    """Steps between lines of metrics.jsonl."""
    validate_every: int | None = None
    """Steps between validations. By default up to about twenty over the budget, more at first; fewer where they would
    take more than a thirteenth of a budget in minutes, or score more than one character for six trained on."""
    sample_every: int | None = None
    """Steps between samples; 0 for none. By default about twenty over the budget, more at first."""
    sample_length: int = 300
    """Characters in a sample."""
    sample_temperature: float = 0.8
    """Temperature of the samples printed in training."""
    prime: str = ""
    """Text the samples begin with; by default they begin as a line of the corpus does."""
    save_every: float = 60.0
    """Seconds between saves of last.safetensors (each validation saves too)."""
    patience: int | None = None
    """Stop when this many validations in a row bring no new best."""
    accumulate: int = 1
    """Compute each step in this many parts of the lanes, one after the other: less memory, the same result."""
    on_divergence: DivergencePolicy = "stop"
    """When loss or gradient is not finite: stop (exit status 5), or rollback to the last save at half the rate."""

    def __post_init__(self) -> None:
        positive_integer("--log-every", self.log_every)
        if self.validate_every is not None:
            positive_integer("--validate-every", self.validate_every)
        if self.sample_every is not None:
            between("--sample-every", self.sample_every, 0, math.inf)
        positive_integer("--sample-length", self.sample_length)
        between("--sample-temperature", self.sample_temperature, 0.0, math.inf)
        between("--save-every", self.save_every, 0.0, math.inf)
        if self.patience is not None:
            positive_integer("--patience", self.patience)
        positive_integer("--accumulate", self.accumulate, WIDEST)
        one_of("--on-divergence", self.on_divergence, get_args(DivergencePolicy))
