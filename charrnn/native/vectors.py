"""Passes over gradients and weights in compiled code; vectors.h says what each does, and mirrors the structures."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import numpy as np

from charrnn.native.crew import most_threads
from charrnn.native.loader import fields


class Gathering(ctypes.Structure):
    """Arrays to be brought side by side."""

    _fields_ = [
        *fields(c_int64, "size count"),
        *fields(c_void_p, "to from_ begins sums"),
        ("square", c_double),
        ("most_threads", c_int32),
    ]


class Moving(ctypes.Structure):
    """A pass of Muon over a matrix."""

    _fields_ = [
        ("size", c_int64),
        *fields(c_void_p, "to momentum gradient"),
        *fields(c_float, "share keep rate"),
        *fields(c_int32, "number most_threads"),
    ]


class Gatherer:
    """Brings arrays of float32 side by side into one vector, as often as it is asked to."""

    def __init__(self, library: ctypes.CDLL, sizes: Sequence[int], to: int) -> None:
        """`to` is the address of the vector, which has room for arrays of these sizes."""
        self._library = library
        self._begins = np.cumsum([0, *sizes], dtype=np.int64)
        size = int(self._begins[-1])
        library.charrnn_pieces.argtypes = [c_int64]
        self._sums = np.empty(library.charrnn_pieces(size))
        self._job = Gathering(size=size, count=len(sizes), to=to)
        self._job.begins, self._job.sums = self._begins.ctypes.data, self._sums.ctypes.data

    def __call__(self, addresses: Sequence[int]) -> float:
        """Copies the arrays that begin there; returns the sum of their squares."""
        job = self._job
        kept = (c_void_p * len(addresses))(*addresses)
        job.from_ = ctypes.addressof(kept)
        job.most_threads = most_threads()
        self._library.charrnn_gather(ctypes.byref(job))
        return float(job.square)


def scale(library: ctypes.CDLL, to: int, size: int, factor: float) -> None:
    """Multiplies a vector of float32 by a factor."""
    library.charrnn_scale(c_void_p(to), c_int64(size), c_float(factor), c_int32(most_threads()))


def move(library: ctypes.CDLL, moving: Moving) -> None:
    """Makes one pass."""
    moving.most_threads = most_threads()
    library.charrnn_move(ctypes.byref(moving))
