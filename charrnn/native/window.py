"""The library of what training compiles: where it lies, which version is ours, its structures, and how it is entered.

The package builds `native/recurrence.c`, a layer along a window, and `native/update.c`, an update of weights, into it
where a C compiler is found when it is installed; the structures are those of native/recurrence.h, field by field. It
runs in a parallel region of the OpenMP library that torch itself has loaded: threads of our own would fight for cores
with torch's, which spin for a while after every piece of parallel work. Where torch has another one than GNU's, torch's
own kernels serve. Knows files, layouts and threads. Refuses to know tensors.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.native.loader import load

VERSION = 3
_NUMBERS = (
    *("cell", "most_threads", "steps", "lanes", "hidden", "padded", "vocabulary", "is_double", "set"),
    *("wants_state_gradient", "input_width"),
)


class WindowLayout(NamedTuple):
    """How the compiled recurrence keeps a cell's gates, in blocks of H for each step and lane."""

    number: int
    """Of the cell in the structure below."""
    blocks: int
    """Of rows in the matrices."""
    kept: int
    """Of what the forward pass leaves for the backward pass."""
    first: int = 0
    """The block of the input's product that stands first; those before it come last."""


LAYOUTS = {"rnn": WindowLayout(0, 1, 1), "lstm": WindowLayout(1, 4, 4), "gru": WindowLayout(2, 3, 4, first=2)}
"""By the name that a cell gives as `compiled`."""


class Window(ctypes.Structure):
    """A layer's pass over a window, with all its memory; see native/recurrence.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in ("recurrent", "bias", "input", "ids")),
        ("is_narrow", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("narrow_h", "narrow_gradients", "panels", "gates", "h", "c")),
        *((name, ctypes.c_void_p) for name in ("output_gradient", "h_gradient", "c_gradient")),
        *((name, ctypes.c_void_p) for name in ("bias_gradient", "table_gradient", "thread", "threads")),
        *((name, ctypes.c_int32) for name in ("arrived", "generation")),
    ]


class Update(ctypes.Structure):
    """One update of a vector of weights by AdamW; see native/update.c."""

    _fields_ = [
        ("size", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("weights", "gradient", "first", "second")),
        *((name, ctypes.c_float) for name in ("learning_rate", "beta1", "beta2", "epsilon", "weight_decay")),
        *((name, ctypes.c_float) for name in ("first_correction", "second_correction")),
        ("is_cautious", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("thread", "threads")),
        ("along", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("arrived", "generation")),
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
        self.parallel(function, ctypes.byref(job), ctypes.c_uint(threads), ctypes.c_uint(0))


@functools.cache
def find_library() -> Library | None:
    """The compiled recurrence; None where it was not built, cannot run here, or CHARRNN_COMPILED=0 turns it off."""
    found = load(Path(__file__).with_name("_recurrence"), "charrnn_recurrence_version", VERSION)
    if found is None:
        return None
    try:
        openmp = ctypes.CDLL(None)  # torch loads its dependencies for all to see
        parallel, thread, threads = openmp.GOMP_parallel, openmp.omp_get_thread_num, openmp.omp_get_num_threads
    except (OSError, AttributeError, TypeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return Library(
        ctypes.cast(found.charrnn_window_forward, ctypes.c_void_p),
        ctypes.cast(found.charrnn_window_backward, ctypes.c_void_p),
        ctypes.cast(found.charrnn_update, ctypes.c_void_p),
        int(found.charrnn_best_recurrence()),
        bool(found.charrnn_has_narrow()),
        parallel,
        ctypes.cast(thread, ctypes.c_void_p).value or 0,
        ctypes.cast(threads, ctypes.c_void_p).value or 0,
    )
