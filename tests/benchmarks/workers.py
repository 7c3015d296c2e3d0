"""Loops that are compared, each in a process of its own, of which one works at a time.

A library's threads are often fixed when its process starts, and two libraries in one process get in each other's way:
so each peer has a process for each number of threads. All are told by pipes when it is their turn; who waits sleeps.
Knows processes and rounds. Refuses to know what the loops do.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
BETWEEN_LOOKS = 0.02
"""Seconds of work, about, between two looks at the clock."""
_SETTLE = 0.1
"""Seconds before a turn: threads spin for a while after their work."""


class WorkerError(RuntimeError):
    """A worker's loop failed, or the worker ended; what it said is the message."""


class Worker:
    """A process with one loop, for `threads` threads (None: as many as the loop takes by itself).

    `path` is the checkout whose packages it imports, by default this one.
    """

    def __init__(
        self, threads: int | None = None, *, path: Path = ROOT, environment: Mapping[str, str] | None = None
    ) -> None:
        self.threads = threads
        words = [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))]
        around = {**os.environ, "PYTHONPATH": str(path), **(environment or {})}
        # In a session of its own, Ctrl-C reaches the parent alone, which ends it.
        self._process = subprocess.Popen(
            words, env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )

    def make(self, file: Path, function: str, /, between_looks: float = BETWEEN_LOOKS, **arguments: Any) -> Any:
        """Makes the loop that `function(threads, **arguments)` of the module `file` returns with something to tell,
        which is returned. The one before is let go of. Raises WorkerError."""
        order = {"do": "make", "file": str(file), "function": function, "threads": self.threads}
        return self._say(**order, between_looks=between_looks, arguments=arguments)["told"]

    def rate(self, seconds: float) -> float:
        """Returns the steps a second of a turn of about so many seconds."""
        answer = self._say(do="run", seconds=seconds)
        return float(answer["steps"] / answer["seconds"])

    def __call__(self, length: int) -> None:
        """Does so many steps."""
        self._say(do="run", length=length)

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # an order that it never read
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def _say(self, **order: Any) -> dict[str, Any]:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        try:
            print(json.dumps(order), file=pipes[0], flush=True)
            line = pipes[1].readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"a worker ended by itself with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer


def in_turn(workers: Mapping[str, Worker], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Steps a second of each, one figure a round of about `seconds`; in every other round the order is turned round."""
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name in list(workers)[:: -1 if number % 2 else 1]:
            time.sleep(min(_SETTLE, seconds))
            rates[name].append(workers[name].rate(seconds))
    return rates
