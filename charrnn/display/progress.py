"""Shows a training run on the terminal: one bar on stderr; rows of figures and samples, line by line, on stdout.

Without a terminal, or where stdout is a pipe, there is no bar: a plain line of progress comes once in a while.
All is written by a thread of its own, so that a run never waits for whoever reads it.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
import time
from functools import partial
from typing import IO, Any, Self

from charrnn.display.bar import make_bar
from charrnn.display.blocks import heading, row, sample_lines, shortened
from charrnn.display.safe import visible, write
from charrnn.display.status import averaged, figures, summary
from charrnn.display.wrap import columns, shell_lines, wrapped
from charrnn.display.writer import Write, Writer
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Saved, Validated
from charrnn.wording import count

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
_ROWS_UNDER_HEADING = 12
_BESIDE_FIGURES = len("100%|") + len("| ") + 6
"""Cells of a line with the bar that are not for figures: the percentage, the bar itself and its ends."""


class TrainingDisplay:
    """Shows the events of a run, to be used as a context, whose end waits until all is written.

    Nothing else waits for a reader, and a stream that breaks (a closed pipe, a terminal that hung up) never ends the
    run. Samples are shown whole where `whole_samples` says so, else the early ones are shortened.
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
        self._bar: Any = None
        self._writer = Writer(self._left_out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._put(self._remove_bar)
        self._writer.close()

    def show(self, event: Event) -> None:
        """Shows one event of the run."""
        if self._quiet or isinstance(event, Saved):
            return
        lines, characters = 1, 0
        if isinstance(event, Progress):
            if self._has_bar:
                self._put(partial(self._draw_bar, event), is_figure=True)
                return
            if time.monotonic() - self._plain_at < _SECONDS_BETWEEN_PLAIN_LINES:
                return
            self._plain_at = time.monotonic()
        elif isinstance(event, Sampled):
            lines, characters = event.text.count("\n") + 2, len(event.text)
        self._put(partial(self._draw, event), lines=lines, characters=characters)

    def note(self, *texts: str) -> None:
        """Draws a notice for each text."""
        for text in texts:
            self.show(Notice(text))

    def tell(self, *lines: str) -> None:
        """Writes lines to stderr that are no notices, such as what is being done now."""
        for line in () if self._quiet else lines:
            self._put(partial(self._line, visible(line, kept="\t"), self._err), lines=1, characters=len(line))

    def tell_command(self, *words: str) -> None:
        """Writes a command to stderr, to be copied; once the bar is gone."""
        if not self._quiet:
            self._put(partial(self._command, words), lines=1, characters=sum(map(len, words)))

    def tell_at_once(self, line: str) -> None:
        """Writes a line to stderr before all that waits. A signal's handler may call this."""
        if not self._quiet:
            self._writer.interject(partial(_undisturbed, partial(self._below, line)))

    def pass_on(self, text: str) -> None:
        """Writes `text` to stderr as it is, also where the display is quiet: what Python would have written there."""
        self._put(partial(self._exactly, text), lines=max(1, text.count("\n")), characters=len(text))

    def work(self) -> WorkDisplay:
        """Returns a bar for work before the run, which the work never waits for."""
        return WorkDisplay(quiet=self._quiet, writer=self._writer)

    def _put(self, write: Write, *, lines: int = 0, characters: int = 0, is_figure: bool = False) -> None:
        self._writer.put(partial(_undisturbed, write), lines=lines, characters=characters, is_figure=is_figure)

    # All that follows happens in the thread that writes.

    def _left_out(self, lines: int) -> None:
        _undisturbed(partial(self._draw, Notice(f"{count(lines, 'line')} left out here, since nobody read them")))

    def _command(self, words: tuple[str, ...]) -> None:
        lines = shell_lines([visible(word, kept="") for word in words], columns(self._err))
        self._exactly("\n".join(lines) + "\n")

    def _below(self, line: str) -> None:
        """Writes a line below the one in which a bar stands, or what a terminal shows of Ctrl-C."""
        lines = wrapped(visible(line, kept="\t"), columns(self._err), hanging="  ")
        write("\n" + "\n".join(lines) + "\n", self._err)
        self._err.flush()

    def _exactly(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()

    def _remove_bar(self) -> None:
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()

    def _draw(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress(event)
            case Validated():
                self._row(event.step, event.characters, event.train_nats, event.validation_nats, event.is_best)
                if event.ensemble_nats is not None:
                    self._line(averaged(event), self._err)
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
                self._remove_bar()
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
        begin = f"{event.fraction:4.0%} \u00b7 step {event.step:,}"
        wide = columns(self._err)
        self._line(f"{begin} \u00b7 {figures(event, None if wide is None else wide - len(begin) - 3)}", self._err)

    def _draw_bar(self, event: Progress) -> None:
        if self._bar is None:
            self._bar = make_bar(self._err, "{percentage:3.0f}%|{bar}| {desc}", total=1.0, mininterval=0.0)
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


def _undisturbed(write: Write) -> None:
    """Calls `write`, and lets go of what a stream cannot take."""
    with contextlib.suppress(OSError, ValueError):
        write()


class WorkDisplay:
    """A progress bar for work that reports `(what, done, in all)`, such as downloading. Short work shows no bar.

    To be used as a context, whose end removes the bar. With a `writer` the work never waits for a reader.
    """

    def __init__(self, *, quiet: bool = False, delay: float = 1.0, writer: Writer | None = None) -> None:
        self._quiet = quiet
        self._delay = delay
        self._writer = writer
        self._doing = ""
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, doing: str, done: int, total: int) -> None:
        if not self._quiet and sys.stderr.isatty():
            self._put(partial(self._draw, doing, done, total), is_figure=True)

    def close(self) -> None:
        """Removes the bar."""
        self._put(self._remove)

    def _put(self, write: Write, *, is_figure: bool = False) -> None:
        if self._writer is None:
            _undisturbed(write)
        else:
            self._writer.put(partial(_undisturbed, write), is_figure=is_figure)

    def _draw(self, doing: str, done: int, total: int) -> None:
        if self._bar is None or doing != self._doing:
            self._remove()
            self._doing = doing
            form = "{desc} {percentage:3.0f}%|{bar}| {remaining} left"
            self._bar = make_bar(sys.stderr, form, total=total, desc=doing, delay=self._delay, miniters=1)
        self._bar.update(done - self._bar.n)

    def _remove(self) -> None:
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()
