"""Makes progress bars that hold nothing: no thread of their own, no lock that others wait for, no error of a stream."""

from __future__ import annotations

import contextlib
import threading
from typing import IO, Any


def make_bar(stream: IO[str], form: str, **options: Any) -> Any:
    """Returns a bar of tqdm on a terminal, of the `form` that tqdm calls bar_format; it vanishes when it is closed."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

    # tqdm keeps its lock where a stream breaks while it draws, and its threads wait for the lock.
    Bar.set_lock(threading.RLock())
    return Bar(file=_Unbroken(stream), bar_format=form, dynamic_ncols=True, leave=False, **options)


class _Unbroken:
    """A stream that lets go of what it cannot take."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
