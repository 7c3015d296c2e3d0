"""The learning curves of a run: the losses that its metrics hold, or else those that its checkpoint remembers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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


def curves_of(records: Iterable[object], progress: Mapping[str, Any]) -> Curves:
    """Returns the curves of a run from the lines of its metrics, or without any from a checkpoint's `progress`.

    Lines that are not as this program writes them are left out.
    """
    train: list[Point] = []
    validation: list[Point] = []
    each = _characters_per_step(progress)
    is_followed = False  # whether a line of training has come since the last validation
    for record in sorted(filter(_is_placed, records), key=lambda record: record["step"]):  # type: ignore[index]
        assert isinstance(record, Mapping)
        step, nats = record["step"], record.get("train_nats")
        characters = record.get("characters", step * each)
        if is_number(record.get("validation_nats")):
            validation.append(Point(step, characters, record["validation_nats"]))
        # A validation's line has the mean over all steps since the one before: the lines between tell it more finely.
        is_between = "learning_rate" in record
        if nats is not None and is_number(nats) and (is_between or not is_followed):
            train.append(Point(step, characters, nats))
        is_followed = is_between
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


def _is_placed(record: object) -> bool:
    """Returns whether a line of metrics says where in the run it was written."""
    return isinstance(record, Mapping) and is_number(record.get("step")) and is_number(record.get("characters", 0.0))


def is_number(value: object) -> bool:
    """Returns whether a value from a file is a finite number; no counter or loss is as large as the bound."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
