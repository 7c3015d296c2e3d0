"""Ends the program on SIGINT, SIGTERM and SIGHUP at any moment, from its first lines on, with the signal's status.

Imports nothing of size, since it is loaded before all else. A signal raises KeyboardInterrupt or SystemExit where the
program stands, so that it tidies up; where that takes too long (nobody reads what it writes, a call does not return)
the program is ended all the same. While a module is imported, whose code may do anything with an exception, and once
nothing is left to do but to leave, a signal ends the program at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

POLITE = [getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGTERM") if hasattr(signal, name)]
"""The signals that ask a program to end, of those that the system has."""
TIDYING_SECONDS = 2.5
"""How long the program may tidy up, and wait for a reader, after a signal."""
_IMPORT = "<frozen importlib._bootstrap>"


class _Process:
    """How this process stands to signals; there is one of each."""

    is_heeding = False
    is_done = True
    """Whether a signal ends the process at once."""
    is_tidying = False
    """Whether a signal has been raised as an exception."""
    first: int | None = None
    """The signal that the process is leaving on."""


def run(command: Callable[[], object]) -> NoReturn:
    """Runs the whole program, which `command` ends by SystemExit, and leaves with its status or that of a signal."""
    _heed()
    try:
        _Process.is_done = False
        try:
            command()
            status = 0
        except SystemExit as leaving:
            status = _status(leaving.code)
        _Process.is_done = True
    except BaseException:
        _Process.is_done = True
        if _Process.first is None:
            raise
        status = 128 + _Process.first  # KeyboardInterrupt, or what a library has made of it
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)  # a signal while nobody reads ends the process here
    if _Process.first is not None:
        import atexit

        # The interpreter's farewell knows no time limit. What waits for its end is called all the same.
        atexit._run_exitfuncs()
        os._exit(status and 128 + _Process.first)
    for number in POLITE:  # what follows takes a moment in which Python would die of a signal
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def is_ignored(number: int) -> bool:
    """Returns whether a signal is ignored, as `nohup` and shells have it, or handled by other than Python's code."""
    return signal.getsignal(number) in (signal.SIG_IGN, None)


def is_heeded(number: int) -> bool:
    """Returns whether a signal ends the program as this module has it."""
    return signal.getsignal(number) is _leave


def nothing_is_left() -> None:
    """From now on a signal ends the program at once: what matters is done, and all that it waits for is a reader."""
    _Process.is_done = _Process.is_heeding


def leave_within(seconds: float, number: int) -> None:
    """Ends the program with the status of signal `number` after so many seconds, unless it has ended before.

    Does nothing in a program that is not run by this module, such as one that uses the library.
    """
    if not _Process.is_heeding or _Process.first is not None:
        return
    _Process.first = number
    try:
        _thread.start_new_thread(_end_after, (seconds, 128 + number))
    except RuntimeError:  # no more threads are allowed
        os._exit(128 + number)


def _end_after(seconds: float, status: int) -> None:
    time.sleep(seconds)
    os._exit(status)


def _heed() -> None:
    _Process.is_heeding = True
    sys.unraisablehook = _unraisable
    for number in POLITE:
        if not is_ignored(number):
            signal.signal(number, _leave)
    if os.name != "posix":
        return
    try:
        reading, writing = os.pipe()
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:  # the program itself needs the last files that it may open
            os.close(reading)
            os.close(writing)
            return
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        _thread.start_new_thread(_watch, (reading,))
    except (OSError, RuntimeError):  # no more files or threads are allowed: then a signal waits until a call returns
        signal.set_wakeup_fd(-1)


def _watch(reading: int) -> None:
    """Sees to it that a signal is obeyed even while the main thread is in a call that does not return."""
    while numbers := os.read(reading, 64):
        for number in numbers:
            if number in POLITE and is_heeded(number):
                leave_within(TIDYING_SECONDS, number)


def _leave(number: int, frame: FrameType | None) -> None:
    """Handles a signal, in the main thread."""
    if _Process.is_done or _is_importing(frame) or (_Process.is_tidying and number == signal.SIGINT):
        os._exit(128 + (number if _Process.first is None else _Process.first))
    if _Process.is_tidying:
        return
    _Process.is_tidying = True
    leave_within(TIDYING_SECONDS, number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: Any) -> None:
    """Is silent about a signal that came where Python cannot raise: the program is ended in time all the same."""
    if _Process.first is None or not issubclass(unraisable.exc_type, (KeyboardInterrupt, SystemExit)):
        sys.__unraisablehook__(unraisable)


def _status(code: Any) -> int:
    """Returns the status that Python makes of what SystemExit was given."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return
