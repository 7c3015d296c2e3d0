"""`charrnn inspect --follow`: the curves of runs, drawn anew as they train; on a pipe a line for each validation."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.checkpoints.runs import Standing

_PAUSE = 0.5
"""Seconds between two looks at the runs."""
_END_KEYS = (b"q", b"Q", b"\x1b", b"\x04")


def follow(folders: Sequence[Path]) -> None:
    """Shows runs until none of them is training any more, or the user ends it with q or Ctrl-C."""
    from charrnn.cli.signals import leaving_on_signals

    with contextlib.suppress(KeyboardInterrupt), leaving_on_signals():
        if sys.stdout.isatty():
            _draw(folders)
        else:
            _print(folders)


def _looks(folders: Sequence[Path]) -> Iterator[list[Standing]]:
    """Yields where the runs stand, first at once and then whenever something was written; ends with the last run."""
    from charrnn.checkpoints.lock import is_training
    from charrnn.checkpoints.runs import standing

    seen: dict[Path, tuple[Any, Standing]] = {}
    is_going_on = True
    while is_going_on:
        # Asked before the files are read: what a run writes last is then seen all the same.
        trained = {folder: is_training(folder) for folder in folders}
        is_going_on = any(trained.values())
        for folder in folders:
            now = (trained[folder], *_sizes(folder))
            if folder not in seen or seen[folder][0] != now:
                seen[folder] = (now, standing(folder))
        yield [seen[folder][1] for folder in folders]


def _sizes(folder: Path) -> Iterator[tuple[int, int]]:
    """Yields what changes when a run writes."""
    from charrnn.checkpoints.folder import BEST, LAST, METRICS

    for name in (BEST, LAST, METRICS):
        with contextlib.suppress(OSError):
            found = os.stat(folder / name)
            yield found.st_size, found.st_mtime_ns


def _print(folders: Sequence[Path]) -> None:
    """Prints a line for each validation, those before the command began first."""
    from charrnn.display.overlay import names_of, validation_line
    from charrnn.display.safe import write

    printed = [0] * len(folders)
    for runs in _looks(folders):
        for place, (run, name) in enumerate(zip(runs, names_of(runs), strict=True)):
            for point in run.curves.validation:
                if point.step > printed[place]:
                    write(validation_line(name if len(runs) > 1 else "", point) + "\n", sys.stdout)
                    printed[place] = point.step
        sys.stdout.flush()
        if any(run.state == "running" for run in runs):
            time.sleep(_PAUSE)


def _draw(folders: Sequence[Path]) -> None:
    """Draws the curves in place, and leaves the last picture on the terminal."""
    from rich.console import Console
    from rich.live import Live

    from charrnn.display.overlay import Followed

    console = Console(highlight=False, markup=False, emoji=False)
    with _keys() as is_ended, Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        shown: Any = None
        for runs in _looks(folders):
            size = console.size
            if shown != (runs, size):
                shown = runs, size
                live.update(Followed(runs, size.height), refresh=True)
            if all(run.state != "running" for run in runs) or is_ended(_PAUSE):
                break


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A context in which single keys are read, where there is a keyboard.

    It gives a function that waits some seconds and returns whether the user has pressed a key that ends the command.
    """
    try:
        import select
        import termios
        import tty
    except ImportError:  # as on Windows
        yield _wait
        return
    try:
        stdin = sys.stdin.fileno()
        before = termios.tcgetattr(stdin)
    except (OSError, ValueError, AttributeError, termios.error):  # no keyboard
        yield _wait
        return

    def is_ended(seconds: float) -> bool:
        if not select.select([stdin], [], [], seconds)[0]:
            return False
        read = os.read(stdin, 64)
        return not read or read in _END_KEYS

    try:
        tty.setcbreak(stdin, termios.TCSADRAIN)
        yield is_ended
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False
