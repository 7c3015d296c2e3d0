"""The library that trains: its version, its structures, which are those of recurrence.h, and how it is entered.

It is built from recurrence.c (a layer along a window) and update.c (an update of weights) where a C compiler is found
when the package is installed. It runs in a parallel region of the OpenMP library that torch itself has loaded: threads
of our own would fight for cores with torch's, which spin for a while after every piece of parallel work. Where torch
brings another OpenMP than GNU's, torch's own kernels serve.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_float, c_int32, c_int64, c_uint, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.native.loader import absence, fields, load, permitted_set, search

VERSION = 3
STEM = Path(__file__).with_name("_recurrence")


class WindowLayout(NamedTuple):
    """How the compiled recurrence keeps a cell's gates, in blocks of H for each step and lane."""

    number: int
    """The number by which the structure below names the cell."""
    blocks: int
    """The number of blocks of rows in the matrices."""
    kept: int
    """The number of blocks that the forward pass leaves for the backward pass."""
    first: int = 0
    """The block of the input's product that stands first; those before it come last."""


LAYOUTS = {"rnn": WindowLayout(0, 1, 1), "lstm": WindowLayout(1, 4, 4), "gru": WindowLayout(2, 3, 4, first=2)}
"""By the name that a cell gives as `compiled`."""


class Window(ctypes.Structure):
    """A layer's pass over a window, with all its memory; recurrence.h says what each field holds."""

    _fields_ = [
        *fields(c_int32, "cell most_threads steps lanes hidden padded vocabulary is_double set"),
        *fields(c_int32, "wants_state_gradient input_width"),
        *fields(c_void_p, "recurrent bias input ids"),
        ("is_narrow", c_int32),
        *fields(c_void_p, "narrow_h narrow_gradients panels gates h c output_gradient h_gradient c_gradient"),
        *fields(c_void_p, "bias_gradient table_gradient thread threads"),
        *fields(c_int32, "arrived generation"),
    ]


class Update(ctypes.Structure):
    """One update of a vector of weights by AdamW; see update.c."""

    _fields_ = [
        ("size", c_int64),
        *fields(c_void_p, "weights gradient first second"),
        *fields(c_float, "learning_rate beta1 beta2 epsilon weight_decay first_correction second_correction"),
        ("is_cautious", c_int32),
        *fields(c_void_p, "thread threads"),
        ("along", c_int64),
        *fields(c_int32, "arrived generation"),
    ]


class Library(NamedTuple):
    """The compiled recurrence and update, and the OpenMP library they run in."""

    forward: Any
    backward: Any
    update: Any
    best_set: int
    has_narrow: bool
    parallel: Any
    thread: int
    threads: int

    def run(self, function: Any, job: Window | Update, threads: int) -> None:
        """Enters `function` from each of `threads` threads, as many as torch has; returns when all have left."""
        job.thread, job.threads = self.thread, self.threads
        job.arrived = job.generation = 0
        self.parallel(function, ctypes.byref(job), c_uint(threads), c_uint(0))


@functools.cache
def find_library() -> Library | None:
    """Returns the compiled recurrence and update; None where they were not built, cannot run here, where torch has not
    been loaded, whose OpenMP library they run in, or where CHARRNN_COMPILED=0 turns them off."""
    found, openmp = load(STEM, "charrnn_recurrence_version", VERSION), _openmp()
    if found is None or openmp is None:
        return None
    best = permitted_set(int(found.charrnn_best_recurrence()))
    return Library(
        ctypes.cast(found.charrnn_window_forward, c_void_p),
        ctypes.cast(found.charrnn_window_backward, c_void_p),
        ctypes.cast(found.charrnn_update, c_void_p),
        best,
        bool(found.charrnn_has_narrow()) and best == int(found.charrnn_best_recurrence()),
        *openmp,
    )


def is_built() -> bool:
    """Returns whether the library is there and not turned off; whether it can run is known only beside torch."""
    return load(STEM, "charrnn_recurrence_version", VERSION) is not None


def why_absent() -> tuple[str, str] | None:
    """Returns why the compiled recurrence is not there, and what brings it; None where it is there, is off on purpose,
    or could not run beside this torch."""
    return absence(search(STEM, "charrnn_recurrence_version", VERSION)) if _openmp() else None


def _openmp() -> tuple[Any, int, int] | None:
    """Returns GNU's functions that begin a parallel region, and that give its thread's number and its threads; the last
    two as addresses. None where torch has not been loaded, or has another OpenMP."""
    try:
        openmp = ctypes.CDLL(None)  # torch loads its dependencies for all to see
        parallel, thread, threads = openmp.GOMP_parallel, openmp.omp_get_thread_num, openmp.omp_get_num_threads
    except (OSError, AttributeError, TypeError):
        return None
    parallel.argtypes = [c_void_p, c_void_p, c_uint, c_uint]
    parallel.restype = None
    return parallel, ctypes.cast(thread, c_void_p).value or 0, ctypes.cast(threads, c_void_p).value or 0
