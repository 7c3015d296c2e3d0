"""The library that trains: its version and its structures, which are those of recurrence.h.

It is built from recurrence.c (a layer along a window) and update.c (an update of weights) where a C compiler is found
when the package is installed. Its threads are those of its own crew (crew.h), as many as `native/crew.py` says.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_float, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

from charrnn.native.loader import absence, fields, load, permitted_set, search

VERSION = 6
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
    reset: int = 0
    """The number of blocks, the last ones, whose recurrent product reads what a reset gate leaves of h."""


LAYOUTS = {
    "rnn": WindowLayout(0, 1, 1),
    "lstm": WindowLayout(1, 4, 4),
    "gru": WindowLayout(2, 3, 4, first=2),
    "gru, reset before": WindowLayout(3, 3, 3, reset=1),
}
"""By the name that a cell gives as `compiled`."""


class Window(ctypes.Structure):
    """A layer's pass over a window, with all its memory; recurrence.h says what each field holds."""

    _fields_ = [
        *fields(c_int32, "cell most_threads steps lanes hidden padded vocabulary is_double set"),
        *fields(c_int32, "wants_state_gradient input_width"),
        *fields(c_void_p, "recurrent bias input ids"),
        *fields(c_int32, "is_narrow way"),
        *fields(c_void_p, "factors reset narrow_gradients panels gates h c starts output_gradient h_gradient"),
        *fields(c_void_p, "c_gradient bias_gradient table_gradient"),
        ("step", c_int32),
    ]


class Update(ctypes.Structure):
    """One update of a vector of weights by AdamW; see update.c."""

    _fields_ = [
        ("size", c_int64),
        *fields(c_void_p, "weights gradient first second"),
        *fields(c_float, "learning_rate beta1 beta2 epsilon weight_decay first_correction second_correction"),
        *fields(c_int32, "is_cautious most_threads"),
        ("along", c_int64),
        ("scale", c_float),
    ]


class Library(NamedTuple):
    """The compiled recurrence and update."""

    library: ctypes.CDLL
    best_set: int
    has_narrow: bool
    is_narrow_faster: bool
    """Whether this machine multiplies bfloat16 numbers faster than floats, and not only in less memory."""
    best_way: int
    """Of multiplying bfloat16 numbers; see native/product.py."""

    def forward(self, window: Window) -> None:
        """Runs a layer along a window."""
        self.library.charrnn_window_forward(ctypes.byref(window))

    def backward(self, window: Window) -> None:
        """Runs it back, from the gradients of the outputs to those of the gates."""
        self.library.charrnn_window_backward(ctypes.byref(window))

    def update(self, update: Update) -> None:
        """Updates a vector of weights."""
        self.library.charrnn_update(ctypes.byref(update))


@functools.cache
def find_library() -> Library | None:
    """Returns the compiled recurrence and update; None where they were not built or cannot run here, or where
    CHARRNN_COMPILED=0 turns them off."""
    found = load(STEM, "charrnn_recurrence_version", VERSION)
    if found is None:
        return None
    best = int(found.charrnn_best_recurrence())
    permitted = permitted_set(best)
    has_narrow = bool(found.charrnn_has_narrow()) and permitted == best
    is_faster = has_narrow and bool(found.charrnn_is_narrow_faster())
    return Library(found, permitted, has_narrow, is_faster, int(found.charrnn_best_way()))


def why_absent() -> tuple[str, str] | None:
    """Returns why the compiled recurrence is not there, and what brings it; None where it is there or is off."""
    return absence(search(STEM, "charrnn_recurrence_version", VERSION))
