"""Signals that end a run politely: the first is remembered, a second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import typer

from charrnn.display.notice import say

_POLITE = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopOnSignal:
    """A context in which SIGINT, SIGTERM and SIGHUP are remembered; a call returns the first one's number, or None.

    For `deaf` seconds after the first, another is taken for the same.
    """

    def __init__(self, *, quiet: bool = False, deaf: float = 0.0) -> None:
        self._quiet = quiet
        self._deaf = deaf
        self._received_at = 0.0
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> int | None:
        return self._received

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in _POLITE}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if number == signal.SIGINT and time.monotonic() - self._received_at >= self._deaf:
                raise KeyboardInterrupt
            return
        self._received, self._received_at = number, time.monotonic()
        if self._quiet:
            return
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            # After a hang-up there may be no terminal left to write to.
            again = " (Ctrl-C again stops at once, without saving)" if number == signal.SIGINT else ""
            print(file=sys.stderr)  # what a terminal shows of Ctrl-C, or a bar, stands in this line
            say(f"finishing this step and saving{again}")


@contextlib.contextmanager
def leaving_on_signals() -> Iterator[None]:
    """A context which SIGTERM and SIGHUP leave by typer.Exit, as Ctrl-C does by KeyboardInterrupt."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(128 + number)

    # What `nohup` ignores is ignored here too.
    heeded = [number for number in _POLITE[1:] if signal.getsignal(number) == signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def calling_on_resize(call: Callable[[], None]) -> Iterator[None]:
    """A context in which `call` is called, in the main thread, whenever the terminal's window has changed its size."""
    number = getattr(signal, "SIGWINCH", None)
    if number is None:
        yield
        return
    before = signal.signal(number, lambda _number, _frame: call())
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def waking_now_and_then() -> Iterator[None]:
    """A context in which a timer interrupts C code that waits, four times a second, so that Python handles signals.

    A signal that comes just before a library begins to wait would otherwise be handled only when the waiting ends.
    """
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.25, 0.25)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
