"""The library that samples: its version, and its structures, which are those of step.h, field by field.

It is built from step.c where a C compiler is found when the package is installed.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_double, c_int32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.native.loader import absence, fields, load, permitted_set, search

VERSION = 5
SCRATCH, GROUP, LINE, MOST_LANES = 128, 64, 64, 64
AVX512 = 2
"""The number of the widest instruction set, which multiplies 128 rows of a panel in one pass."""
STEM = Path(__file__).with_name("_step")


class Matrix(ctypes.Structure):
    """A matrix in panels."""

    _fields_ = [*fields(c_int32, "inputs rows"), *fields(c_void_p, "weights half quantised scales")]


class LayerPanels(ctypes.Structure):
    """One layer's products, and where their chains start."""

    _fields_ = [("input", Matrix), ("recurrent", Matrix), ("candidate", Matrix), ("bias", c_void_p)]


class StepModel(ctypes.Structure):
    """A whole model."""

    _fields_ = [
        *fields(c_int32, "cell num_layers hidden padded panels units"),
        *fields(c_int32, "vocabulary vocabulary_padded embedding_size end"),
        *fields(c_void_p, "table embedding layers"),
        ("decoder", Matrix),
        ("decoder_bias", c_void_p),
    ]


class Settings(ctypes.Structure):
    """How one lane draws."""

    _fields_ = [*fields(c_double, "temperature top_p min_p"), *fields(c_int32, "top_k reserved")]


class Job(ctypes.Structure):
    """Some steps to take, with all their memory."""

    _fields_ = [
        *fields(c_int32, "lanes steps threads decode_all has_logits"),
        *fields(c_void_p, "given uniforms settings ids log_probabilities logits"),
        *fields(c_void_p, "hidden hidden_quantised cell_state record probabilities order"),
        *fields(c_void_p, "reset reset_quantised waiting"),
        *fields(c_int32, "not_finite reserved"),
    ]


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """Returns the compiled step, or None where the package was installed without it (or CHARRNN_COMPILED=0 turns it
    off)."""
    return load(STEM, "charrnn_version", VERSION)


def why_absent() -> tuple[str, str] | None:
    """Returns why the compiled step is not there, and what brings it; None where it is there, or is off on purpose."""
    return absence(search(STEM, "charrnn_version", VERSION))


@functools.cache
def best_set() -> int:
    """Returns the best instruction set of this machine that the library has code for and CHARRNN_SET permits: 0 none,
    1 AVX2, 2 AVX-512."""
    found = find_library()
    assert found is not None
    return permitted_set(int(found.charrnn_best_set()))


def aligned(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Returns an uninitialised array that begins with a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(count + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    array: npt.NDArray[Any] = raw[start : start + count].view(dtype).reshape(shape)
    return array
