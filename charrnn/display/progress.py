"""Shows a training run on the terminal: one bar on stderr; validations and samples, line by line, on stdout.

Without a terminal, everything is printed as plain lines.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import IO, Any, Self

from charrnn.display.safe import visible, write
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Validated

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
_RULE = "\u2500"


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


def bits(nats: float) -> float:
    """Returns a number of nats converted to bits."""
    return nats / math.log(2)


class _Barred:
    """A display with one progress bar at most, which is removed when its context is left."""

    _bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.close()
            self._bar = None


class TrainingDisplay(_Barred):
    """Shows the events of a run. A stream that breaks (a closed pipe, a terminal that hung up) never ends the run."""

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None, *, quiet: bool = False) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._quiet = quiet
        self._plain_at = -math.inf
        self._headed_step: int | None = None

    def show(self, event: Event) -> None:
        """Shows one event of the run."""
        if self._quiet:
            return
        with contextlib.suppress(OSError, ValueError):
            self._draw(event)

    def note(self, *texts: str) -> None:
        """Draws a notice for each text."""
        for text in texts:
            self.show(Notice(text))

    def _draw(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress(event)
            case Validated():
                self._headed_step = event.step
                train = "" if event.train_nats is None else f"train {bits(event.train_nats):.3f} \u00b7 "
                best = " \u00b7 best so far" if event.is_best else ""
                heading = (
                    f"step {event.step:,} \u00b7 epoch {event.epoch:.2f} \u00b7 {train}"
                    f"validation {bits(event.validation_nats):.3f} bpc{best}"
                )
                self._line(f"{_RULE * 2} {heading} ".ljust(80, _RULE), self._out)
            case Sampled():
                if event.step != self._headed_step:
                    self._line(f"{_RULE * 2} step {event.step:,} ".ljust(80, _RULE), self._out)
                text = event.text if event.text.endswith("\n") else event.text + "\n"
                self._line(text, self._out)
            case Notice():
                self._line(visible(f"note: {event.text}", kept="\t"), self._err)
            case RolledBack():
                back = f"diverged at step {event.diverged_at:,}; back at step {event.step:,}"
                self._draw(Notice(f"{back} with {event.learning_rate_scale:g} times the learning rate"))
            case Finished():
                self.close()
                self._line(self._summary(event), self._err)

    def _summary(self, event: Finished) -> str:
        why = {"budget": "finished", "patience": "stopped: no more gain", "signal": "stopped by a signal, saved"}
        spent = f"{event.step:,} steps, {event.characters:,} characters, {duration(event.seconds)}"
        text = f"{why[event.reason]} after {spent}"
        if event.skipped:
            text += f", {event.skipped:,} skipped for overflow"
        if event.best_nats is None:
            return text
        return (
            f"{text}; best validation {bits(event.best_nats):.4f} bpc ({event.best_nats:.4f} nats) "
            f"at step {event.best_step:,}"
        )

    def _progress(self, event: Progress) -> None:
        figures = (
            f"{event.characters_per_second:,.0f} chars/s \u00b7 {bits(event.train_nats):.3f} bpc \u00b7 "
            f"lr {event.learning_rate:.2g} \u00b7 |g| {event.gradient_norm:.2f} \u00b7 "
            f"{duration(event.seconds_left)} left"
        )
        if not self._err.isatty():
            if time.monotonic() - self._plain_at >= _SECONDS_BETWEEN_PLAIN_LINES:
                self._plain_at = time.monotonic()
                print(f"{event.fraction:4.0%} step {event.step:,} \u00b7 {figures}", file=self._err, flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, file=self._err, dynamic_ncols=True, leave=False, mininterval=0.0,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
            )  # fmt: skip
        self._bar.set_description_str(figures, refresh=False)
        self._bar.n = event.fraction
        self._bar.refresh()

    def _line(self, text: str, stream: IO[str]) -> None:
        if self._bar is not None:
            self._bar.clear()
        write(text + "\n", stream)
        stream.flush()
        if self._bar is not None:
            self._bar.refresh()


class WorkDisplay(_Barred):
    """A progress bar for work that reports `(what, done, in all)`, such as downloading. Short work shows no bar."""

    def __init__(self, *, quiet: bool = False, delay: float = 1.0) -> None:
        self._quiet = quiet
        self._delay = delay
        self._doing = ""

    def __call__(self, doing: str, done: int, total: int) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        with contextlib.suppress(OSError, ValueError):
            self._draw(doing, done, total)

    def _draw(self, doing: str, done: int, total: int) -> None:
        if self._bar is None or doing != self._doing:
            self.close()
            from tqdm import tqdm

            self._doing = doing
            self._bar = tqdm(
                total=total, desc=doing, unit="B", unit_scale=True, file=sys.stderr, leave=False, delay=self._delay
            )
        self._bar.update(done - self._bar.n)
