"""What signals do for a while, in a context: a run remembers the first, a conversation is interrupted."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

from charrnn.cli.leaving import POLITE, TIDYING_SECONDS, is_heeded, is_ignored, leave_within


class StopOnSignal:
    """A context in which SIGINT, SIGTERM and SIGHUP are remembered; a call returns the first one's number, or None.

    `heard` is called with the first, in its handler, and must neither wait nor write. A second Ctrl-C raises
    KeyboardInterrupt; but for `deaf` seconds after the first, another is taken for the same. A signal that was ignored
    before stays so.
    """

    def __init__(self, heard: Callable[[int], None] = lambda _number: None, *, deaf: float = 0.0) -> None:
        self._heard = heard
        self._deaf = deaf
        self._received_at = 0.0
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> int | None:
        return self._received

    def __enter__(self) -> Self:
        heeded = [number for number in POLITE if not is_ignored(number)]
        self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if number == signal.SIGINT and time.monotonic() - self._received_at >= self._deaf:
                leave_within(TIDYING_SECONDS, number)
                raise KeyboardInterrupt
            return
        self._received, self._received_at = number, time.monotonic()
        self._heard(number)


@contextlib.contextmanager
def leaving_on_signals() -> Iterator[None]:
    """A context which SIGTERM and SIGHUP leave by SystemExit, as Ctrl-C does by KeyboardInterrupt."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # What `nohup` ignores is ignored here too.
    heeded = [number for number in POLITE if signal.getsignal(number) == signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def catching_ctrl_c() -> Iterator[None]:
    """A context in which KeyboardInterrupt may be caught, to go on; the program ends where it leaves the context."""
    before = signal.getsignal(signal.SIGINT)
    if is_heeded(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        leave_within(TIDYING_SECONDS, signal.SIGINT)
        raise
    finally:
        if before is not None:  # else it is not Python's
            signal.signal(signal.SIGINT, before)


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
