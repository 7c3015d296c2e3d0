"""What a run reports, keeps and does in trouble, as a frozen dataclass like those of `config.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from charrnn.settings.checks import AT_LEAST_0, COUNT, SIZE, TEXT, one_of, whole
from charrnn.settings.fields import Record, setting

DivergencePolicy = Literal["stop", "rollback"]

_run = partial(setting, panel="Run", may_change=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(Record):
    """What a run reports, keeps and does in trouble. Nothing here changes the course of the numbers, bar a rollback."""

    validate_every: int | None = _run(None, COUNT, "--validate-every", metavar="STEPS")
    """Steps between validations, by default for up to about twenty over the budget, more at first, and fewer where they
    would take more than a thirteenth of a budget in minutes, or score more than one character for six trained on."""
    sample_every: int | None = _run(None, whole(0), "--sample-every", level="everyday", metavar="STEPS")
    """Steps between samples, 0 for none, by default with each validation, and between validations that are rare."""
    sample_length: int = _run(300, SIZE, "--sample-length")
    """Characters in a sample of samples.txt, of which the screen shows fewer at first unless this is given."""
    sample_temperature: float = _run(0.8, AT_LEAST_0, "--sample-temperature")
    """Temperature of the samples printed in training."""
    prime: str = _run("", TEXT, "--prime", level="everyday")
    """Text the samples begin with, by default a new line."""
    log_every: int = _run(50, COUNT, "--log-every", metavar="STEPS")
    """Steps between lines of metrics.jsonl."""
    save_every: float = _run(60.0, AT_LEAST_0, "--save-every", metavar="SECONDS")
    """Seconds between saves of last.safetensors (each validation saves too)."""
    keep_every: int | None = _run(None, COUNT, "--keep-every", metavar="STEPS")
    """Steps between checkpoints that are kept along the way beside best and last, such as step-00001000.safetensors,
    with the weights that are validated and sampled."""
    patience: int | None = _run(None, COUNT, "--patience")
    """Validations in a row without a new best that stop the run; those before --average-from begins do not count."""
    accumulate: int = _run(1, SIZE, "--accumulate", metavar="PARTS")
    """Parts of the lanes that each step is computed in, one after the other, for less memory and the same result."""
    on_divergence: DivergencePolicy = _run("stop", one_of(DivergencePolicy), "--on-divergence")
    """What to do when loss or gradient is not finite, or the loss three times that of guessing: stop (exit status 5)
    or rollback to the last save at half the rate."""
