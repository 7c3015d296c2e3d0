"""Threads that enter the compiled step together.

They wait for work in Python and for each other in C, where waiting spins: a crew must not be larger than the cores
that it has.
"""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

from charrnn.native.step import Job, StepModel


class Crew:
    """Threads that enter the compiled step together; the caller's own is the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: list[queue.SimpleQueue[Callable[[], None] | None]] = []
        weakref.finalize(self, _dismiss, self._tasks)
        self._hire()

    def _hire(self) -> None:
        self._process = os.getpid()
        self._one_job = threading.Lock()  # two callers' jobs, mixed, would wait for each other for ever
        self._tasks[:] = [queue.SimpleQueue() for _ in range(self._size - 1)]
        for tasks in self._tasks:
            threading.Thread(target=_work, args=(tasks,), daemon=True).start()

    def run(self, function: Any, model: StepModel, job: Job, instruction_set: int, kept: list[Any]) -> None:
        """Enters `function` from every thread; returns when all have left."""
        left: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        called = 0

        def enter(thread: int) -> None:
            function(ctypes.byref(model), ctypes.byref(job), thread, instruction_set)
            left.put(kept)  # so the task holds the job's memory for as long as it runs

        if os.getpid() != self._process:
            self._hire()  # a forked child has none of its parent's threads
        with self._one_job:
            try:
                for place, tasks in enumerate(self._tasks):
                    tasks.put(functools.partial(enter, place + 1))
                    called += 1
                function(ctypes.byref(model), ctypes.byref(job), 0, instruction_set)
            except BaseException:
                job.given_up = 1  # Ctrl-C before this thread came in: nobody may wait for it
                raise
            finally:
                for _ in range(called):
                    left.get()


def _work(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # or the memory of a finished job would stay until the next


def _dismiss(crew: list[queue.SimpleQueue[Callable[[], None] | None]]) -> None:
    for tasks in crew:
        tasks.put(None)
