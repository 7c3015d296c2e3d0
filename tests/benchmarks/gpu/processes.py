"""Processes with a limit of time, several at once, so that one that fails or hangs takes nothing else with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks.command import ROOT

GRACE = 10.0  # seconds between the request to end and the end
_POLL = 0.05

End = Literal["ended", "timed out", "not started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command, and where what it writes goes."""

    name: str
    words: Sequence[str]
    seconds: float
    """That it may take."""
    log: Path
    """For stderr, and for stdout too if `out` is None; what is there stays before it."""
    out: Path | None = None
    folder: Path = ROOT
    """In which it runs."""
    environment: Mapping[str, str] | None = None
    """Beside that of this process; a value "" takes the name away."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. A status below zero is that of a signal, as Python has it."""

    job: Job
    how: End
    status: int | None
    seconds: float

    @property
    def has_crashed(self) -> bool:
        """Whether a signal ended it, which nobody here had sent."""
        return self.how == "ended" and self.status is not None and self.status < 0


class _Running:
    """A job's process, the first of a group of its own, which ends as a whole."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, time.monotonic()
        self._asked: float | None = None
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        changed = {**os.environ, "PYTHONPATH": path, **(job.environment or {})}
        with open(job.log, "ab") as log, open(job.out or os.devnull, "wb") as out:
            self._process = subprocess.Popen(
                list(job.words), stdin=subprocess.DEVNULL, stdout=out if job.out else log, stderr=log, cwd=job.folder,
                env={name: value for name, value in changed.items() if value}, start_new_session=True,
            )  # fmt: skip

    def poll(self, deadline: float) -> Ended | None:
        """How it ended, if it has; it is asked to end once its time is up, and made to end a while later."""
        status, now = self._process.poll(), time.monotonic()
        if status is not None:
            if self._asked is not None:
                self._signal(signal.SIGKILL)  # what it started itself
            return Ended(self.job, "ended" if self._asked is None else "timed out", status, now - self.began)
        if self._asked is None and now > min(self.began + self.job.seconds, deadline):
            self._asked = now
            self._signal(signal.SIGTERM)
        elif self._asked is not None and now > self._asked + GRACE:
            self._signal(signal.SIGKILL)
        return None

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def run(jobs: Sequence[Job], *, at_once: int = 1, deadline: float = float("inf")) -> Iterator[Ended]:
    """Runs the jobs in order, `at_once` of them side by side; gives each as it ends.

    At the clock's `deadline` (time.monotonic) those that run are ended and those that wait are not started. Whatever
    leaves the iterator early, an error too, ends what still runs.
    """
    waiting, running = list(jobs), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once and time.monotonic() < deadline:
                running.append(_Running(waiting.pop(0)))
            if waiting and time.monotonic() >= deadline:
                yield from (Ended(job, "not started", None, 0.0) for job in waiting)
                waiting = []
            for one in list(running):
                if ended := one.poll(deadline):
                    running.remove(one)
                    yield ended
            time.sleep(_POLL)
    finally:
        for one in running:
            one.kill()
