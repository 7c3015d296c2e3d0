"""The learning curves of a run: the losses that its metrics hold, or else those that its checkpoint remembers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from charrnn.checkpoints.metrics import Entry, is_number, is_report, is_validation


@dataclass(frozen=True, slots=True)
class Point:
    """A loss in nats per character, and where in the run it was measured."""

    step: int
    characters: float
    """The number of characters trained on until then."""
    nats: float

    @property
    def bpc(self) -> float:
        """The loss in bits per character."""
        return self.nats / math.log(2)


@dataclass(frozen=True, slots=True)
class Curves:
    """The training loss and the validation loss over a run, in the order of the steps."""

    train: Sequence[Point] = field(default_factory=tuple)
    """Each is the mean over the steps since the point before."""
    validation: Sequence[Point] = field(default_factory=tuple)

    @property
    def best(self) -> Point | None:
        """The lowest validation loss, the first of several; None where nothing was validated."""
        return min(self.validation, key=lambda point: point.nats, default=None)


def curves_of(lines: Sequence[Entry], progress: Mapping[str, Any]) -> Curves:
    """Returns the curves of a run from the lines of its metrics, or without any from a checkpoint's `progress`.

    A loss that is no number has no point.
    """
    train: list[Point] = []
    validation: list[Point] = []
    each = _characters_per_step(progress)
    is_followed = False  # whether a report of training has come since the last validation
    for line in lines:
        step, nats = line["step"], line.get("train_nats")
        characters = line.get("characters", step * each)
        if is_validation(line) and is_number(line["validation_nats"]):
            validation.append(Point(step, characters, line["validation_nats"]))
        # A validation's line has the mean over all steps since the one before: the reports between tell it more finely.
        if nats is not None and is_number(nats) and (is_report(line) or not is_followed):
            train.append(Point(step, characters, nats))
        is_followed = is_report(line)
    return Curves(train, validation) if train or validation else _remembered(progress)


def _remembered(progress: Mapping[str, Any]) -> Curves:
    """Returns the curves from the list of validations that a checkpoint holds."""
    each = _characters_per_step(progress)
    history = [(step, step * each, train, validation) for step, train, validation in progress["history"]]
    return Curves(
        [Point(step, characters, nats) for step, characters, nats, _ in history if is_number(nats)],
        [Point(step, characters, nats) for step, characters, _, nats in history if is_number(nats)],
    )


def _characters_per_step(progress: Mapping[str, Any]) -> float:
    return float(progress["characters"] / max(progress["step"], 1))
