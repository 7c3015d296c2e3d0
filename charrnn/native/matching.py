"""How much of some samples stands in a text, in compiled code; matching.h says how, and mirrors the structures.

It is part of the library `_step`.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import byref, c_int32, c_int64, c_void_p

import numpy as np
import numpy.typing as npt

from charrnn.native.loader import fields, load
from charrnn.native.step import STEM

VERSION = 1
_STATE = np.dtype([(name, np.int32) for name in ("length", "link", "character", "target", "more")])
_EDGE_BYTES = 16


class Matching(ctypes.Structure):
    """An automaton with all its memory."""

    _fields_ = [
        ("count", c_int64),
        *fields(c_void_p, "characters ends states edges best places"),
        *fields(c_int64, "mask read"),
        *fields(c_int32, "num_states state matched reserved"),
    ]


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """Returns the library, or None where the package was installed without it (or CHARRNN_COMPILED=0 turns it off)."""
    return load(STEM, "charrnn_matching_version", VERSION)


class CompiledAutomaton:
    """The suffix automaton of samples (N,), which reads a text piece by piece; about 130 bytes a character."""

    def __init__(self, library: ctypes.CDLL, characters: npt.NDArray[np.int32]) -> None:
        count = len(characters)
        self._library = library
        self._characters = np.ascontiguousarray(characters, np.int32)
        self._ends = np.empty(count, np.int32)
        self._states = np.empty(2 * count + 1, _STATE)
        self._best = np.empty(2 * count + 1, np.int32)
        self._places = np.zeros(2 * count + 1, np.int64)
        size = 1 << (2 * count + 1).bit_length()
        self._edges = np.empty(size * _EDGE_BYTES, np.uint8)
        self._job = Matching(count=count, mask=size - 1)
        for name in ("characters", "ends", "states", "edges", "best", "places"):
            setattr(self._job, name, getattr(self, f"_{name}").ctypes.data)
        library.charrnn_matching_build(byref(self._job))

    def read(self, text: npt.NDArray[np.int32]) -> None:
        """Reads the next piece of the text."""
        piece = np.ascontiguousarray(text, np.int32)
        self._library.charrnn_matching_read(byref(self._job), c_void_p(piece.ctypes.data), c_int64(len(piece)))

    def finish(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ends the text. Returns for each character of the samples how long the longest stretch is that ends with it
        and stands in the text (N,), and where in the text one such stretch ends (N,)."""
        states = self._states[: self._job.num_states]
        order = np.argsort(states["length"], kind="stable").astype(np.int32)
        self._library.charrnn_matching_finish(byref(self._job), c_void_p(order.ctypes.data))
        return self._best[self._ends].astype(np.int64), self._places[self._ends]
