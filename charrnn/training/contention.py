"""Notices that other programs use the cores a run computes on.

A run then gets what they leave, and its forecast was made for free cores. Linux tells how long each core was busy
(/proc/stat); elsewhere the load average has to do.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_WINDOW = 3.0
"""Seconds that are looked at together."""
_OTHERS = 0.25
_IDLE = 0.1
_OWN = 0.8


@dataclass(frozen=True, slots=True)
class Reading:
    """What the machine has done up to a moment."""

    seconds: float
    """On a clock that never goes back."""
    own: float
    """Seconds of computing of this process, all its threads together."""
    cores: int
    """Cores that this process may use."""
    busy: float | None = None
    """Seconds in which these cores computed for any program; None where the system does not tell."""
    idle: float = 0.0
    """Seconds in which they did nothing."""
    load: float = 0.0
    """Programs that wanted a core in the last minute, on average."""


def read(stat: Path = Path("/proc/stat")) -> Reading:
    """Returns a reading of now."""
    own, load = time.process_time(), 0.0
    with contextlib.suppress(OSError, AttributeError):  # Windows has no load average
        load = os.getloadavg()[0]
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    busy, idle = None, 0.0
    with contextlib.suppress(OSError, ValueError, AttributeError, IndexError):
        ticks = os.sysconf("SC_CLK_TCK")
        lines = [line.split() for line in stat.read_text("ascii").splitlines() if re.match(r"cpu\d", line)]
        spent = [[int(word) / ticks for word in words[1:9]] for words in lines if int(words[0][3:]) in allowed]
        if spent:  # user, nice, system, idle, waiting for a disk, ...
            idle = sum(each[3] + each[4] for each in spent)
            busy = sum(map(sum, spent)) - idle
    return Reading(time.monotonic(), own, len(allowed), busy, idle, load)


def threads_left(before: Reading, now: Reading, threads: int) -> int | None:
    """Returns how many threads fit beside what other programs computed between two readings; None where all do."""
    seconds = max(now.seconds - before.seconds, 1e-9)
    own = (now.own - before.own) / seconds
    if before.busy is not None and now.busy is not None:
        others = (now.busy - before.busy) / seconds - own
        is_full = now.idle - before.idle < _IDLE * now.cores * seconds
    else:
        others = now.load - threads
        is_full = now.load >= now.cores + 0.5 and own < _OWN * threads
    if not is_full or others < _OTHERS:
        return None
    left = max(1, math.floor(now.cores - others))
    return left if left < threads else None


class Contention:
    """Watches the cores; a call gives, once, the number of threads that fit, when two windows in a row were crowded."""

    def __init__(self, threads: int, reader: Callable[[], Reading] = read) -> None:
        self._threads, self._reader = threads, reader
        self._before: Reading | None = reader() if threads > 1 else None
        self._was_crowded = False

    def __call__(self) -> int | None:
        """Looks at the machine; to be called some times a second, or more rarely."""
        if self._before is None:
            return None
        now = self._reader()
        if now.seconds - self._before.seconds < _WINDOW:
            return None
        left = threads_left(self._before, now, self._threads)
        is_sure = left is not None and self._was_crowded
        self._before, self._was_crowded = (None if is_sure else now), left is not None
        return left if is_sure else None
