"""How many threads compiled code may have; crew.h says how they share its work.

Each library has a crew of its own, whose threads sleep where there is nothing to do. No number depends on how many
there are.
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

from charrnn.native.cores import available_cores

_MOST = 64  # MOST_THREADS of crew.h
_chosen: list[int] = []


class Record(NamedTuple):
    """What became of a library's jobs so far."""

    seconds: float
    """In which they ran, of those for more than one thread."""
    seconds_bent: float
    """Of these, in which there were fewer threads than there might have been: they cost more than they brought."""
    stalls: int
    """How often a thread was put aside by the system in the middle of its work, and waited for."""
    trials: int
    """How often another number of threads was tried."""
    changes: int
    """How often it was kept."""


def most_threads() -> int:
    """Returns how many threads a job may have: what was set, else the cores of this process, or fewer, if the variable
    says so by which users and torchrun tell OpenMP."""
    if not _chosen:  # asked once: the system's files are slow to read beside a product
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        set_most_threads(min(available_cores(), int(told)) if told.isdecimal() and int(told) else available_cores())
    return _chosen[0]


def set_most_threads(threads: int) -> None:
    """Sets how many threads a job may have, in the whole process."""
    _chosen[:] = [max(1, min(threads, _MOST))]


def keep_all_threads(library: ctypes.CDLL, is_rigid: bool = True) -> None:
    """Lets a library's crew work with all its threads whatever that costs: what its bending is measured against."""
    library.charrnn_crew_be_rigid(ctypes.c_int32(is_rigid))


def record(library: ctypes.CDLL) -> Record:
    """Returns what became of a library's jobs."""
    found = (ctypes.c_int64 * 5)()
    library.charrnn_crew_record(found)
    return Record(found[0] / 1e9, found[1] / 1e9, *found[2:])
