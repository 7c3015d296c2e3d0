"""Writes in a thread of its own, so that a reader who does not read holds nothing but the writing.

What is to be written waits in a queue. Where nobody reads for long, the queue is thinned: figures that newer ones
follow are left out, then the oldest lines, and a note says how many.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

_MOST_FIGURES = 64
_MOST_LINES = 5_000
_MOST_CHARACTERS = 2_000_000
_SECONDS_BETWEEN_LOOKS = 0.25

Write = Callable[[], None]


class _Piece(NamedTuple):
    write: Write
    lines: int
    characters: int
    is_figure: bool


class Writer:
    """A thread that calls functions which write, one after the other.

    `left_out` is called in the thread with a number of lines that are not written, in their place. What a function
    raises is raised in `close`, and nothing more is written.
    """

    def __init__(self, left_out: Callable[[int], None]) -> None:
        self._left_out = left_out
        self._pieces: deque[_Piece] = deque()
        self._urgent: deque[Write] = deque()
        self._lock = threading.Lock()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._figures = self._lines = self._characters = self._missing = 0
        self._error: BaseException | None = None

    def put(self, write: Write, *, lines: int = 0, characters: int = 0, is_figure: bool = False) -> None:
        """Lets the thread call `write`, which writes so many lines and characters, and returns at once.

        Of figures only the newest matter. Lines may be left out; what has neither is never.
        """
        if self._error is not None:  # nothing is shown any more, and what runs beside goes on
            return
        with self._lock:
            self._count(piece := _Piece(write, lines, characters, is_figure), 1)
            self._pieces.append(piece)
            if self._figures > _MOST_FIGURES:
                self._drop(next(figure for figure in self._pieces if figure.is_figure))
            while self._lines > _MOST_LINES or self._characters > _MOST_CHARACTERS:
                oldest = next(other for other in self._pieces if other.lines)
                if oldest is piece:  # however long it is
                    break
                self._drop(oldest)
                self._missing += oldest.lines
        self._rouse()

    def interject(self, write: Write) -> None:
        """Lets the thread call `write` before all that waits. A signal's handler may call this at any moment."""
        self._urgent.append(write)
        if self._thread is not None and self._wake.empty():
            self._wake.put(True)  # neither this nor the line before waits for a lock

    def close(self) -> None:
        """Waits until all is written, however long that takes; a signal's handler may raise."""
        if self._thread is None:
            return
        self._wake.put(False)
        while self._thread.is_alive():
            self._thread.join(_SECONDS_BETWEEN_LOOKS)  # on some systems a signal is handled only between two calls
        self._thread = None
        if self._error is not None:
            raise self._error

    def _rouse(self) -> None:
        if self._thread is None:
            self._begin()
        if self._thread is None:  # the system allows no more threads
            self._write_all()
        elif self._wake.empty():
            self._wake.put(True)

    def _begin(self) -> None:
        thread = threading.Thread(target=self._work, name="charrnn display", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def _work(self) -> None:
        is_open = True
        while is_open:
            is_open = self._wake.get()
            try:
                self._write_all()
            except BaseException as error:
                self._error = error
                return

    def _write_all(self) -> None:
        while True:
            if self._urgent:
                self._urgent.popleft()()
                continue
            with self._lock:
                missing, self._missing = self._missing, 0
                piece = self._pieces.popleft() if self._pieces and not missing else None
                if piece is not None:
                    self._count(piece, -1)
            if missing:
                self._left_out(missing)
            elif piece is not None:
                piece.write()
            else:
                return

    def _count(self, piece: _Piece, sign: int) -> None:
        self._figures += sign * piece.is_figure
        self._lines += sign * piece.lines
        self._characters += sign * piece.characters

    def _drop(self, piece: _Piece) -> None:
        self._pieces.remove(piece)
        self._count(piece, -1)
