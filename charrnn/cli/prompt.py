"""Reads lines at a prompt on the terminal of stderr, so that stdout stays free for what a command writes.

Where Python has its module readline and both stdin and stderr are terminals, a line can be edited, earlier lines come
back with the arrow keys, and a change of the window's size redraws the screen at once, the half-typed line included.
A terminal that brackets what is pasted hands it over as one line, with its line ends in it. Ctrl-C clears a half-typed
line. Elsewhere (a pipe, Windows, a Python without readline) lines are read as they come.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Self

from charrnn.cli.signals import calling_on_resize, waking_now_and_then
from charrnn.display.safe import write

_PROMPT = "> "
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Prompt:
    """A prompt, to be used as a context; `redraw` draws what stands above it anew after the window's size changed."""

    def __init__(self, redraw: Callable[[], None]) -> None:
        self._redraw = redraw
        self._readline = _readline()
        self._library = _library(self._readline)
        self._is_reading = False
        self._resources = contextlib.ExitStack()
        self.is_watched = sys.stdin is not None and sys.stdin.isatty()
        """Whether a terminal shows what is typed."""
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # what is no UTF-8 gets a message, not a traceback

    def __enter__(self) -> Self:
        if self._library is not None:
            self._resources.enter_context(calling_on_resize(self._resized))
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def read(self) -> str:
        """Returns the next line, with its end if it has one, or nothing at the end of input.

        What was pasted may hold further line ends. Raises KeyboardInterrupt on Ctrl-C, but where lines can be edited
        only if the line is empty: a half-typed one is cleared.
        """
        return self._plain() if self._readline is None else self._edited()

    def _edited(self) -> str:
        while True:
            try:
                return self._edited_once()
            except KeyboardInterrupt:
                if not self._readline.get_line_buffer():
                    raise
            with contextlib.suppress(OSError, ValueError):
                write("\n", sys.stderr)  # the next prompt stands on a line of its own
                sys.stderr.flush()

    def _edited_once(self) -> str:
        self._is_reading = True
        try:
            with _stdout_to_stderr(), waking_now_and_then() if self._library else contextlib.nullcontext():
                return input(_PROMPT) + "\n"
        except EOFError:
            return ""
        finally:
            self._is_reading = False

    def _plain(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            write(_PROMPT, sys.stderr)
            sys.stderr.flush()
        if sys.stdin is None:
            return ""
        try:
            return sys.stdin.readline()
        except OSError:  # a terminal that hung up
            return ""

    def _resized(self) -> None:
        """Tells readline the window's new size, and draws everything anew if a line is being typed."""
        assert self._library is not None
        drawn: os.terminal_size | None = None
        while drawn != (size := _terminal_size()):  # which may change again while it draws
            drawn = size
            self._library.rl_set_screen_size(size.lines, size.columns)
            if self._is_reading:
                self._redraw()
                self._library.rl_forced_update_display()


def _terminal_size() -> os.terminal_size:
    try:
        return os.get_terminal_size(_STDERR)
    except OSError:  # a terminal that hung up
        return os.terminal_size((80, 24))


def _readline() -> Any:
    """Returns the module readline where it can be used here, else None."""
    try:
        import readline

        # Python edits lines only where its stdin is the process' own.
        if (sys.stdin.fileno(), sys.stderr.fileno()) != (_STDIN, _STDERR):
            return None
        if not (os.isatty(_STDIN) and os.isatty(_STDERR)):
            return None
        if not _is_libedit(readline) and os.environ.get("TERM", "dumb") != "dumb":
            readline.parse_and_bind("set enable-bracketed-paste on")  # the default since version 8.1 only
        return readline
    except (ImportError, AttributeError, OSError, ValueError):
        return None


def _is_libedit(readline: Any) -> bool:
    return "libedit" in (readline.__doc__ or "")


def _library(readline: Any) -> Any:
    """Returns the C library behind the module, whose functions the module offers only in part, or None."""
    if readline is None or _is_libedit(readline):  # which has its own handling of sizes
        return None
    try:
        library = ctypes.CDLL(getattr(readline, "__file__", None))
        for function in (library.rl_set_screen_size, library.rl_forced_update_display):
            function.restype = None
    except (OSError, AttributeError, TypeError):
        return None
    return library


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """A context in which the file descriptor of stdout is that of stderr: readline always writes to stdout."""
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # stdout is closed
        kept = None
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        if kept is None:
            os.close(_STDOUT)
        else:
            os.dup2(kept, _STDOUT)
            os.close(kept)
