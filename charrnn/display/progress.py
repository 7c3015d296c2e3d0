"""Shows a training run on the terminal: one bar on stderr; rows of figures and samples, line by line, on stdout.

Without a terminal, or where stdout is a pipe, there is no bar: a plain line of progress comes once in a while.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
import time
from typing import IO, Any, Self

from charrnn.display.blocks import heading, row, sample_lines, shortened
from charrnn.display.safe import visible, write
from charrnn.display.status import figures, summary
from charrnn.display.wrap import columns, shell_lines, wrapped
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Validated

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
_ROWS_UNDER_HEADING = 12
_BESIDE_FIGURES = len("100%|") + len("| ") + 6
"""Cells of a line with the bar that are not for figures: the percentage, the bar itself and its ends."""


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
    """Shows the events of a run. A stream that breaks (a closed pipe, a terminal that hung up) never ends the run.

    Samples are shown whole where `whole_samples` says so, else the early ones are shortened.
    """

    def __init__(
        self,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        *,
        quiet: bool = False,
        whole_samples: bool = False,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._quiet = quiet
        self._whole_samples = whole_samples
        # What a pipe carries may come out on this terminal too (`| tee`), in the middle of a bar.
        self._has_bar = columns(self._err) is not None and not _is_pipe(self._out)
        self._plain_at = -math.inf
        self._shown_step: int | None = None
        self._rows = 0

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

    def tell(self, *lines: str) -> None:
        """Writes lines to stderr that are no notices, such as what is being done now."""
        with contextlib.suppress(OSError, ValueError):
            for line in () if self._quiet else lines:
                self._line(visible(line, kept="\t"), self._err)

    def tell_command(self, *words: str) -> None:
        """Writes a command to stderr, to be copied; once the bar is gone."""
        if self._quiet:
            return
        with contextlib.suppress(OSError, ValueError):
            lines = shell_lines([visible(word, kept="") for word in words], columns(self._err))
            self._err.write("\n".join(lines) + "\n")
            self._err.flush()

    def _draw(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress(event)
            case Validated():
                self._row(event.step, event.characters, event.train_nats, event.validation_nats, event.is_best)
            case Sampled():
                self._sample(event)
            case Notice():
                self._line(visible(f"note: {event.text}", kept="\t"), self._err)
            case RolledBack():
                self._draw(
                    Notice(
                        f"training diverged at step {event.diverged_at:,}; it goes on from step {event.step:,} with "
                        f"{event.learning_rate_scale:g} times the learning rate"
                    )
                )
            case Finished():
                self.close()
                self._line(summary(event), self._err)

    def _row(
        self, step: int, characters: int, train: float | None, validation: float | None, is_best: bool = False
    ) -> None:
        wide = columns(self._out)
        if self._rows % _ROWS_UNDER_HEADING == 0:
            self._line(heading(wide), self._out)
        self._rows += 1
        self._shown_step = step
        self._line(row(wide, step, characters, train, validation, is_best=is_best), self._out)

    def _sample(self, event: Sampled) -> None:
        if event.step != self._shown_step:
            self._row(event.step, event.characters, event.train_nats, None)
        text = event.text if self._whole_samples else shortened(event.text, event.fraction, event.primed)
        for line in sample_lines(text, columns(self._out)):
            self._line(line, self._out)
        self._line("", self._out)

    def _progress(self, event: Progress) -> None:
        if self._has_bar:
            self._draw_bar(event)
        elif time.monotonic() - self._plain_at >= _SECONDS_BETWEEN_PLAIN_LINES:
            self._plain_at = time.monotonic()
            begin = f"{event.fraction:4.0%} \u00b7 step {event.step:,}"
            wide = columns(self._err)
            self._line(f"{begin} \u00b7 {figures(event, None if wide is None else wide - len(begin) - 3)}", self._err)

    def _draw_bar(self, event: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, file=self._err, dynamic_ncols=True, leave=False, mininterval=0.0,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
            )  # fmt: skip
        wide = columns(self._err) or 80
        self._bar.set_description_str(figures(event, wide - _BESIDE_FIGURES), refresh=False)
        self._bar.n = event.fraction
        self._bar.refresh()

    def _line(self, text: str, stream: IO[str]) -> None:
        if self._bar is not None:
            self._bar.clear()
        if stream is self._err:
            text = "\n".join(wrapped(text, columns(stream), hanging="  "))
        write(text + "\n", stream)
        stream.flush()
        if self._bar is not None:
            self._bar.refresh()


def _is_pipe(stream: IO[str]) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


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
                total=total, desc=doing, file=sys.stderr, dynamic_ncols=True, leave=False, delay=self._delay,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {remaining} left",
            )  # fmt: skip
        self._bar.update(done - self._bar.n)
