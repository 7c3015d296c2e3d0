"""Watches a run from outside: corrects what was forecast once the speed is measured, and notices a crowded machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from charrnn.events import Event, Progress
from charrnn.settings.config import Budget
from charrnn.training.contention import Contention
from charrnn.wording import epochs, rounded

_SECONDS, _STEPS = 5.0, 3
_TOLERATED = 1.25


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run with a budget in minutes was expected to read."""

    characters: float
    size: int
    """Characters of the training part."""
    budget: Budget

    def corrected(self, characters_per_second: float) -> str | None:
        """Returns a sentence with the measured speed; None where it is within a quarter of what was expected."""
        assert self.budget.minutes is not None
        measured = characters_per_second * 60 * self.budget.minutes
        if max(measured, 1.0) / _TOLERATED <= self.characters <= measured * _TOLERATED:
            return None
        return (
            f"the run reads {rounded(characters_per_second)} characters a second: that makes about "
            f"{rounded(measured)} characters ({epochs(measured / self.size)}) in {self.budget}, "
            f"not {rounded(self.characters)}"
        )


class Watch:
    """Is called with each event of a run, and yields notices; each kind comes once at most, but that the forecast is
    corrected again where the cores are not free any more.
    """

    def __init__(self, forecast: Forecast | None, contention: Contention | None, *, bends: bool = False) -> None:
        """`bends` says that the run itself gives up threads which cost more than they bring."""
        self._forecast, self._contention, self._bends = forecast, contention, bends
        self._measured = forecast
        self._first: Progress | None = None

    def __call__(self, event: Event) -> Iterator[str]:
        """Yields what the event gives occasion to say."""
        if not isinstance(event, Progress):
            return
        if self._contention is not None and (left := self._contention()) is not None:
            if self._bends:
                yield "other programs use these cores; the run computes with what they leave, and forecasts follow"
            else:
                yield f"other programs use these cores; --threads {left} may be faster"
            self._forecast, self._first = self._measured, event
        if self._forecast is None:
            return
        first = self._first = self._first or event  # the step before it may have compiled or recorded something
        seconds, steps = event.seconds - first.seconds, event.step - first.step
        if seconds >= _SECONDS and steps >= _STEPS:
            forecast, self._forecast = self._forecast, None
            corrected = forecast.corrected(speed := (event.characters - first.characters) / seconds)
            if corrected is not None:
                assert forecast.budget.minutes is not None
                self._measured = replace(forecast, characters=speed * 60 * forecast.budget.minutes)
                if event.fraction < 0.5:
                    yield corrected
